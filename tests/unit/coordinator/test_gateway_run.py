"""A run whose shards a gateway answers: the real gateway in process, reached through a test server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from aiohttp.test_utils import TestServer
from builders import workflow
from executing import ALLOWED, CARDS, World, comparable, coordinated, records
from gateways import VOTE, forwarding, gateway, moods

from airflow_agentic.artifacts import Store
from airflow_agentic.coordinator.gateway_run import GatewayRun
from airflow_agentic.coordinator.shard_request import answers_of, shard_request
from airflow_agentic.exceptions import ModelUnavailableError, PlanMismatchError, ServiceRefusedError
from airflow_agentic.execution import Folder, Run, snapshot
from airflow_agentic.openinference.gateway import GatewayClient, cancel_all, wait_closed
from airflow_agentic.pipeline.inputs import inline_records
from airflow_agentic.plan import compile_plan
from airflow_agentic.registry import Registry
from airflow_agentic.serving.gateway.app import Gateway
from airflow_agentic.serving.gateway.documents import parse_request
from airflow_agentic.spec import WorkflowSpec
from airflow_agentic.spec.service import ServiceSpec

STATED = {"input": {"uri": "x.jsonl", "features": {"size": "int", "tier": "string"}}, "shard": {"rows": 5}}


class Fixture:
    """A run, and a gateway whose application is asked through a forwarding server."""

    def __init__(self, run: Run, app: Gateway, server: TestServer, world: World) -> None:
        self.run = run
        self.app = app
        self.world = world
        self.url = str(server.make_url("")).rstrip("/")

    @asynccontextmanager
    async def asked(self, **said: Any) -> AsyncIterator[GatewayRun]:
        """Another try of the same run."""
        service = ServiceSpec.model_validate({"url": self.url, **said.pop("service", {})})
        client = GatewayClient(service)
        try:
            yield GatewayRun(self.again(), client, name="demo/run", allowed_handlers=ALLOWED, **said)
        finally:
            await client.close()

    def again(self) -> Run:
        return self.run.folder.open(self.run.manifest)

    def committed(self) -> list[int]:
        run = self.again()
        return [shard.number for shard in run.shards if run.answered(shard) is not None]

    def answers(self) -> pa.Table:
        return pa.concat_tables([answers for _, answers in self.again().answers()])


@asynccontextmanager
async def fixture(
    folder: Path, table: pa.Table, *, world: World | None = None, use: Any = None, limits: Any = None, **stated: Any
) -> AsyncIterator[Fixture]:
    said = {**STATED, **stated}
    routes = said.pop("routes", [{"name": "main", "use": use}])
    spec = workflow(routes, name="moods", **said)
    world = world or World()
    async with gateway(world, specs=[spec], **(limits or {})) as app:
        app.modes.jobs.start()
        server = await forwarding(app)
        try:
            yield Fixture(started(folder, spec, table), app, server, world)
        finally:
            await server.close()


def started(folder: Path, spec: WorkflowSpec, table: pa.Table) -> Run:
    plan = snapshot(compile_plan(spec, Registry.of(*CARDS)), elsewhere=True)
    own = Folder.of(Store.open(str(folder)), "default", "demo", "run", ALLOWED)
    return own.start(plan, [table], [{"uri": "test"}])


async def whole(asked: GatewayRun) -> list[int]:
    """All steps, as an Airflow task makes them."""
    await asked.check()
    waiting: list[int] = []
    while jobs := await asked.submit(waiting):
        await wait_closed(asked.client, list(jobs.values()), sleep=brief)
        waiting += await asked.collect(jobs)
    return waiting


async def brief(_: float) -> None:
    await asyncio.sleep(0)


FOR_A = ["text 0", "text 1", "text 3 !a", "text 4 !a !b", "text 6"]
"""Of the first eight records, those that ask nothing that ``a`` cannot do."""
BY_PLACE = [
    {"when": "record.position >= 7 && record.size < 12", "use": {"cascade": ["a", "b"], "accept": "false"}},
    {"when": 'record.tier == "x"', "use": VOTE},
    {"use": "c"},
]


async def test_a_gateway_answers_as_the_worker_does(tmp_path: Path) -> None:
    table = records(14)
    async with (
        fixture(tmp_path, table, routes=BY_PLACE) as made,
        made.asked(service={"concurrency": 2}) as asked,
    ):
        assert await whole(asked) == []
        answers = made.answers()
    direct = await asyncio.to_thread(coordinated, made.run.plan, table)
    assert comparable(answers) == comparable(direct)
    assert answers.schema == direct.schema
    assert len(asked.jobs) == 3
    assert [row["error"]["code"] for row in answers.to_pylist() if row["record_id"] == "r8"] == ["bad_record"]


async def test_a_shard_of_bad_records_needs_no_job(tmp_path: Path) -> None:
    bad = records(9).slice(8)
    async with fixture(tmp_path, bad, use="a") as made, made.asked() as asked:
        assert await whole(asked) == []
    assert (asked.jobs, made.committed()) == ([], [0])


async def test_whoever_tries_again_finds_the_jobs(tmp_path: Path) -> None:
    world = World(held={"a": threading.Event()})
    async with fixture(tmp_path, records(8), world=world, use="a") as made:
        async with made.asked() as died:
            first = await died.submit()
        async with made.asked() as asked:
            again = await asked.submit()
            world.held["a"].set()
            assert await whole(asked) == []
    assert again == first
    assert made.committed() == [0, 1]
    assert Counter(world.seen["a"]) == Counter(FOR_A)


async def test_answered_jobs_are_found_too(tmp_path: Path) -> None:
    async with fixture(tmp_path, records(8), use="a") as made:
        async with made.asked() as died:
            first = await died.submit()
            await wait_closed(died.client, list(first.values()), sleep=brief)
        async with made.asked() as asked:
            assert await asked.submit() == first
            assert "result" not in await asked.client.job(first[0], result=False)
            assert await whole(asked) == []
    assert Counter(made.world.seen["a"]) == Counter(FOR_A)


async def test_where_a_model_was_lost_the_next_try_hands_in_another_job(tmp_path: Path) -> None:
    world = World(dying=Counter(a=2))
    async with fixture(tmp_path, records(4), world=world, use="a") as made:
        async with made.asked(last_try=False) as asked:
            assert await whole(asked) == [0]
        assert made.committed() == []
        async with made.asked(last_try=False) as asked:
            assert await whole(asked) == []
    assert made.committed() == [0]
    direct = await asyncio.to_thread(coordinated, made.run.plan, records(4))
    assert comparable(made.answers()) == comparable(direct)


async def test_the_last_try_commits_what_there_is(tmp_path: Path) -> None:
    world = World(lost=frozenset("a"))
    async with fixture(tmp_path, records(4), world=world, use="a") as made, made.asked() as asked:
        assert await whole(asked) == []
    codes = [answer["error"]["code"] for answer in made.answers().to_pylist()]
    assert codes == ["model_unavailable", "model_unavailable", "no_candidate", "model_unavailable"]


async def test_a_canceled_job_is_replaced(tmp_path: Path) -> None:
    world = World(held={"a": threading.Event()})
    async with fixture(tmp_path, records(8), world=world, use="a") as made, made.asked() as asked:
        jobs = await asked.submit()
        assert await cancel_all(asked.client, [jobs[0]]) == []
        states = await wait_closed(asked.client, list(jobs.values()), sleep=brief)
        assert states[jobs[0]] == "canceled"
        world.held["a"].set()
        assert await asked.collect(jobs) == []
        assert await whole(asked) == []
    assert made.committed() == [0, 1]


async def test_a_gateway_that_forgot_its_jobs(tmp_path: Path) -> None:
    async with fixture(tmp_path, records(4), use="a") as made, made.asked() as asked:
        gone = {0: "0" * 32}
        assert await wait_closed(asked.client, list(gone.values()), sleep=brief) == {"0" * 32: "gone"}
        with pytest.raises(ModelUnavailableError) as caught:
            await asked.collect(gone)
    assert str(caught.value) == (
        f"the gateway {made.url} knows no job {'0' * 32} of shard 0 any more: it kept its jobs in memory and was "
        "restarted (give it --jobs URL), or the job expired; a retry hands it in anew"
    )


async def test_a_gateway_with_another_plan_is_refused(tmp_path: Path) -> None:
    async with fixture(tmp_path, records(4), use="a") as made:
        run = started(tmp_path / "other", moods({"cascade": ["a", "b"], "accept": "true"}, **STATED), records(4))
        async with made.asked() as asked:
            asked.run = run
            with pytest.raises(PlanMismatchError) as caught:
                await asked.check()
    assert str(caught.value) == (
        f"the gateway {made.url} answers 'moods' by another plan than this run's: aggregate, main.b, "
        "main.gate-a, route differ; start it anew with the same workflow, model cards, files and profiles "
        "(files that only one of both has must be pinned: sha256), or remove gateway from the workflow"
    )


async def test_a_job_that_fails(tmp_path: Path) -> None:
    async with fixture(tmp_path, records(8), use="a") as made, made.asked() as asked:
        jobs = await asked.submit()
        await wait_closed(asked.client, list(jobs.values()), sleep=brief)
        client = asked.client
        errors = {503: "no model", 504: "late", 413: "large"}
        for status, said in errors.items():
            asked.client = Failing(client, jobs[0], {"status": status, "title": "It failed", "detail": said})
            with pytest.raises((ModelUnavailableError, ServiceRefusedError)) as caught:
                await asked.collect(jobs)
            errors[status] = str(caught.value)
            assert caught.value.retryable == (status != 413)
    which = f"the job {jobs[0]} of shard 0 failed: It failed"
    assert errors == {
        503: f"{which}: no model; a retry hands it in anew",
        504: f"{which}: late; allow it more: execution_timeout of the Airflow task, or --limit job_seconds=… of the "
        "gateway",
        413: f"{which}: large; cut smaller shards: shard: {{rows: 2}}, or bytes",
    }
    assert made.committed() == [1]


class Failing(GatewayClient):
    """In which one job has failed."""

    def __init__(self, client: GatewayClient, failed: str, error: Mapping[str, Any]) -> None:
        super().__init__(client.service)
        self.client = client
        self.failed = failed
        self.error = error

    async def job(self, job_id: str, *, result: bool = True) -> dict[str, Any]:
        found = await self.client.job(job_id, result=result)
        return {**found, "state": "failed", "error": self.error} if job_id == self.failed else found


async def test_a_request_that_is_too_large(tmp_path: Path) -> None:
    async with fixture(tmp_path, records(8), use="a", limits={"body_bytes": 200}) as made, made.asked() as asked:
        with pytest.raises(
            ServiceRefusedError, match=r"^.*/predict answered 413: .*; cut smaller shards: shard: {rows: 2}"
        ):
            await asked.submit()


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "has no answers of this provider ('NoneType' object is not subscriptable)"),
        ({"answers": []}, "answered 0 records, others or in another order than the 4 of the shard"),
    ],
)
def test_answers_that_are_none_of_the_shard(result: Any, message: str) -> None:
    with pytest.raises(ServiceRefusedError) as caught:
        answers_of(result, records(4), "the job j")
    assert str(caught.value) == f"the job j {message}; run the gateway with the same airflow-agentic"


async def test_a_gateway_that_is_away_is_waited_for(tmp_path: Path) -> None:
    moments = iter([0.0, 10.0, 601.0])
    away = GatewayClient(ServiceSpec.model_validate({"url": "http://127.0.0.1:1"}))
    with pytest.raises(
        ModelUnavailableError, match=r"^the gateway http://127.0.0.1:1 was not heard of for 600 s \(.*\); a"
    ):
        await wait_closed(away, ["j"], sleep=brief, clock=lambda: next(moments))
    await away.close()
    assert list(moments) == []


def test_every_kind_of_input_reaches_the_gateway_as_it_is() -> None:
    given = [
        {"record_id": "a", "text": ""},
        {"record_id": "b", "bytes": b"\x00\xff"},
        {"record_id": "c", "input": {"text": "a structure"}},
        {"record_id": "d", "input": [[1, 2.5]]},
        {"record_id": "e", "text": "é", "task": "t", "max_cost": 0.5, "flag": True},
    ]
    document = json.loads(shard_request("w", inline_records(given)))
    request = parse_request(document, most=10)
    assert (request.workflow, request.mode, request.prepared) == ("w", "async", True)
    told = [{"position": place, **row} for place, row in enumerate(given)]
    told[1]["bytes"] = "AP8="
    assert list(request.records) == told
