"""Jobs: answered later, found again, ended, taken over; and keys that let nothing be answered twice."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from executing import World
from gateways import client_of, gateway, moods

from airflow_agentic import tables
from airflow_agentic.artifacts import Store
from airflow_agentic.exceptions import AirflowRefusedError, AirflowUnavailableError, ArtifactError
from airflow_agentic.serving.access import ANYBODY
from airflow_agentic.serving.airflow_api import DagRun
from airflow_agentic.serving.gateway.app import Gateway
from airflow_agentic.serving.gateway.dags import DagRuns
from airflow_agentic.serving.gateway.jobs import new_job

FINE = {"task": "text-analysis", "input": "fine"}


def keyed(key: str) -> Mapping[str, str]:
    return {"idempotency-key": key}


async def closed(client: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    """The job, once it is closed."""
    async with asyncio.timeout(60):
        while True:
            job: dict[str, Any] = (await client.get(f"/jobs/{job_id}")).json()
            if job["state"] not in {"submitted", "working"}:
                return job
            await asyncio.sleep(0)


async def test_an_async_request_is_a_job_that_is_answered_later() -> None:
    async with gateway() as app, client_of(app) as client:
        given = await client.post("/predict", json={**FINE, "mode": "async"})
        assert (given.status_code, given.json()["state"]) == (202, "submitted")
        app.modes.jobs.start()
        job = await closed(client, given.headers["location"].removeprefix("/jobs/"))
        direct = (await client.post("/predict", json=FINE)).json()
    assert (job["state"], job["mode"], job["workflow"]) == ("completed", "async", "moods")
    for document in (job["result"], direct):
        del document["latency_ms"]
    assert job["result"] == direct


async def test_a_job_is_shown_without_its_answers_where_they_are_not_wanted() -> None:
    async with gateway() as app, client_of(app) as client:
        app.modes.jobs.start()
        job_id = (await client.post("/predict", json={**FINE, "mode": "async"})).json()["id"]
        job = await closed(client, job_id)
        short = (await client.get(f"/jobs/{job_id}?result=false")).json()
        wrong = await client.get(f"/jobs/{job_id}?result=perhaps")
    assert {**short, "result": job["result"]} == job
    assert "result" not in short
    assert (wrong.status_code, wrong.json()["type"]) == (422, "/problems/invalid-request")


async def test_a_job_that_has_no_answer_has_the_problem() -> None:
    async with gateway(World(lost=frozenset("abc"))) as app, client_of(app) as client:
        app.modes.jobs.start()
        job_id = (await client.post("/predict", json={**FINE, "mode": "async"})).json()["id"]
        job = await closed(client, job_id)
    assert (job["state"], job["error"]["type"], job["error"]["status"]) == (
        "failed",
        "/problems/no-model-available",
        503,
    )


async def test_a_job_is_its_clients_alone() -> None:
    async with gateway() as app, client_of(app) as client:
        new = new_job(FINE, client=ANYBODY, workflow="moods", mode="async", seconds=60)
        other = app.modes.jobs.store.submit(type(new)(**{**vars(new), "client": "other"}))
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel")):
            answer = await client.request(method, f"/jobs/{other.job.id}{path}")
            assert (answer.status_code, answer.json()["detail"]) == (
                404,
                f"there is no job {other.job.id!r} of yours, or it has expired",
            )
        unknown = await client.get("/jobs/nothing")
    assert (unknown.status_code, unknown.json()["detail"]) == (
        404,
        "there is no job 'nothing' of yours, or it has expired",
    )


@pytest.mark.parametrize(("method", "path"), [("POST", "/cancel"), ("DELETE", "")])
async def test_a_job_that_is_canceled_is_answered_by_nobody(method: str, path: str) -> None:
    world = World(held={"a": threading.Event()})
    async with gateway(world, specs=[moods("a")]) as app, client_of(app) as client:
        app.modes.jobs.start()
        job_id = (await client.post("/predict", json={**FINE, "mode": "async"})).json()["id"]
        while not app.modes.jobs._running:
            await asyncio.sleep(0)
        canceled = await client.request(method, f"/jobs/{job_id}{path}")
        world.held["a"].set()
        while app.modes.jobs._running:
            await asyncio.sleep(0)
        again = await client.request(method, f"/jobs/{job_id}{path}")
    assert [(one.status_code, one.json()["state"]) for one in (canceled, again)] == [(200, "canceled")] * 2


async def test_a_job_whose_gateway_ended_is_answered_by_another(tmp_path: Path) -> None:
    jobs = f"sqlite:///{tmp_path}/jobs.db"
    async with gateway(jobs=jobs) as app, client_of(app) as client:
        job_id = (await client.post("/predict", json={**FINE, "mode": "async"})).json()["id"]
    async with gateway(jobs=jobs) as app, client_of(app) as client:
        app.modes.jobs.start()
        assert (await closed(client, job_id))["state"] == "completed"


async def ask(client: httpx.AsyncClient, key: str, document: dict[str, Any] = FINE) -> httpx.Response:
    return await client.post("/predict", json=document, headers=keyed(key))


async def test_a_key_is_answered_once() -> None:
    world = World()
    async with gateway(world, specs=[moods("a")]) as app, client_of(app) as client:
        first, second = await ask(client, "k"), await ask(client, "k")
        other = await ask(client, "k", {**FINE, "input": "other"})
        free = await ask(client, "l")
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json()
    assert ("idempotency-replayed" in first.headers, second.headers["idempotency-replayed"]) == (False, "true")
    assert (other.status_code, other.json()["type"], free.status_code) == (422, "/problems/key-reused", 200)
    assert world.calls["a"] == 2


async def test_a_key_whose_first_request_still_works_is_a_conflict() -> None:
    world = World(held={"a": threading.Event()})
    async with gateway(world, specs=[moods("a")]) as app, client_of(app) as client:
        first = asyncio.create_task(ask(client, "k"))
        while not app.modes.jobs._running:
            await asyncio.sleep(0)
        second = await ask(client, "k")
        world.held["a"].set()
        answered = await first
    assert (second.status_code, second.json()["type"], second.headers["retry-after"]) == (
        409,
        "/problems/conflict",
        "1",
    )
    assert answered.status_code == 200


async def test_a_failure_that_may_pass_frees_its_key_and_another_does_not() -> None:
    world = World(lost=frozenset("a"))
    refused = {**FINE, "max_cost": 0.0000001}
    async with gateway(world, specs=[moods("a")]) as app, client_of(app) as client:
        lost = await ask(client, "k")
        world.lost = frozenset()
        found = await ask(client, "k")
        first, second = await ask(client, "l", refused), await ask(client, "l", refused)
    assert (lost.status_code, lost.headers["retry-after"], found.status_code) == (503, "5", 200)
    assert [one.json()["type"] for one in (first, second)] == ["/problems/no-model-fits"] * 2
    assert first.json()["answer"] == second.json()["answer"]


async def test_what_no_key_is_says_so() -> None:
    async with gateway() as app, client_of(app) as client:
        long = await ask(client, "x" * 300)
        stream = await client.post(
            "/predict", content=b'"x"', headers={"content-type": "application/x-ndjson", "idempotency-key": "k"}
        )
    assert (long.status_code, long.json()["errors"][0]["pointer"]) == (422, "header:Idempotency-Key")
    assert stream.json()["errors"] == [
        {
            "pointer": "header:Idempotency-Key",
            "detail": "streams are not kept, so that a key cannot stand for one; send it without, or send JSON",
        }
    ]


class Airflow:
    """Airflow's API: runs end once ``ended`` is set."""

    def __init__(self, *, state: Any = "success", error: Exception | None = None) -> None:
        self.state = state
        self.error = error
        self.ended = asyncio.Event()
        self.confs: dict[str, Any] = {}
        self.canceled: list[str] = []

    def _run(self, dag_id: str, run_id: str) -> DagRun:
        state = self.state if self.ended.is_set() else "running"
        return DagRun(dag_id=dag_id, run_id=run_id, state=state, url="http://airflow/run")

    async def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> DagRun:
        if self.error is not None:
            raise self.error
        self.confs[f"{dag_id}/{run_id}"] = conf
        return self._run(dag_id, run_id)

    async def wait(self, dag_id: str, run_id: str, *, timeout: float) -> DagRun:
        await self.ended.wait()
        return self._run(dag_id, run_id)

    async def cancel(self, dag_id: str, run_id: str) -> DagRun:
        self.canceled.append(f"{dag_id}/{run_id}")
        return self._run(dag_id, run_id)

    async def failed_tasks(self, dag_id: str, run_id: str) -> list[str]:
        return ["main.a"]

    async def close(self) -> None:
        """Nothing to give back."""


