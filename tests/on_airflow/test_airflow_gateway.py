"""A compact Dag that a gateway answers, and a gateway that a Dag answers: both with a real Airflow and process."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import airflow_extras
import httpx
import psutil
import pytest
import yaml
from airflow.triggers.base import BaseTrigger
from gateway_process import Process, running

from airflow_agentic.serving.access import new_token
from scripts.airflow_demo import read_answers
from scripts.airflow_server import USER, AirflowServer

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

TEXTS = ["a good film", "a bad film", "wonderful", "a bad mess"]
LABELS = ["good", "bad", "good", "bad"]
HEAD = {"apiVersion": "airflow-agentic/v1"}
ASKED = {"layout": "compact", "shard": {"rows": 2}, "task": {"retries": 1, "retry_delay": 1}, "serves": []}
WORKFLOWS: dict[str, dict[str, Any]] = {
    "at-gateway": {**ASKED, "gateway": {"connection": "gateway"}, "routes": [{"use": "noting"}]},
    "in-worker": {**ASKED, "gateway": {"connection": "gateway", "deferrable": False}, "routes": [{"use": "noting"}]},
    "by-dag": {"layout": "compact", "routes": [{"use": "words"}]},
}


class Site:
    """An Airflow, a gateway that knows its login, and the folder in which their model notes what it sees."""

    def __init__(self, airflow: AirflowServer, gateway: Process, folder: Path, token: str) -> None:
        self.airflow = airflow
        self.gateway = gateway
        self.folder = folder
        self.headers = {"Authorization": f"Bearer {token}"}

    def close(self) -> None:
        """The model answers nothing more; what it saw is forgotten."""
        for name in ("open", "seen"):
            (self.folder / name).unlink(missing_ok=True)

    def open(self) -> None:
        (self.folder / "open").touch()

    def seen(self) -> Counter[str]:
        path = self.folder / "seen"
        return Counter(path.read_text(encoding="utf-8").splitlines() if path.exists() else [])

    def jobs(self, workflow: str) -> list[str]:
        with sqlite3.connect(self.folder / "jobs.db") as jobs:
            found = jobs.execute("select state from agentic_jobs where workflow = ?", [workflow])
            return [state for (state,) in found]

    def answered(self, dag_id: str, run_id: str) -> list[str]:
        assert self.airflow.wait_run(dag_id, run_id)["state"] == "success"
        told = self.airflow.xcom(dag_id, run_id, "workflow")
        assert (told["records"], told["errors"]) == (4, 0)
        return [answer["label"] for answer in read_answers(told["uri"])]


def until(probe: Callable[[], Any], what: str) -> Any:
    """The first truthy answer."""
    end = time.monotonic() + 60
    while not (found := probe()):
        assert time.monotonic() < end, what
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def site(airflow_server: AirflowServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    notes = tmp_path_factory.mktemp("notes")
    project = write_project(airflow_server.dags / "gateway", notes)
    client = new_token()
    tokens = notes / "clients.yaml"
    allowed = {"name": "airflow", "workflows": list(WORKFLOWS), "tokens": [{"sha256": client.sha256}]}
    tokens.write_text(yaml.safe_dump({"clients": [allowed]}))
    tokens.chmod(0o600)
    arguments = {
        "--tokens": tokens,
        "--jobs": f"sqlite:///{notes}/jobs.db",
        "--airflow-url": airflow_server.url,
        "--airflow-user": USER,
        "--artifacts": airflow_server.artifacts.as_uri(),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_AGENTIC_GATEWAY_AIRFLOW_PASSWORD", airflow_server.password)
        with running(project, *(str(part) for pair in arguments.items() for part in pair)) as gateway:
            connection = {"connection_id": "gateway", "conn_type": "agentic_service", "host": gateway.url}
            airflow_server.request("POST", "/api/v2/connections", body={**connection, "password": client.token})
            for dag_id in WORKFLOWS:
                airflow_server.wait_dag(dag_id)
            yield Site(airflow_server, gateway, notes, client.token)


def write_project(folder: Path, notes: Path) -> Path:
    for name in ("workflows", "models"):
        (folder / name).mkdir(parents=True)
    noting = {
        **HEAD,
        "kind": "Model",
        "name": "noting",
        "version": "1",
        "task": "text-analysis",
        "input": "text",
        "output": {"classes": ["good", "bad"]},
        "runtime": {"framework": "python", "handler": "gateway_process:Noting", "args": {"folder": str(notes)}},
        "isolation": "inline",
    }
    for card in (noting, airflow_extras.CARD):
        (folder / "models" / f"{card['name']}.yaml").write_text(yaml.safe_dump(card))
    airflow_extras.write_records(folder / "texts.jsonl", TEXTS)
    for name, said in WORKFLOWS.items():
        document: Mapping[str, Any] = {**HEAD, "kind": "Workflow", "name": name, "input": "../texts.jsonl", **said}
        (folder / "workflows" / f"{name}.yaml").write_text(yaml.safe_dump(document))
    (folder / "loader.py").write_text(airflow_extras.LOADER)
    return folder


def test_a_gateway_answers_while_the_task_is_deferred(site: Site) -> None:
    site.close()
    run_id = site.airflow.trigger("at-gateway")
    site.airflow.wait_task("at-gateway", run_id, "workflow", "deferred")
    site.open()
    assert site.answered("at-gateway", run_id) == LABELS
    assert site.seen() == Counter(TEXTS)
    assert site.jobs("at-gateway") == ["completed", "completed"]


def test_after_the_worker_was_killed_the_retry_finds_the_jobs(site: Site) -> None:
    site.close()
    run_id = site.airflow.trigger("in-worker")
    until(lambda: len(site.jobs("in-worker")) == 2, "the jobs were not handed in")
    os.kill(until(lambda: asking(site.gateway), "nobody waits for the jobs"), signal.SIGKILL)
    site.airflow.wait_task("in-worker", run_id, "workflow", "up_for_retry")
    site.open()
    assert site.answered("in-worker", run_id) == LABELS
    (task,) = site.airflow.tasks("in-worker", run_id)
    assert task["try_number"] == 2
    assert site.seen() == Counter(TEXTS)
    assert site.jobs("in-worker") == ["completed", "completed"]


def asking(gateway: Process) -> int | None:
    """The process that is connected to the gateway."""
    found = psutil.net_connections("tcp4")
    return next((one.pid for one in found if one.raddr and one.raddr.port == gateway.port and one.pid), None)


@pytest.mark.skipif(not hasattr(BaseTrigger, "on_kill"), reason="Airflow before 3.3 tells no trigger of it")
def test_a_run_that_is_ended_ends_its_jobs(site: Site) -> None:
    site.close()
    before, asked = site.jobs("at-gateway"), len(site.gateway.log.read_text(encoding="utf-8"))
    run_id = site.airflow.trigger("at-gateway")
    site.airflow.wait_task("at-gateway", run_id, "workflow", "deferred")
    until(lambda: "GET /jobs/" in site.gateway.log.read_text(encoding="utf-8")[asked:], "the triggerer did not ask")
    path = f"/api/v2/dags/at-gateway/dagRuns/{run_id}"
    site.airflow.request("PATCH", path, body={"state": "failed"})
    until(lambda: site.jobs("at-gateway")[len(before) :] == ["canceled"] * 2, "the jobs were not canceled")
    site.open()


def test_a_dag_answers_a_request_to_the_gateway(site: Site) -> None:
    site.airflow.request("PATCH", "/api/v2/dags/by-dag", body={"is_paused": False})
    document = {"workflow": "by-dag", "mode": "dag", "records": ["a good film", {"record_id": "b", "text": "bad, bad"}]}
    headers = {**site.headers, "Idempotency-Key": "one", "X-Request-Timeout-Ms": "300000"}
    given = httpx.post(f"{site.gateway.url}/predict", json=document, headers=headers, timeout=120)
    if given.status_code == 202:  # a slow machine
        job = until(lambda: closed(site, given.headers["location"]), "the job was not closed")
        answers = job["result"]["answers"]
    else:
        assert given.status_code == 200, given.text
        answers = given.json()["answers"]
    assert [(one["label"], one["route"]["predictions"][0]["model"]) for one in answers] == [
        ("positive", "words"),
        ("negative", "words"),
    ]
    assert answers[1]["record_id"] == "b"
    (run,) = site.airflow.request("GET", "/api/v2/dags/by-dag/dagRuns")["dag_runs"]
    records = [{"text": "a good film"}, {"record_id": "b", "text": "bad, bad"}]
    assert (run["state"], run["conf"]["records"]) == ("success", records)
    again = httpx.post(f"{site.gateway.url}/predict", json=document, headers=headers, timeout=120)
    assert again.json()["answers"] == answers
    assert again.headers["idempotency-replayed"] == "true"


def closed(site: Site, place: str) -> Any:
    job = httpx.get(f"{site.gateway.url}{place}", headers=site.headers).json()
    return job if job["state"] not in {"submitted", "working"} else None
