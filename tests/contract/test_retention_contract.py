"""Pruning and erasing, alike in every artifact store: local folder, memory, S3 (moto server)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from builders import compiled
from executing import ALLOWED, CARDS, World, comparable, records, worked
from stored import s3_store, written

from airflow_agentic.artifacts import Store
from airflow_agentic.exceptions import ExpiredRunError
from airflow_agentic.execution import Folder, Run
from airflow_agentic.execution.erasure import erase
from airflow_agentic.execution.expiry import EXPIRED, tombstone_of
from airflow_agentic.execution.publish import publish
from airflow_agentic.execution.retention import prune
from airflow_agentic.execution.runs import find_runs

RUN_ID = "manual__2026-11-22T10:00:00+00:00"
DAY = 86400.0
SECRET = "Ottilie-Sauerkirsch-4711"
CASCADE = {"cascade": ["a", "b", "c"], "accept": "prediction.score >= 0.5"}


def later(days: float) -> Any:
    """A clock."""
    return lambda: datetime.now(UTC) + timedelta(days=days)


def answered(base: Store, run_id: str = RUN_ID, text: str = SECRET, **changes: Any) -> Run:
    """A finished run of 14 records in shards of 5; ``text`` is in the record ``r6``."""
    spec = {"shard": {"rows": 5}, "on_error": "dead_letter", **changes}
    plan = compiled(CASCADE, *CARDS, input={"uri": "x", "features": {"size": "int", "tier": "string"}}, **spec)
    table = records()
    inputs = table.column("input").to_pylist()
    inputs[6]["text"] = f"{text} !a !b !c"  # every model's error quotes it
    place = table.schema.get_field_index("input")
    table = table.set_column(place, table.schema.field("input"), pa.array(inputs, table.schema.field("input").type))
    folder = Folder.of(base, "test", "my dag", run_id, ALLOWED)
    run = worked(folder.start(plan, [table], [{"uri": "test"}]), World())
    publish(run, run_id, Store.open)
    return run


def answers_of(run: Run) -> list[dict[str, Any]]:
    return comparable(pa.concat_tables([answers for _, answers in run.answers()]))


class RetentionContract:
    """What pruning and erasing do to every store. Subclasses give the fixture ``base``: an empty one."""

    def test_a_run_expires_and_says_so(self, base: Store) -> None:
        run = answered(base)
        (pruned,) = prune(base, "test", older_than=30 * DAY, clock=later(31))

        today = f"{datetime.now(UTC):%Y-%m-%d}"
        assert (str(pruned.place), pruned.workflow, pruned.records) == (f"my dag/{RUN_ID}", "demo", 14)
        assert pruned.why == f"last written {today}, kept for 30d"
        assert run.folder.store.list() == [EXPIRED]
        assert SECRET.encode() not in written(base)
        with pytest.raises(ExpiredRunError) as caught:
            run.folder.open(run.manifest)
        gone = f"{later(31)():%Y-%m-%d}"
        assert str(caught.value) == (
            f"the run in {run.folder.store.base} expired on {gone}: last written {today}, kept for 30d. "
            "Its records, predictions and answers are deleted; clear the whole run to compute it anew from its input"
        )
        assert not caught.value.retryable
        (found,) = find_runs(base, "test")
        assert (found.state(datetime.now(UTC)), found.workflow, found.records) == ("expired", "demo", 14)
        assert list(prune(base, "test", older_than=30 * DAY, clock=later(62))) == []

    def test_what_is_young_is_kept(self, base: Store) -> None:
        run = answered(base)
        before = base.list()
        assert list(prune(base, "test", older_than=30 * DAY, clock=later(29))) == []
        assert base.list() == before
        assert answers_of(run.folder.open(run.manifest)) == answers_of(run)

    def test_a_dry_run_deletes_nothing(self, base: Store) -> None:
        answered(base)
        before = base.objects()
        (pruned,) = prune(base, "test", older_than=DAY, dry_run=True, clock=later(2))
        assert (pruned.objects, pruned.bytes) == (len(before), sum(one.bytes for one in before))
        assert base.objects() == before

    def test_an_expired_run_that_is_cleared_as_a_whole_is_computed_anew(self, base: Store) -> None:
        before = answers_of(answered(base))
        list(prune(base, "test", older_than=DAY, clock=later(2)))
        run = answered(base)
        assert answers_of(run) == before
        assert tombstone_of(run.folder.store) is None

    def test_a_record_is_erased_and_nothing_else(self, base: Store) -> None:
        run = answered(base)
        before = answers_of(run)
        assert SECRET.encode() in written(base)
        assert b"r6" in written(base)

        (erased,) = erase(base, "test", "r6", Store.open)
        assert (str(erased.place), erased.state, erased.unreached) == (f"my dag/{RUN_ID}", "complete", ())
        assert SECRET.encode() not in written(base)
        assert b"r6" not in written(base)
        after = answers_of(run.folder.open(run.manifest))
        assert after[6] | {"cost": 0, "calls": 0} == {
            **dict.fromkeys(before[6]),
            "record_id": "erased-6",
            "error": "erased",
            "degraded": before[6]["degraded"],
            "model": before[6]["model"],
            "route": {"rule": before[6]["route"]["rule"], "reason": "erased"},
            "predictions": [
                member | {"label": None, "score": None, "value": None, "error": "erased"}
                for member in before[6]["predictions"]
            ],
            "cost": 0,
            "calls": 0,
        }
        assert after[:6] + after[7:] == before[:6] + before[7:]
        assert list(erase(base, "test", "r6", Store.open)) == []

    def test_an_erased_run_goes_on(self, base: Store) -> None:
        run = answered(base)
        before = answers_of(run)
        list(erase(base, "test", "r6", Store.open))
        world = World()
        again = worked(run.folder.open(run.manifest), world)
        assert not world.calls, "everything is still committed"
        assert publish(again, RUN_ID, Store.open)["records"] == 14
        assert SECRET.encode() not in written(base)
        anew = answers_of(answered(base))  # the same input, the record with it
        assert [row["record_id"] for row in anew][5:8] == ["r5", "erased-6", "r7"]
        assert anew[:6] + anew[7:] == before[:6] + before[7:]
        assert SECRET.encode() not in written(base)

    def test_two_records_of_one_shard(self, base: Store) -> None:
        run = answered(base)
        before = answers_of(run)
        assert len(list(erase(base, "test", "r6", Store.open))) == 1
        assert len(list(erase(base, "test", "r9", Store.open))) == 1
        after = answers_of(run.folder.open(run.manifest))
        assert [row["record_id"] for row in after][6:10] == ["erased-6", "r7", "r8", "erased-9"]
        assert [row for row in after if "erased" not in row["record_id"]] == before[:6] + before[7:9] + before[10:]

    def test_published_elsewhere(self, base: Store, tmp_path: Path) -> None:
        uri = (tmp_path / "answers").as_uri()
        answered(base, publish={"uri": uri, "format": "jsonl"})
        there = Store.open(uri)
        lines = there.child(RUN_ID).read("part-00001.jsonl").splitlines()
        assert [b'"r6"' in line for line in lines] == [False, True, False, False, False]
        (erased,) = erase(base, "test", "r6", Store.open)
        assert erased.unreached == ()
        left = there.child(RUN_ID).read("part-00001.jsonl").splitlines()
        assert left[:1] + left[2:] == lines[:1] + lines[2:]
        assert SECRET.encode() not in written(there) + written(base)

        list(prune(base, "test", older_than=DAY, clock=later(2)))
        assert there.child(RUN_ID).exists("part-00001.jsonl"), "it is the user's"
        (erased,) = erase(base, "test", "r3", Store.open)  # its plan is gone, the tombstone knows
        assert (erased.files, erased.state) == (1, "expired")
        assert b'"r3"' not in written(there)


class TestLocalFolder(RetentionContract):
    @pytest.fixture
    def base(self, tmp_path: Path) -> Store:
        return Store.open(str(tmp_path / "artifacts é 100%"))


class TestMemory(RetentionContract):
    @pytest.fixture
    def base(self) -> Store:
        return Store.open("memory://prod")


@pytest.mark.s3
class TestS3(RetentionContract):
    @pytest.fixture
    def base(self, s3_endpoint: str) -> Store:
        return s3_store(s3_endpoint)
