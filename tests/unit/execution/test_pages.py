"""Reading a run page by page: every row once, within bounds, and nothing but what was said of the records."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from builders import workflow
from executing import CARDS, World, records, started, worked

from airflow_agentic.artifacts import Store
from airflow_agentic.exceptions import InputError
from airflow_agentic.execution import Folder, Run, pages
from airflow_agentic.execution.erasure import erase
from airflow_agentic.execution.overview import overview
from airflow_agentic.execution.pages import Page, Wanted
from airflow_agentic.execution.report import report
from airflow_agentic.execution.runs import RunPlace, StoredRun, look
from airflow_agentic.execution.trace import trace
from airflow_agentic.pipeline.document import answer_document
from airflow_agentic.plan import Plan, compile_plan
from airflow_agentic.registry import Registry

CASCADE = {"cascade": ["a", "b", "c"], "accept": "prediction.score >= 0.5"}
PLACE = RunPlace(dag_id="demo", run_id="run")
ALL = Wanted()


def plan() -> Plan:
    spec = workflow(
        [{"name": "main", "use": CASCADE}],
        shard={"rows": 5},
        parallelism=3,
        input={"uri": "x", "features": {"size": "int", "tier": "string"}},
    )
    return compile_plan(spec, Registry.of(*CARDS))


@pytest.fixture(scope="module")
def store() -> Store:
    return Store.open("memory://")


@pytest.fixture(scope="module")
def run(store: Store) -> Run:
    return worked(started(plan(), records(), store), World())


def found(store: Store) -> StoredRun:
    run = look(store, "test", PLACE)
    assert run is not None
    return run


def all_of(read: Callable[[str | None], Page]) -> list[dict[str, Any]]:
    """The rows of all pages; each begins where the one before says."""
    rows, cursor = [], None
    while True:
        page = read(cursor)
        rows += page.rows
        if page.next is None:
            return rows
        assert page.next != cursor
        cursor = page.next


@pytest.mark.parametrize("limit", [1, 3, 5, 1000])
def test_every_answer_is_on_one_page(run: Run, limit: int) -> None:
    rows = all_of(lambda cursor: pages.answers(run, ALL, cursor=cursor, limit=limit))

    wanted = [(shard.number, row) for shard, table in run.answers() for row in table.to_pylist()]
    assert rows == [pages.finite({"shard": shard, **answer_document(row)}) for shard, row in wanted]
    assert len(rows) == 14


@pytest.mark.parametrize("limit", [1, 2, 1000])
def test_every_prediction_is_on_one_page(run: Run, limit: int) -> None:
    rows = all_of(lambda cursor: pages.predictions(run, ALL, cursor=cursor, limit=limit))

    assert len(rows) == sum(
        node.counts["predictions"] for node in report_of(run) if node.kind == "infer" and "predictions" in node.counts
    )
    places = [(row["shard"], row["node"], row["row"]) for row in rows]
    assert places == sorted(set(places))
    assert {"model", "reason", "attempt", "cost"} <= rows[0].keys()


def report_of(run: Run) -> Any:
    found = StoredRun(place=PLACE, store=run.folder.store, objects=tuple(run.folder.store.objects()))
    said = report(found, Store.open)
    assert said is not None
    return said.nodes


def test_only_what_is_wanted_is_given(run: Run) -> None:
    everything = pages.answers(run, ALL, limit=1000).rows
    one = pages.answers(run, Wanted(record_id="r9"), limit=1000).rows
    by_model = pages.answers(run, Wanted(model="b"), limit=1000).rows
    failed = pages.answers(run, Wanted(error="*"), limit=1000).rows
    (code, *_) = {row["error"]["code"] for row in failed}

    assert [row["record_id"] for row in one] == ["r9"]
    assert by_model == [row for row in everything if row["model"] == "b"] != []
    assert failed == [row for row in everything if "error" in row] != []
    assert pages.answers(run, Wanted(error=code), limit=1000).rows == [r for r in failed if r["error"]["code"] == code]
    assert pages.answers(run, Wanted(error="no-such-code"), limit=1000).rows == []

    of_b = pages.predictions(run, Wanted(node="main.b", error="*"), limit=1000).rows
    assert {(row["node"], row["error"]["code"]) for row in of_b} == {("main.b", "model_error")}


def test_a_page_ends_when_it_has_cost_enough(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pages.answers(run, ALL, limit=1000).rows
    monkeypatch.setattr(pages, "MOST_SHARDS", 1)
    first = pages.answers(run, Wanted(record_id="r13"), limit=1000)

    assert (first.rows, first.next) == ([], f"{run.manifest[:8]}.1.0.0")
    assert all_of(lambda cursor: pages.answers(run, ALL, cursor=cursor, limit=1000)) == whole


def test_a_large_file_is_not_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_BYTES", 10)
    with pytest.raises(InputError, match=r"^shard 0 of 'aggregate' has [0-9,]+ bytes, more than the 10 that are read"):
        pages.answers(run, ALL)


@pytest.mark.parametrize(
    ("cursor", "message"),
    [
        ("1", "'1' is no cursor; give 'next' of the page before, or none for the first"),
        ("../x", "'../x' is no cursor; give 'next' of the page before, or none for the first"),
        (
            "00000000.0.0.0",
            "the cursor '00000000.0.0.0' is of an earlier state of the run, which was computed anew; begin without one",
        ),
    ],
)
def test_a_wrong_cursor_is_refused(run: Run, cursor: str, message: str) -> None:
    for read in (pages.answers, pages.predictions):
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            read(run, ALL, cursor=cursor)
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        trace(run, "r0", cursor=cursor)


def test_a_cursor_behind_the_end_finds_nothing(run: Run) -> None:
    assert pages.answers(run, ALL, cursor=f"{run.manifest[:8]}.999.0.0") == Page(rows=[], next=None)


def test_what_is_not_there_is_refused(run: Run) -> None:
    with pytest.raises(InputError) as caught:
        pages.predictions(run, Wanted(node="route"))
    assert str(caught.value) == "'route' is no infer node of this run; there are: main.a, main.b, main.c"
    with pytest.raises(InputError, match=r"^the limit is 0; give 1 to 1000$"):
        pages.answers(run, ALL, limit=0)


def test_erased_records_are_found_among_the_errors() -> None:
    store = Store.open("memory://")
    run = worked(started(plan(), records(2), store), World())
    assert pages.answers(run, Wanted(error="*")).rows == []
    assert list(erase(store, "test", "r1", Store.open))

    (row,) = pages.answers(run.folder.open(run.manifest), Wanted(error="erased")).rows
    assert row["record_id"] == "erased-1"
    erased = trace(run.folder.open(run.manifest), "erased-1").document
    assert erased is not None
    assert erased["answer"]["error"]["code"] == "erased"


def test_numbers_that_json_has_not_are_null() -> None:
    assert pages.finite({"a": [float("nan"), 1.5, {"b": float("inf")}], "c": "x"}) == {
        "a": [None, 1.5, {"b": None}],
        "c": "x",
    }


class TestTrace:
    def test_a_record_is_followed_from_route_to_answer(self, run: Run) -> None:
        found = trace(run, "r3").document

        assert found is not None
        assert (found["shard"], found["row"]) == (0, 3)
        assert [one["node"] for one in found["routing"]][:2] == ["route", "main.gate-a"]
        assert found["routing"][0]["target"] == "main.a"
        models = [one["model"] for one in found["predictions"]]
        assert models[:2] == ["a", "b"]
        assert found["answer"]["record_id"] == "r3"
        assert found["answer"]["model"] == models[-1]
        assert "text 3" not in json.dumps({**found, "predictions": [], "answer": None})

    def test_a_record_that_is_not_there(self, run: Run) -> None:
        assert trace(run, "absent").document is None
        assert trace(run, "absent").next is None

    def test_looking_goes_on_where_it_ended(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("airflow_agentic.execution.trace.MOST_SHARDS", 2)
        first = trace(run, "r13")
        assert first.document is None
        assert first.next == f"{run.manifest[:8]}.2.0.0"
        second = trace(run, "r13", cursor=first.next).document
        assert second is not None
        assert second["shard"] == 2

    def test_a_run_that_has_only_begun(self) -> None:
        run = worked(started(plan(), records()), World(), until="main.a")
        found = trace(run, "r0").document

        assert found is not None
        assert [one["node"] for one in found["routing"]] == ["route"]
        assert (found["predictions"], found["answer"]) == ([], None)
        assert pages.answers(run, ALL) == pages.predictions(run, ALL) == Page(rows=[], next=None)


class TestOverview:
    def test_it_says_what_the_report_says(self, run: Run, store: Store) -> None:
        said = overview(found(store), run, Store.open)
        whole = report(found(store), Store.open)

        assert whole is not None
        assert (said["answers"], said["errors"]) == (whole.answers, whole.errors)
        assert [one["counts"] for one in said["nodes"]] == [one.counts for one in whole.nodes]
        assert (said["records"], said["shards"], said["answered"], said["next"]) == (14, 3, 3, None)
        assert {(one["node"], one["state"]) for one in said["progress"]} == {(f"main.{m}", "done") for m in "abc"}

    def test_shards_are_counted_in_parts(self, run: Run, store: Store) -> None:
        whole = overview(found(store), run, Store.open)
        first = overview(found(store), run, Store.open, limit=2)
        second = overview(found(store), run, Store.open, limit=2, cursor=first["next"])

        assert (first["first"], first["counted"], second["first"], second["counted"]) == (0, 2, 2, 1)
        assert second["next"] is None
        for name, count in whole["answers"].items():
            assert first["answers"].get(name, 0) + second["answers"].get(name, 0) == count

    def test_progress_that_cannot_be_read_is_left_out(self, store: Store) -> None:
        own = Store.open("memory://")
        for name in store.list():
            own.write(name, store.read(name))
        own.child("test", "demo", "run").write("main.a/progress-0.json", b"{")
        run = found(own)
        assert run.manifest is not None
        said = overview(run, Folder(run.store).open(run.manifest), Store.open)
        assert ("main.a", 0) not in {(one["node"], one["unit"]) for one in said["progress"]}


class TestLook:
    def test_it_lists_the_runs_own_folder_only(self, run: Run, store: Store) -> None:
        names = {one.name for one in found(store).objects}
        assert names == {name for name in run.folder.store.list() if "/" not in name}
        assert found(store).manifest == run.manifest[:32]

    @pytest.mark.parametrize("place", [("demo", "other", ""), ("other", "run", ""), ("demo", "run", "route")])
    def test_nothing_else_is_a_run(self, run: Run, store: Store, place: tuple[str, str, str]) -> None:
        dag_id, run_id, task_id = place
        assert look(store, "test", RunPlace(dag_id=dag_id, run_id=run_id, task_id=task_id)) is None

    @pytest.mark.parametrize("name", ["..", "../demo", "/demo", "a/../b", ""])
    def test_an_id_that_climbs_is_refused(self, store: Store, name: str) -> None:
        with pytest.raises(InputError, match="cannot name a folder of "):
            look(store, "test", RunPlace(dag_id=name, run_id="run"))
        with pytest.raises(InputError, match="cannot name a folder of "):
            look(store, "test", RunPlace(dag_id="demo", run_id=name))

    def test_what_a_run_holds_is_no_run_of_its_own(self, store: Store, run: Run) -> None:
        own = Store.open("memory://")
        for name in ("plan.json", "publish/plan.json"):
            own.child("test", "demo", "run").write(name, b"{}")
        assert look(own, "test", RunPlace(dag_id="demo", run_id="run", task_id="publish")) is None

    def test_the_run_of_a_model_operator(self, store: Store, run: Run) -> None:
        own = Store.open("memory://")
        inner = own.child("test", "demo", "run", "group.task")
        for name in run.folder.store.list():
            inner.write(name, run.folder.store.read(name))

        assert look(own, "test", PLACE) is None
        assert look(own, "test", RunPlace(dag_id="demo", run_id="run", task_id="group.task")) is not None
