"""The routes of runs: who sees what, what is there, what is not, what was pruned, and a store that is away."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest
from agentic_api import Api, User, user
from builders import workflow
from executing import CARDS, World, records, worked

from airflow_agentic.artifacts import Store
from airflow_agentic.exceptions import StoreError
from airflow_agentic.execution import Folder
from airflow_agentic.execution.retention import prune
from airflow_agentic.plan import compile_plan
from airflow_agentic.plugins.api.desk import Desk
from airflow_agentic.plugins.api.problems import ProblemError
from airflow_agentic.registry import Registry

RUN_ID: Final = "manual__2026-11-22T10:00:00+00:00"
RUN: Final = f"/dags/moods/runs/{quote(RUN_ID, safe='')}"
DATA: Final = ("plan", "report", "answers", "predictions", "records/r3")
ROUTES: Final = (*(f"{RUN}/{name}" for name in DATA), "/dags/moods/workflow")
ANN: Final = user("ann", "moods")


def begin(store: Store, dag_id: str = "moods", run_id: str = RUN_ID, *, task_id: str = "") -> None:
    spec = workflow(
        [{"name": "main", "use": {"ensemble": ["a", "b", "c"], "quorum": 2}}],
        name=dag_id,
        shard={"rows": 5},
        input={"uri": "x", "features": {"size": "int", "tier": "string"}},
    )
    plan = compile_plan(spec, Registry.of(*CARDS))
    place = store.child("test", dag_id, run_id, *([task_id] if task_id else []))
    run = Folder(place, ["executing"]).start(plan, [records()], [{"uri": "test"}])
    worked(run, World())


@pytest.fixture(scope="module")
def store() -> Store:
    store = Store.open("memory://")
    begin(store)
    begin(store, "other")
    begin(store, "own", task_id="group.classify")
    return store


def dag(**changes: Any) -> Any:
    task = {"task_type": "PreprocessOperator", "upstream_task_ids": set()}
    tasks = {
        "preprocess": SimpleNamespace(**task),
        "main.a": SimpleNamespace(task_type="LocalInferenceOperator", upstream_task_ids={"preprocess"}),
    }
    said = {"tags": {"airflow-agentic"}, "doc_md": "Moods.\n\n```text\nthe drawing\n```\n", "description": "Moods."}
    return SimpleNamespace(**{**said, "task_dict": tasks, **changes})


def api(store: Store, *users: User) -> Api:
    return Api(store=store, users=users, dags={"moods": dag(), "other": dag()})


@pytest.mark.parametrize("route", ROUTES)
async def test_nobody_is_let_in_without_a_login(store: Store, route: str) -> None:
    async with api(store, ANN).client() as client:
        found = await client.get(route)

    assert found.status_code == 401
    assert found.headers["www-authenticate"] == 'Bearer realm="airflow"'
    assert found.headers["content-type"] == "application/problem+json"
    assert found.json() == {
        "type": "about:blank", "title": "Unauthorized", "status": 401, "detail": "Not authenticated"
    }  # fmt: skip


@pytest.mark.parametrize("route", ROUTES)
async def test_another_dags_rights_open_nothing(store: Store, route: str) -> None:
    async with api(store, user("bob", "other")).client("bob") as client:
        assert (await client.get(route)).status_code == 403
        assert (await client.get(route, params={"dag_id": "other"})).status_code == 403
        assert (await client.get(route.replace("moods", "other"))).status_code == 200


@pytest.mark.parametrize(("right", "open_"), [("run", DATA[:2]), ("records", DATA[2:]), ("workflow", ())])
async def test_each_route_asks_for_its_right(store: Store, right: str, open_: tuple[str, ...]) -> None:
    async with api(store, user("ann", "moods", rights=[right])).client("ann") as client:
        found = {name for name in DATA if (await client.get(f"{RUN}/{name}")).status_code == 200}
        workflow = (await client.get("/dags/moods/workflow")).status_code

    assert found == set(open_)
    assert workflow == (200 if right == "workflow" else 403)


async def test_what_the_routes_say(store: Store) -> None:
    async with api(store, ANN).client("ann") as client:
        said = {name: (await client.get(f"{RUN}/{name}")).json() for name in DATA}
        stored = await client.get(f"{RUN}/answers", params={"limit": 3})

    assert {(one["dag_id"], one["run_id"]) for name, one in said.items() if name != DATA[-1]} == {("moods", RUN_ID)}
    assert [node["kind"] for node in said["plan"]["nodes"]][-2:] == ["aggregate", "publish"]
    assert "majority" in said["plan"]["drawing"]
    assert said["report"]["records"] == sum(said["report"]["answers"].values()) + sum(said["report"]["errors"].values())
    assert len(said["answers"]["answers"]) == 14
    assert {row["model"] for row in said["predictions"]["predictions"]} == {"a", "b", "c"}
    assert said["records/r3"]["answer"]["record_id"] == "r3"
    assert len(stored.json()["answers"]) == 3
    assert stored.headers["cache-control"] == "no-store"


async def test_pages_follow_each_other(store: Store) -> None:
    rows: list[Any] = []
    cursor: dict[str, str] = {}
    async with api(store, ANN).client("ann") as client:
        while True:
            page = (await client.get(f"{RUN}/predictions", params={"node": "main.b", "limit": 4, **cursor})).json()
            rows += page["predictions"]
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}

    assert len(rows) == 13
    assert {row["node"] for row in rows} == {"main.b"}


async def test_record_ids_may_hold_slashes(store: Store) -> None:
    async with api(store, ANN).client("ann") as client:
        found = await client.get(f"{RUN}/records/{quote('a/b?c', safe='')}")
        plain = await client.get(f"{RUN}/records/a/b")

    assert found.json()["detail"] == "the run holds no record 'a/b?c'"
    assert plain.json()["detail"] == "the run holds no record 'a/b'"


async def test_the_run_of_a_model_operator_is_named_by_its_task(store: Store) -> None:
    async with api(store, user("ann", "own")).client("ann") as client:
        path = RUN.replace("moods", "own")
        named = await client.get(f"{path}/report", params={"task_id": "group.classify"})
        unnamed = await client.get(f"{path}/report")

    assert (named.status_code, named.json()["task_id"]) == (200, "group.classify")
    assert unnamed.status_code == 404
    assert unnamed.json()["detail"] == (
        f"the artifact store holds no run {RUN_ID!r} of 'own': "
        "it committed nothing yet, or only model operators did: name one with task_id"
    )


@pytest.mark.parametrize(
    "path",
    [
        "/dags/moods/runs/absent/answers",
        "/dags/moods/runs/..%2Fother%2F" + quote(RUN_ID) + "/answers",
        "/dags/moods/runs/%2E%2E/answers",
        "/dags/moods/runs/..%5Cother/answers",
        "/dags/moods/runs/%252E%252E%252Fother/answers",
        "/dags/moods%2Fruns%2Fx/runs/y/answers",
        "/dags/moods/runs/" + quote(RUN_ID) + "%2Froute/answers",
        "/dags/moods/runs/" + quote(RUN_ID) + "%00/answers",
        "/dags/moods/runs/" + "x" * 300 + "/answers",
        "/dags/moods/runs/" + quote(RUN_ID) + "/../../../other/runs/" + quote(RUN_ID) + "/answers",
    ],
)
async def test_no_path_leads_elsewhere(store: Store, path: str) -> None:
    async with api(store, ANN).client("ann") as client:
        request = client.build_request("GET", "http://airflow/")
        request.url = httpx.URL("http://airflow/agentic").copy_with(raw_path=f"/agentic{path}".encode())
        found = await client.send(request)

    assert found.status_code in {403, 404}


@pytest.mark.parametrize("task_id", ["..", "../../other/run", "route", "a/../..", "x" * 300])
async def test_no_task_id_leads_elsewhere(store: Store, task_id: str) -> None:
    async with api(store, ANN).client("ann") as client:
        found = await client.get(f"{RUN}/answers", params={"task_id": task_id})
        own = await client.get("/dags/moods/runs/absent/answers", params={"task_id": task_id})

    assert (found.status_code, own.status_code) == (404, 404)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"limit": "0"}, "query.limit: Input should be greater than or equal to 1"),
        ({"limit": "1001"}, "query.limit: Input should be less than or equal to 1000"),
        ({"eror": "x"}, "query.eror: Extra inputs are not permitted"),
        ({"cursor": "x"}, "'x' is no cursor; give 'next' of the page before, or none for the first"),
    ],
)
async def test_a_wrong_query_is_named(store: Store, query: dict[str, str], said: str) -> None:
    async with api(store, ANN).client("ann") as client:
        found = await client.get(f"{RUN}/answers", params=query)

    assert (found.status_code, found.json()["detail"]) == (422, said)


async def test_a_pruned_run_is_gone() -> None:
    store = Store.open("memory://")
    begin(store)
    list(prune(store, "test", older_than=3600, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=9999)))
    async with api(store, ANN).client("ann") as client:
        found = [await client.get(f"{RUN}/{name}") for name in DATA]

    assert {one.status_code for one in found} == {410}
    document = found[0].json()
    assert document["detail"].startswith(f"the run {RUN_ID!r} of 'moods' expired on 2053-")
    assert document["expired"]["records"] == 14


async def test_a_run_that_has_read_nothing_says_so() -> None:
    store = Store.open("memory://")
    store.child("test", "moods", RUN_ID).write("plan.json", b"{}")
    async with api(store, ANN).client("ann") as client:
        report, plan = await client.get(f"{RUN}/report"), await client.get(f"{RUN}/plan")

    assert (report.status_code, plan.status_code) == (404, 404)
    assert report.json()["detail"] == f"the run {RUN_ID!r} of 'moods' has not read its input yet; try again later"


class Away(Store):
    """A store that fails."""

    def __init__(self) -> None:
        store = Store.open("memory://")
        super().__init__(store._objects, store.base, store._prefix)

    def child(self, *parts: str) -> Store:
        raise StoreError("listing s3://bucket failed: connection refused")


async def test_a_store_that_is_away() -> None:
    async with api(Away(), ANN).client("ann") as client:
        found = await client.get(f"{RUN}/answers")

    assert (found.status_code, found.headers["retry-after"]) == (503, "5")
    assert found.json()["detail"] == "listing s3://bucket failed: connection refused"


async def test_a_long_id_is_of_no_run_also_where_it_can_name_no_folder(tmp_path: Path) -> None:
    async with api(Store.open(str(tmp_path)), ANN).client("ann") as client:
        found = await client.get(f"/dags/moods/runs/{'x' * 300}/answers")

    assert found.status_code == 404


async def test_only_these_routes_are_there(store: Store) -> None:
    async with api(store, ANN).client("ann") as client:
        for path in ("/", "/openapi.json", "/docs", "/dags/moods", "/dags", f"{RUN}/records/", f"{RUN}/answers/"):
            assert (await client.get(path)).status_code == 404
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert (await client.request(method, f"{RUN}/answers")).status_code == 405


class TestWorkflow:
    async def ask(self, found: Any) -> httpx.Response:
        made = Api(users=(ANN,), dags={"moods": found})
        async with made.client("ann") as client:
            return await client.get("/dags/moods/workflow")

    async def test_an_expanded_one_has_its_nodes(self) -> None:
        assert (await self.ask(dag())).json() == {
            "workflow": "moods",
            "description": "Moods.",
            "layout": "expanded",
            "drawing": "the drawing",
            "nodes": [
                {"id": "preprocess", "kind": "preprocess", "needs": []},
                {"id": "main.a", "kind": "infer", "needs": ["preprocess"]},
            ],
        }

    async def test_a_compact_one_has_a_drawing(self) -> None:
        tasks = {"workflow": SimpleNamespace(task_type="WorkflowOperator", upstream_task_ids=set())}
        said = (await self.ask(dag(task_dict=tasks))).json()
        assert (said["layout"], said["nodes"], said["drawing"]) == ("compact", None, "the drawing")

    @pytest.mark.parametrize("found", [None, dag(tags=set()), dag(task_dict={})])
    async def test_another_dag_has_none(self, found: Any) -> None:
        said = await self.ask(found)
        assert (said.status_code, said.json()["detail"]) == (404, "the Dag 'moods' is built from no workflow")

    async def test_a_broken_one_says_where_to_look(self) -> None:
        said = await self.ask(dag(tags={"airflow-agentic", "spec-error"}))
        assert (said.status_code, said.json()["detail"]) == (
            409,
            "the workflow of 'moods' does not compile; the Dag's documentation says why",
        )


class TestDesk:
    async def test_too_many_are_refused_at_once(self) -> None:
        desk, go = Desk(waiting=1), threading.Event()
        first = asyncio.create_task(desk(go.wait))
        await asyncio.sleep(0)
        with pytest.raises(ProblemError, match=r"^too many requests are being read for; try again$"):
            await desk(lambda: None)
        go.set()
        assert await first
        assert await desk(lambda: 7) == 7

    async def test_who_takes_too_long_is_left(self) -> None:
        desk, go = Desk(waiting=1, seconds=0.01), threading.Event()
        with pytest.raises(ProblemError, match=r"^the artifact store gave no answer within 0\.01 s; ") as caught:
            await desk(go.wait)
        assert caught.value.status == 503
        with pytest.raises(ProblemError, match=r"^too many requests"):
            await desk(lambda: None)
        go.set()
