"""What the gateway does with a real Airflow: trigger, wait, read the answers, cancel, and be refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

import airflow_extras
import pytest

from airflow_agentic import Workflow
from airflow_agentic.artifacts import Store
from airflow_agentic.exceptions import AirflowRefusedError, AirflowUnavailableError, ArtifactError
from airflow_agentic.serving.airflow_api import AirflowApi, AirflowLogin, conf_of, run_id_of
from airflow_agentic.serving.dag_answers import dag_answers
from scripts.airflow_server import USER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from scripts.airflow_server import AirflowServer

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

T = TypeVar("T")
DAGS: Final = ("reviews", "reviews-compact")
RECORDS: Final[list[Any]] = [
    {"record_id": "first", "text": "a good film", "task": "text-analysis"},
    "a bad film",
    {"text": "wonderful, wonderful"},
    {"text": "an awful mess", "shop": "north"},
    {"uri": "/etc/passwd"},
]
LABELS: Final = ["positive", "negative", "positive", "negative", None]
TRIES: Final = 8
"""How often something is asked of an Airflow that is busy, above all with SQLite's only writer."""


@pytest.fixture(scope="module")
def server(airflow_server: AirflowServer) -> AirflowServer:
    """With the further Dags, not paused."""
    airflow_extras.add(airflow_server.dags)
    for dag_id in (*DAGS, "misspelt", "own"):
        airflow_server.wait_dag(dag_id)
    for dag_id in (*DAGS, "misspelt"):
        airflow_server.request("PATCH", f"/api/v2/dags/{dag_id}", body={"is_paused": False})
    airflow_server.request("PATCH", "/api/v2/dags/own", body={"is_paused": True})
    return airflow_server


@pytest.fixture
async def api(server: AirflowServer) -> AsyncIterator[AirflowApi]:
    made = AirflowApi(AirflowLogin(url=server.url, user=USER, password=server.password))
    yield made
    await made.close()


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """What it answers, once the database has room for us and the machine has time."""
    for _ in range(TRIES - 1):
        try:
            return await ask()
        except AirflowUnavailableError as error:
            if error.status not in (500, None):
                raise
    return await ask()


async def answered(api: AirflowApi, server: AirflowServer, dag_id: str, run_id: str) -> list[dict[str, Any]]:
    """The answers of a run that goes well."""
    ended = await api.wait(dag_id, run_id, timeout=300)
    assert ended.state == "success", server.log_tail()
    found = await asyncio.to_thread(dag_answers, Store.open(str(server.artifacts)), "default", dag_id, run_id)
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


@pytest.mark.parametrize("dag_id", DAGS)
async def test_a_dag_run_answers_the_records_of_its_request(
    api: AirflowApi, server: AirflowServer, dag_id: str
) -> None:
    run_id = run_id_of(f"records-{dag_id}")
    made = await patiently(lambda: api.trigger(dag_id, run_id, conf_of(RECORDS, task="text-analysis")))
    again = await patiently(lambda: api.trigger(dag_id, run_id, conf_of(RECORDS, task="text-analysis")))
    assert made.run_id == again.run_id == run_id
    found = await answered(api, server, dag_id, run_id)

    assert [answer["label"] for answer in found] == LABELS
    assert found[0]["record_id"] == "first"
    assert [answer["task"] for answer in found[:4]] == ["text-analysis"] * 4
    assert found[4]["error"]["code"] == "uri_not_allowed"

    workflow = Workflow.load(server.dags / airflow_extras.FOLDER / "workflows" / f"{dag_id}.yaml")
    in_process = (await asyncio.to_thread(workflow.run, RECORDS[:4], task="text-analysis")).to_pylist()
    told = [(one["record_id"], one["label"], one["score"], one["route"]) for one in found[:4]]
    assert told == [(one["record_id"], one["label"], one["score"], one["route"]) for one in in_process]

    with pytest.raises(AirflowRefusedError) as caught:
        await patiently(lambda: api.trigger(dag_id, run_id, conf_of(["another"])))
    assert str(caught.value) == (
        f"the Dag {dag_id!r} has a run {run_id!r} already, which answers other records; use another id"
    )