def answers(*_: object) -> pa.Table:
    row = {"record_id": "r", "task": "text-analysis", "label": "good", "degraded": False, "cost": 0.0, "calls": 1}
    return tables.table([row], tables.ANSWER)


def no_answers(*_: object) -> pa.Table:
    raise ArtifactError("the run committed nothing")


def dags(airflow: Airflow, read: Any = answers) -> DagRuns:
    return DagRuns(airflow, Store.open("memory://"), "default", read=read)


async def by_dag(app: Gateway) -> httpx.Response:
    async with client_of(app) as client:
        return await client.post("/predict", json={**FINE, "mode": "dag"})


async def test_a_dag_answers_while_the_request_waits() -> None:
    airflow = Airflow()
    airflow.ended.set()
    async with gateway(dags=dags(airflow)) as app:
        answer = await by_dag(app)
    assert (answer.status_code, answer.json()["label"], answer.json()["workflow"]) == (200, "good", "moods")
    assert list(airflow.confs.values()) == [{"records": [{"input": "fine"}], "task": "text-analysis"}]


async def test_a_dag_that_takes_longer_is_a_job_and_can_be_canceled() -> None:
    airflow = Airflow()
    async with gateway(dags=dags(airflow), seconds=0.2) as app, client_of(app) as client:
        answer = await by_dag(app)
        job = answer.json()
        canceled = await client.delete(f"/jobs/{job['id']}")
    assert (answer.status_code, job["state"], job["dag_run"]) == (202, "working", f"moods/gateway-{job['id']}")
    assert (canceled.json()["state"], airflow.canceled) == ("canceled", [job["dag_run"]])


