"""The compact layout's Airflow task and its trigger, at a gateway in another thread."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from builders import workflow
from deferral import TaskDeferred
from executing import CARDS, World
from gateways import in_thread

from airflow_agentic.compat import AirflowException, AirflowFailException
from airflow_agentic.exceptions import ModelUnavailableError
from airflow_agentic.operators import WorkflowOperator
from airflow_agentic.plan import compile_plan
from airflow_agentic.registry import Registry
from airflow_agentic.triggers.gateway import GatewayJobsTrigger

SPEC = workflow([{"name": "main", "use": "a"}], name="moods", shard={"rows": 2}, layout="compact")
TEXTS = [f"text {place}" for place in range(6)]


class Site:
    """A gateway, and the Airflow task that asks it."""

    def __init__(self, url: str, world: World) -> None:
        self.url = url
        self.world = world

    def operator(self, **said: Any) -> WorkflowOperator:
        plan = compile_plan(SPEC, Registry.of(*CARDS))
        given = {"url": self.url, "concurrency": 2, **said}
        return WorkflowOperator(task_id="workflow", plan=plan, input=None, base=".", gateway=given)

    def execute(self, **said: Any) -> dict[str, Any]:
        return self.operator(**said).execute(context())

    def deferred(self, **said: Any) -> TaskDeferred:
        with pytest.raises(TaskDeferred) as caught:
            self.execute(**said)
        return caught.value

    def resumed(self, deferral: TaskDeferred, event: Any, **said: Any) -> dict[str, Any]:
        """As another process goes on."""
        assert deferral.method_name == "execute_complete"
        return self.operator(**said).execute_complete(context(), event, **(deferral.kwargs or {}))

    def state(self, job: str) -> str:
        return str(httpx.get(f"{self.url}/jobs/{job}").json()["state"])


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("AIRFLOW__AGENTIC__ARTIFACTS", str(tmp_path))
    gate = threading.Event()
    gate.set()
    world = World(held={"a": gate})
    with in_thread(world, specs=[SPEC]) as url:
        yield Site(url, world)
        gate.set()


def context(tries: int = 1) -> Any:
    return {
        "dag_run": SimpleNamespace(dag_id="demo", run_id="run"),
        "ti": SimpleNamespace(try_number=tries, max_tries=1),
        "params": {"records": TEXTS},
    }


def fired(trigger: Any) -> Any:
    """What the trigger says, after it went through the database."""
    path, said = trigger.serialize()
    assert path == "airflow_agentic.triggers.gateway.GatewayJobsTrigger"

    async def first() -> Any:
        return [event.payload async for event in GatewayJobsTrigger(**said).run()]

    (payload,) = asyncio.run(first())
    return payload


def test_the_task_waits_in_the_triggerer_and_goes_on(site: Site) -> None:
    first = site.deferred()
    assert list(first.kwargs or {}) == ["manifest", "jobs", "waiting"]
    jobs = list((first.kwargs or {})["jobs"].values())
    assert first.trigger.serialize()[1] == {
        "service": {"url": [site.url], "concurrency": 2},
        "jobs": jobs,
        "patience": 600.0,
    }
    event = fired(first.trigger)
    assert event == {"states": dict.fromkeys(jobs, "completed")}
    with pytest.raises(TaskDeferred) as caught:
        site.resumed(first, event)
    assert list((caught.value.kwargs or {})["jobs"]) == ["2"]
    done = site.resumed(caught.value, fired(caught.value.trigger))
    assert (done["records"], done["errors"]) == (6, 0)
    assert Counter(site.world.seen["a"]) == Counter(TEXTS)


def test_a_task_may_wait_in_its_worker(site: Site) -> None:
    done = site.execute(deferrable=False)
    assert (done["records"], done["errors"]) == (6, 0)
    assert Counter(site.world.seen["a"]) == Counter(TEXTS)


def test_no_record_is_in_what_airflow_keeps(site: Site) -> None:
    kept = site.deferred()
    assert "text" not in repr((kept.trigger.serialize(), kept.kwargs, fired(kept.trigger)))


def test_models_that_are_lost_wait_for_the_last_try(site: Site) -> None:
    site.world.dying["a"] = 100
    with pytest.raises(ModelUnavailableError, match=r"^a model was unavailable in 3 of 3 shards \(first: 0\); "):
        site.execute(deferrable=False)
    assert site.operator(deferrable=False).execute(context(tries=2))["errors"] == 6


def test_a_kill_in_the_triggerer_ends_the_jobs(site: Site) -> None:
    site.world.held["a"].clear()
    deferral = site.deferred()
    trigger: Any = deferral.trigger
    asyncio.run(trigger.on_kill())
    assert {site.state(job) for job in trigger.jobs} == {"canceled"}


def test_a_kill_in_the_worker_ends_the_jobs(site: Site) -> None:
    site.world.held["a"].clear()
    operator = site.operator()
    with pytest.raises(TaskDeferred) as caught:
        operator.execute(context())

    async def killed() -> None:
        operator.on_kill()  # by a signal, while an event loop runs

    asyncio.run(killed())
    assert {site.state(job) for job in (caught.value.kwargs or {})["jobs"].values()} == {"canceled"}


def test_a_trigger_that_cannot_ask_says_whether_another_try_can_help(site: Site) -> None:
    refused = fired(GatewayJobsTrigger(service={"url": [site.url], "token": {"env": "NO_TOKEN"}}, jobs=["j"]))
    why = "the service's token in the variable 'NO_TOKEN' is empty or not set; write the token there, or fix token"
    assert refused == {"why": f"ServiceRefusedError: {why}", "again": False}
    away = fired(GatewayJobsTrigger(service={"url": ["http://127.0.0.1:1"]}, jobs=["j"], patience=0.0))
    assert away["again"]
    assert away["why"].startswith("ModelUnavailableError: the gateway http://127.0.0.1:1 was not heard of for 0 s (")
    deferral = site.deferred()
    with pytest.raises(AirflowFailException, match=r"^ServiceRefusedError: the service's token"):
        site.resumed(deferral, refused)
    with pytest.raises(AirflowException, match=r"^ModelUnavailableError: the gateway ") as caught:
        site.resumed(deferral, away)
    assert not isinstance(caught.value, AirflowFailException)
    with pytest.raises(AirflowException, match=r"^the trigger ended without saying anything$"):
        site.resumed(deferral, None)


def test_a_gateway_of_another_plan_fails_without_a_retry(site: Site) -> None:
    other = workflow([{"name": "main", "use": "b"}], name="moods", shard={"rows": 2}, layout="compact")
    operator = site.operator()
    operator.plan = compile_plan(other, Registry.of(*CARDS))
    with pytest.raises(AirflowFailException, match=r"^PlanMismatchError: the gateway \S+ answers 'moods' by another "):
        operator.execute(context())
    assert site.world.seen["a"] == []