async def test_no_record_is_in_the_frozen_plan(api: AirflowApi, server: AirflowServer) -> None:
    run_id = run_id_of("secret")
    conf = conf_of([{"text": "a good secret"}])
    await patiently(lambda: api.trigger("reviews-compact", run_id, conf))
    await answered(api, server, "reviews-compact", run_id)

    folder = server.artifacts / "default" / "reviews-compact" / run_id
    documents = list(folder.glob("plan*.json")) + list(folder.glob("manifest*.json"))
    assert len(documents) >= 3
    assert [path.name for path in documents if "secret" in path.read_text()] == []


async def test_cancelling_ends_a_run(api: AirflowApi, server: AirflowServer) -> None:
    run_id = run_id_of("cancelled")
    await patiently(lambda: api.trigger("reviews", run_id, conf_of(["a good film"])))
    cancelled = await patiently(lambda: api.cancel("reviews", run_id))

    assert cancelled.state == "failed"
    assert (await api.wait("reviews", run_id, timeout=60)).state == "failed"
    assert (await patiently(lambda: api.cancel("reviews", run_id))).state == "failed"
    with pytest.raises(ArtifactError):
        dag_answers(Store.open(str(server.artifacts)), "default", "reviews", run_id)


async def test_a_run_that_fails_names_its_tasks_and_has_no_answers(api: AirflowApi, server: AirflowServer) -> None:
    run_id = run_id_of("failed")
    await patiently(lambda: api.trigger("misspelt", run_id, {}))

    assert (await api.wait("misspelt", run_id, timeout=300)).state == "failed"
    assert await patiently(lambda: api.failed_tasks("misspelt", run_id)) == ["spec-error"]
    store = Store.open(str(server.artifacts))
    with pytest.raises(ArtifactError) as caught:
        dag_answers(store, "default", "misspelt", run_id)
    assert str(caught.value) == (
        f"{store.base}/default holds nothing of the run {run_id!r} of 'misspelt': its first Airflow task committed "
        "nothing, or the gateway's artifact store or deployment is not the one in Airflow's [agentic]"
    )


async def test_what_airflow_refuses_is_said(api: AirflowApi, server: AirflowServer) -> None:
    asks: dict[str, Callable[[], Awaitable[object]]] = {
        "refuses to read the Dag 'absent': 404 ": lambda: api.trigger("absent", "r", {}),
        "refuses to read the run 'absent' of 'reviews': 404 ": lambda: api.wait("reviews", "absent", timeout=60),
        "refuses to trigger the Dag 'reviews': 400 ": lambda: api.trigger("reviews", "r", {"records": [7]}),
    }
    for message, ask in asks.items():
        with pytest.raises(AirflowRefusedError) as caught:
            await patiently(ask)
        assert str(caught.value).startswith(f"Airflow at {server.url} {message}")
    assert "records" in str(caught.value)  # which of its params it refuses

    with pytest.raises(AirflowRefusedError) as caught:
        await patiently(lambda: api.trigger("own", "r", {}))
    assert str(caught.value) == (
        "the Dag 'own' is paused, so that its runs would wait for ever; "
        "unpause it: airflow dags unpause own, or in Airflow's UI"
    )


async def test_logging_in(api: AirflowApi, server: AirflowServer, tmp_path: Path) -> None:
    version = await patiently(api.check)
    file = tmp_path / "token"
    file.write_text(f"{server.token}\n")
    for login, wrong in (
        ({"token": server.token}, {"token": "wrong"}),
        ({"token_file": file}, {"token": "wrong"}),
        ({"user": USER, "password": server.password}, {"user": USER, "password": "wrong"}),
    ):
        good, bad = (AirflowApi(AirflowLogin(url=server.url, **one)) for one in (login, wrong))
        assert await patiently(good.check) == version
        with pytest.raises(AirflowRefusedError, match=rf"\AAirflow at {server.url} does not accept "):
            await patiently(bad.check)
        for one in (good, bad):
            await one.close()