@pytest.mark.parametrize(
    ("airflow", "read", "status", "detail"),
    [
        (Airflow(error=AirflowRefusedError("no such Dag", 404)), answers, 502, "no such Dag"),
        (Airflow(error=AirflowUnavailableError("no answer")), answers, 503, "no answer"),
        (
            Airflow(state="failed"),
            no_answers,
            502,
            "the run committed nothing. Airflow tasks that failed: main.a. See http://airflow/run",
        ),
    ],
)
async def test_what_airflow_does_not_do_is_a_problem(airflow: Airflow, read: Any, status: int, detail: str) -> None:
    airflow.ended.set()
    async with gateway(dags=dags(airflow, read)) as app:
        answer = await by_dag(app)
    assert (answer.status_code, answer.json()["detail"]) == (status, detail)


async def test_a_dag_is_given_no_uri_that_the_gateway_does_not_allow() -> None:
    airflow = Airflow()
    async with gateway(dags=dags(airflow), uris=["/allowed"]) as app, client_of(app) as client:
        asked = {"task": "text-analysis", "records": [{"uri": "/allowed/a"}, {"uri": "/etc/passwd"}], "mode": "dag"}
        answer = await client.post("/predict", json=asked)
    assert (answer.status_code, [one["pointer"] for one in answer.json()["errors"]], airflow.confs) == (
        422,
        ["/records/1/uri"],
        {},
    )


async def test_without_an_airflow_there_is_no_dag_mode() -> None:
    async with gateway() as app:
        answer = await by_dag(app)
    assert answer.json()["errors"] == [
        {
            "pointer": "/mode",
            "detail": "'dag' needs an Airflow, and this gateway has none; use 'async', or start it with --airflow-url",
        }
    ]
