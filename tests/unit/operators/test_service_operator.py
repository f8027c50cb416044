"""A unit asked at a service from the worker, the hook that locates it, and the sensor that waits for it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from aiohttp import web
from builders import card, compiled
from deferral import TaskDeferred
from executing import MOODS, World, comparable, coordinated, records
from oip_server import OipServer, records_of

from airflow_agentic.artifacts import Store
from airflow_agentic.artifacts.digests import digest
from airflow_agentic.compat import AirflowFailException, AirflowSkipException
from airflow_agentic.exceptions import InputError, ModelUnavailableError
from airflow_agentic.execution import Folder, Run
from airflow_agentic.hooks import service as hook_module
from airflow_agentic.hooks.service import InferenceServiceHook
from airflow_agentic.operators import InferenceServiceSensor, ServiceInferenceOperator
from airflow_agentic.plan.ir import Infer, Route
from airflow_agentic.runtime import predict_records
from airflow_agentic.spec.service import ServiceSpec, TokenReference
from airflow_agentic.triggers.service import InferenceServiceTrigger

CONTEXT: Any = {"dag_run": SimpleNamespace(dag_id="demo", run_id="run")}


@pytest.fixture
def server() -> Iterator[OipServer]:
    made = card("b", classes=MOODS)
    with OipServer(models={"b": records_of(made, World().start(made))}).in_thread() as server:
        yield server


class Served:
    """A run of one unit up to its model, and the operator of that."""

    def __init__(self, folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__AGENTIC__ARTIFACTS", str(folder))
        self.plan = compiled(
            "b", card("b", classes=MOODS), shard={"rows": 3}, parallelism=1, runner="service", service={"url": url}
        )
        self.records = records(12)
        folder_of_run = Folder.of(Store.open(str(folder)), "default", "demo", "run")
        self.run = folder_of_run.start(self.plan, [self.records], [{"uri": "test"}])
        self.run.control(self.plan.of(Route)[0])
        self.node = self.plan.of(Infer)[0]

    def again(self) -> Run:
        return self.run.folder.open(self.run.manifest)

    def operator(self, **said: Any) -> ServiceInferenceOperator:
        return ServiceInferenceOperator(
            task_id="infer",
            node=self.node.id,
            topology=digest(self.plan.topology),
            unit=self.run.units()[0].to_json(),
            **said,
        )

    def committed(self) -> list[int]:
        run = self.again()
        return [shard.number for shard in run.shards if run.marker(self.node.id, shard) is not None]


@pytest.fixture
def served(tmp_path: Path, server: OipServer, monkeypatch: pytest.MonkeyPatch) -> Served:
    return Served(tmp_path, server.url, monkeypatch)


def test_every_shard_is_committed(served: Served) -> None:
    assert served.operator().execute(CONTEXT) == {
        "model": "b",
        "unit": 0,
        "predictions": 9,
        "errors": 1,
        "resumed_shards": 0,
    }
    run = served.again()
    run.aggregate(served.plan.nodes[-2])  # type: ignore[arg-type]
    found = pa.concat_tables([answers for _, answers in run.answers()])
    assert comparable(found) == comparable(coordinated(compiled("b", card("b", classes=MOODS)), served.records))


def test_committed_shards_are_not_sent_again(served: Served, server: OipServer) -> None:
    shard = served.run.shards[1]
    model = World().start(card("b", classes=MOODS))
    served.run.infer(served.node, shard, lambda given: predict_records(model, card("b", classes=MOODS), given))
    done = served.operator().execute(CONTEXT)
    assert done["resumed_shards"] == 1
    sent = {text.decode() for asked in server.inferred for text in asked.inputs[0].array}
    assert sent.isdisjoint({f"text {place}" for place in (3, 4, 5)})
    assert len(server.inferred) == 3


def test_a_lost_service_leaves_what_is_committed(served: Served, server: OipServer) -> None:
    server.script = [web.json_response({}), *[web.json_response({"error": "down"}, status=502) for _ in range(9)]]
    with pytest.raises(ModelUnavailableError, match=r"^'b' lost unit 1 of 1 .*answered 502: down$"):
        served.operator().execute(CONTEXT)
    assert served.committed() == []
    server.script.clear()
    assert served.operator().execute(CONTEXT)["predictions"] == 9


def test_a_model_that_is_not_there_fails_without_a_retry(served: Served, server: OipServer) -> None:
    server.models.clear()
    with pytest.raises(AirflowFailException) as caught:
        served.operator().execute(CONTEXT)
    assert str(caught.value) == (
        f"ServiceRefusedError: {server.url}/v2/models/b/versions/1/infer answered 404: no model 'b'"
    )


def test_being_killed_cancels_what_is_under_way(served: Served, server: OipServer) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def hang(request: Any) -> Any:
        asked.set()
        go_on.wait(60)
        return web.json_response({"error": "too late"}, status=503)

    server.models["b"] = hang
    operator = served.operator()

    def kill() -> None:
        asked.wait(60)
        operator.on_kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(ModelUnavailableError, match=r"whoever runs this was told to stop$"):
        operator.execute(CONTEXT)
    go_on.set()
    killer.join()
    assert served.committed() == []


def test_nothing_to_do_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Served(tmp_path, "http://127.0.0.1:1", monkeypatch)
    monkeypatch.setattr(Run, "unit_shards", lambda *_: [])
    with pytest.raises(AirflowSkipException, match=r"^no record of unit 0 is for 'b'$"):
        made.operator().execute(CONTEXT)


def test_the_operators_service_stands_over_the_plans(tmp_path: Path, server: OipServer, monkeypatch: Any) -> None:
    made = Served(tmp_path, "http://127.0.0.1:1", monkeypatch)
    connect(monkeypatch, "scoring", host=server.url, password="s3cret")
    assert made.operator(service={"connection": "scoring"}).execute(CONTEXT)["predictions"] == 9
    assert server.requests[-1][1]["authorization"] == "Bearer s3cret"


def connect(monkeypatch: pytest.MonkeyPatch, name: str, **values: Any) -> None:
    content = {"conn_type": "agentic_service", **values}
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(content))


@pytest.mark.parametrize(
    ("values", "urls"),
    [
        ({"host": "models", "port": 8080}, ["http://models:8080"]),
        ({"host": "models", "schema": "https"}, ["https://models"]),
        ({"host": "https://models.example.org/base/"}, ["https://models.example.org/base"]),
        ({"extra": {"urls": "http://a:1, http://b:2"}}, ["http://a:1", "http://b:2"]),
    ],
)
def test_a_connection_locates_servers(monkeypatch: Any, values: dict[str, Any], urls: list[str]) -> None:
    connect(monkeypatch, "scoring", **values)
    assert InferenceServiceHook("scoring").service == ServiceSpec(url=urls)


def test_what_is_said_stands_over_the_connections_extra(monkeypatch: Any) -> None:
    extra = {"concurrency": "3", "timeout": "7s", "token": {"env": "X"}, "command": "rm"}
    connect(monkeypatch, "scoring", host="models", extra=extra)
    said = ServiceSpec(connection="scoring", timeout=9.0)
    assert InferenceServiceHook(service=said).service == ServiceSpec(url=["http://models"], concurrency=3, timeout=9.0)


def test_a_url_that_is_said_asks_no_connection(monkeypatch: Any) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTIC__SERVICE_CONN_ID", "scoring")
    said = ServiceSpec(url=["http://models"], token=TokenReference(env="T"))
    assert InferenceServiceHook(service=said).service == said
    connect(monkeypatch, "scoring", host="other")
    assert InferenceServiceHook().service == ServiceSpec(url=["http://other"])


def test_a_connection_without_a_server(monkeypatch: Any) -> None:
    connect(monkeypatch, "scoring")
    with pytest.raises(InputError) as caught:
        _ = InferenceServiceHook("scoring").service
    assert str(caught.value) == ("the connection 'scoring' names no server; fill in its host, or urls in its extra")


def test_testing_a_connection_asks_each_server(monkeypatch: Any, server: OipServer) -> None:
    connect(monkeypatch, "scoring", extra={"urls": f"{server.url},http://127.0.0.1:1"})
    good, said = InferenceServiceHook("scoring").test_connection()
    assert not good
    assert said.startswith(f"{server.url} is ready; http://127.0.0.1:1: the server http://127.0.0.1:1 did not answer:")
    connect(monkeypatch, "scoring", host=server.url)
    assert InferenceServiceHook("scoring").test_connection() == (True, f"{server.url} is ready")


def test_the_sensor_asks_for_readiness_only(server: OipServer) -> None:
    sensor = InferenceServiceSensor(task_id="wait", service={"url": server.url}, model="b")
    assert sensor.poke({})
    server.ready = False
    assert not sensor.poke({})
    assert server.paths() == ["/v2/models/b/ready"] * 2


def test_the_sensor_defers_only_if_it_has_to(server: OipServer) -> None:
    sensor = InferenceServiceSensor(task_id="wait", service={"url": server.url}, deferrable=True, poke_interval=7)
    sensor.execute({})
    server.ready = False
    with pytest.raises(TaskDeferred) as caught:
        sensor.execute({})
    path, said = caught.value.trigger.serialize()
    assert path == "airflow_agentic.triggers.service.InferenceServiceTrigger"
    assert said == {
        "agentic_service_conn_id": None,
        "service": {"url": server.url},
        "model": None,
        "version": None,
        "seconds": 7.0,
    }


async def test_the_trigger_fires_when_the_service_is_ready(server: OipServer) -> None:
    server.script = [web.json_response({}, status=503) for _ in range(3)]
    trigger = InferenceServiceTrigger(service={"url": server.url}, seconds=0.0)
    again = InferenceServiceTrigger(**trigger.serialize()[1])
    assert [event.payload async for event in again.run()] == [{"ready": True}]
    assert len(server.requests) == 4


async def test_the_trigger_says_why_nobody_can_be_asked(server: OipServer) -> None:
    trigger = InferenceServiceTrigger(service={"url": server.url, "token": {"env": "NO_TOKEN"}})
    (event,) = [event async for event in trigger.run()]
    said = "the service's token in the variable 'NO_TOKEN' is empty or not set; write the token there, or fix token"
    assert event.payload == {"ready": False, "why": f"ServiceRefusedError: {said}"}
    sensor = InferenceServiceSensor(task_id="wait", service={"url": server.url})
    with pytest.raises(AirflowFailException, match=r"^ServiceRefusedError: the service's token in the variable"):
        sensor.execute_complete({}, event.payload)


def test_in_runs_no_other_version_answers() -> None:
    said = ServiceSpec.model_validate({"url": "http://a", "other_versions": True})
    assert hook_module.connect(said).service.other_versions is False
