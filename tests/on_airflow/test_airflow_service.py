"""``runner: service`` in a real Airflow: a test server counts what it is asked, and a task process is killed."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import airflow_extras
import psutil
import pytest
import yaml
from oip_server import OipServer, records_of

from airflow_agentic.openinference.tensors import InferRequest
from airflow_agentic.runtime import open_predictor
from airflow_agentic.spec import model_from
from scripts.airflow_demo import read_answers
from scripts.airflow_server import AirflowServer

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

TEXTS = ["a good film", "a bad film", "wonderful, wonderful", "an awful mess", "good, good", "a bad day"]
LABELS = ["positive", "negative", "positive", "negative", "positive", "negative"]
WAITING = """
from airflow.sdk import dag
from airflow_agentic.operators import InferenceServiceSensor

@dag(schedule=None)
def waiting():
    InferenceServiceSensor(task_id="wait", service={{"url": "{url}"}}, model="words", deferrable=True, poke_interval=1)

waiting()
"""


class Service:
    """The model ``words`` at a server that kills whoever sends it a text with ``fatal`` in it, once."""

    def __init__(self) -> None:
        card = model_from(
            {key: value for key, value in airflow_extras.CARD.items() if key not in {"apiVersion", "kind"}}
        )
        predictor = open_predictor(card)
        predictor.load()
        self._answer = records_of(card, predictor)
        self.fatal = ""
        self.server = OipServer(models={"words": self.answer})

    def answer(self, request: InferRequest) -> Mapping[str, Any]:
        if self.fatal and any(self.fatal in text.decode() for text in request.inputs[0].array):
            self.fatal = ""
            port = self.server.peers[-1]
            asking = [one.pid for one in psutil.net_connections("tcp4") if one.laddr and one.laddr.port == port]
            (pid,) = {one for one in asking if one not in {None, os.getpid()}}
            os.kill(pid, signal.SIGKILL)
        found: Mapping[str, Any] = self._answer(request)  # type: ignore[assignment]
        return found

    def sent(self) -> Counter[str]:
        """How often each text was asked about."""
        return Counter(text.decode() for one in self.server.inferred for text in one.inputs[0].array)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    made = Service()
    with made.server.in_thread():
        yield made


@pytest.fixture(scope="module")
def server(airflow_server: AirflowServer, service: Service) -> AirflowServer:
    """With three Dags that ask the service."""
    folder = airflow_server.dags / "served"
    for name in ("workflows", "models"):
        (folder / name).mkdir(parents=True)
    (folder / "models" / "words.yaml").write_text(yaml.safe_dump(airflow_extras.CARD))
    airflow_extras.write_records(folder / "texts.jsonl", TEXTS)
    for name, said in {"served": {}, "served-compact": {"layout": "compact"}}.items():
        write_workflow(folder, name, service.server.url, said)
    (folder / "loader.py").write_text(airflow_extras.LOADER)
    (folder / "waiting.py").write_text(WAITING.format(url=service.server.url))
    for dag_id in ("served", "served-compact", "waiting"):
        airflow_server.wait_dag(dag_id)
    return airflow_server


def write_workflow(folder: Path, name: str, url: str, said: Mapping[str, Any]) -> None:
    head = {"apiVersion": "airflow-agentic/v1", "kind": "Workflow", "name": name, "input": "../texts.jsonl"}
    served = {"runner": "service", "service": {"url": url}, "routes": [{"name": "main", "use": "words"}]}
    cut = {"shard": {"rows": 2}, "parallelism": 1, "task": {"retries": 1, "retry_delay": 1}}
    (folder / "workflows" / f"{name}.yaml").write_text(yaml.safe_dump({**head, **served, **cut, **said}))


def finished(server: AirflowServer, dag_id: str) -> str:
    run_id = server.trigger(dag_id)
    assert server.wait_run(dag_id, run_id)["state"] == "success"
    return run_id


def labels(server: AirflowServer, dag_id: str, run_id: str, task_id: str) -> list[str]:
    return [answer["label"] for answer in read_answers(server.xcom(dag_id, run_id, task_id)["uri"])]


def test_a_killed_task_does_not_send_finished_shards_again(server: AirflowServer, service: Service) -> None:
    service.server.inferred.clear()
    service.fatal = TEXTS[4]
    run_id = finished(server, "served")
    assert labels(server, "served", run_id, "publish") == LABELS
    (infer,) = [one for one in server.tasks("served", run_id) if one["map_index"] == 0]
    assert infer["try_number"] == 2
    counts = server.xcom("served", run_id, infer["task_id"], map_index=0)
    assert counts["resumed_shards"] >= 1
    assert sum(service.sent().values()) == len(TEXTS) + 2 * (3 - counts["resumed_shards"])


def test_compact_asks_the_service_too(server: AirflowServer, service: Service) -> None:
    service.server.inferred.clear()
    run_id = finished(server, "served-compact")
    assert labels(server, "served-compact", run_id, "workflow") == LABELS
    assert service.sent() == Counter(TEXTS)


def test_a_sensor_waits_in_the_triggerer(server: AirflowServer, service: Service) -> None:
    service.server.ready = False
    service.server.requests.clear()
    run_id = server.trigger("waiting")
    server.wait_task("waiting", run_id, "wait", "deferred")
    service.server.ready = True
    assert server.wait_run("waiting", run_id)["state"] == "success"
    assert set(service.server.paths()) == {"/v2/models/words/ready"}
