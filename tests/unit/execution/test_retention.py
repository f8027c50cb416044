"""Runs in a store, and how they expire: crashes, late writers, whose retention counts."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from builders import compiled
from executing import ALLOWED, CARDS, World, comparable, records, worked
from stored import CrashError, copied, mortal

from airflow_agentic.artifacts import Store
from airflow_agentic.exceptions import ArtifactError, ExpiredRunError, InputError
from airflow_agentic.execution import Folder, Run, expiry, retention
from airflow_agentic.execution.expiry import EXPIRED, Tombstone, bury, refuse_expired, tombstone_of
from airflow_agentic.execution.retention import Pruned, duration, prune
from airflow_agentic.execution.runs import RunPlace, find_run, find_runs

DAY = 86400.0


def later(days: float) -> Any:
    return lambda: datetime.now(UTC) + timedelta(days=days)


def started(base: Store, dag_id: str = "demo", run_id: str = "run", **changes: Any) -> Run:
    plan = compiled("b", *CARDS, input={"uri": "x", "features": {"size": "int", "tier": "string"}}, **changes)
    return Folder.of(base, "test", dag_id, run_id, ALLOWED).start(plan, [records()], [])


def answered(base: Store, dag_id: str = "demo", run_id: str = "run", **changes: Any) -> Run:
    return worked(started(base, dag_id, run_id, **changes), World())


def pruned(base: Store, days: float, **how: Any) -> list[str]:
    return [str(one.place) for one in prune(base, "test", clock=later(days), **how)]


class TestWhoExpires:
    def test_each_run_by_its_own_retention(self) -> None:
        base = Store.open("memory://")
        for dag_id, kept in (("short", "1d"), ("long", "4w"), ("unsaid", None)):
            answered(base, dag_id, retention=kept)
        assert pruned(base, 0.9) == []
        assert pruned(base, 1.1) == ["short/run"]
        assert pruned(base, 29) == ["long/run"]
        assert pruned(base, 10_000) == []

    def test_the_default_is_for_those_who_say_nothing(self) -> None:
        base = Store.open("memory://")
        for dag_id, kept in (("long", "4w"), ("unsaid", None)):
            answered(base, dag_id, retention=kept)
        assert pruned(base, 8, default=7 * DAY) == ["unsaid/run"]

    def test_older_than_is_for_all(self) -> None:
        base = Store.open("memory://")
        for dag_id, kept in (("long", "4w"), ("unsaid", None)):
            answered(base, dag_id, retention=kept)
        assert pruned(base, 8, older_than=7 * DAY, default=DAY) == ["long/run", "unsaid/run"]

    def test_one_workflow_only(self) -> None:
        base = Store.open("memory://")
        answered(base, "a", name="one")
        answered(base, "b", name="two")
        assert pruned(base, 2, older_than=DAY, workflow="two") == ["b/run"]
        assert pruned(base, 2, older_than=DAY, workflow="two") == []

    def test_a_run_that_never_finished_expires(self) -> None:
        base = Store.open("memory://")
        started(base)
        assert pruned(base, 2, older_than=DAY) == ["demo/run"]
        assert base.list() == [f"test/demo/run/{EXPIRED}"]

    def test_a_model_operators_run_expires_by_itself(self) -> None:
        base = Store.open("memory://")
        run = answered(base)
        for name in run.folder.store.list():
            base.child("test", "own", "run", "classify 3").write(name, run.folder.store.read(name))
        assert pruned(base, 2, older_than=DAY) == ["demo/run", "own/run/classify 3"]
        assert base.list("test/own") == [f"test/own/run/classify%203/{EXPIRED}"]

    def test_what_is_no_run_is_left_alone(self) -> None:
        base = Store.open("memory://")
        base.write("test/photos/2025/cat.jpg", b"")
        base.write("test/photos/cat.jpg", b"")
        base.write("other/demo/run/plan.json", b"{}")
        assert pruned(base, 1000, older_than=DAY) == []
        assert len(base.list()) == 3

    def test_publishing_again_makes_a_run_no_younger(self) -> None:
        base = Store.open("memory://")
        run = answered(base)
        (before,) = find_runs(base, "test")
        run.folder.store.write("answers/part-00000.parquet", b"")
        (after,) = find_runs(base, "test")
        assert after.written_at == before.written_at

    def test_a_plan_of_another_version_expires_by_the_default(self) -> None:
        base = Store.open("memory://")
        base.write("test/demo/run/plan.json", b"no json")
        assert pruned(base, 2) == []
        assert pruned(base, 2, default=DAY) == ["demo/run"]


class TestCrashes:
    def test_a_crash_between_any_two_steps_is_finished_by_the_next_prune(self) -> None:
        base = Store.open("memory://")
        run = answered(base, shard={"rows": 7})
        for steps in count():
            broken = copied(base)
            try:
                list(prune(mortal(broken, steps), "test", older_than=DAY, clock=later(2)))
            except CrashError:
                half = Folder.of(broken, "test", "demo", "run", ALLOWED)
                if steps:
                    with pytest.raises(ExpiredRunError):
                        half.open(run.manifest)
                else:
                    assert half.open(run.manifest).rows == 14
                assert pruned(broken, 2, older_than=DAY) == ["demo/run"]
            else:
                break
            assert broken.list() == [f"test/demo/run/{EXPIRED}"], f"after {steps} steps"
        assert steps > 10

    def test_a_half_deleted_run_is_computed_anew_from_nothing(self) -> None:
        """No marker of it is left whose data may be gone."""
        base = Store.open("memory://")
        before = [table for _, table in answered(base, shard={"rows": 7}).answers()]
        for steps in count(1):
            broken = copied(base)
            try:
                list(prune(mortal(broken, steps), "test", older_than=DAY, clock=later(2)))
            except CrashError:
                world = World()
                run = worked(started(broken, shard={"rows": 7}), world)
                assert world.calls["b"] == 2, f"after {steps} steps"
                found = [table for _, table in run.answers()]
                assert list(map(comparable, found)) == list(map(comparable, before))
                assert tombstone_of(run.folder.store) is None
            else:
                break

    def test_a_crash_while_it_is_revived_leaves_it_expired(self) -> None:
        base = Store.open("memory://")
        answered(base)
        list(prune(mortal(base, 10_000), "test", older_than=DAY, clock=later(2)))
        base.write("test/demo/run/aggregate/part-0.k.json", b"late")
        for steps in range(2):
            broken = copied(base)
            with pytest.raises(CrashError):
                started(mortal(broken, steps))
            with pytest.raises(ExpiredRunError):
                refuse_expired(broken.child("test", "demo", "run"))
            assert started(broken).rows == 14


class TestLateWriters:
    def test_who_writes_before_the_tombstone_keeps_the_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        base = Store.open("memory://")
        run = answered(base)
        before = run.folder.store.list()
        clock = later(2)
        moments = iter([clock(), clock(), clock() - timedelta(days=1.5)])  # seen with the second look: it is young

        def prune_now() -> list[Pruned]:
            return list(prune(base, "test", older_than=DAY, clock=lambda: next(moments)))

        assert prune_now() == []
        assert run.folder.store.list() == before
        assert run.folder.open(run.manifest).rows == 14

    def test_a_tombstone_of_another_process_is_not_taken_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        base = Store.open("memory://")
        run = answered(base)
        other = Tombstone(expired_at="2026-01-01T00:00:00+00:00", why="old", workflow="demo", records=14)
        clock = later(2)
        moments = iter([clock(), clock(), clock() - timedelta(days=1.5)])

        def buried(store: Store, tombstone: Tombstone) -> bool:
            assert bury(store, other)
            return bury(store, tombstone)

        monkeypatch.setattr(retention, "bury", buried)
        assert list(prune(base, "test", older_than=DAY, clock=lambda: next(moments))) == []
        assert tombstone_of(run.folder.store) == other

    def test_what_a_zombie_writes_into_an_expired_run_is_never_read_and_deleted(self) -> None:
        base = Store.open("memory://")
        run = answered(base)
        assert pruned(base, 2, older_than=DAY) == ["demo/run"]
        worked_on = run.plan.nodes[1]
        run.markers.commit(worked_on.id, 0, "late", records(1), {})
        with pytest.raises(ExpiredRunError):
            run.folder.open(run.manifest)
        assert pruned(base, 2) == ["demo/run"]
        assert run.folder.store.list() == [EXPIRED]

    def test_reviving_says_so(self, caplog: pytest.LogCaptureFixture) -> None:
        base = Store.open("memory://")
        answered(base)
        pruned(base, 2, older_than=DAY)
        with caplog.at_level(logging.WARNING, logger=expiry.__name__):
            run = started(base)
        (record,) = [one for one in caplog.records if one.name == expiry.__name__]
        assert record.message.startswith(f"the run in {run.folder.store.base} expired on ")
        assert record.message.endswith(", kept for 1d; it is computed anew from its input")


class TestStates:
    def test_from_the_first_shard_to_the_last_answer(self) -> None:
        base, now = Store.open("memory://"), datetime.now(UTC)
        run = started(base, shard={"rows": 5}, retention="30d")
        (found,) = find_runs(base, "test")
        assert (found.state(now), found.state(now + timedelta(hours=2))) == ("running", "partly")
        assert (found.workflow, found.records, found.shards, found.answered) == ("demo", 14, 3, 0)
        assert found.retention == 30 * DAY
        worked(run, World())
        (found,) = find_runs(base, "test")
        assert (found.state(now), found.answered, found.manifest) == ("complete", 3, run.manifest[:32])
        assert found.bytes == sum(len(run.folder.store.read(name)) for name in run.folder.store.list())

    def test_the_last_manifest_counts(self) -> None:
        base = Store.open("memory://")
        answered(base)
        plan = compiled("b", *CARDS, input={"uri": "x", "features": {"size": "int", "tier": "string"}}, retention="1d")
        run = Folder.of(base, "test", "demo", "run", ALLOWED).start(plan, [records(3)], [])
        found = find_run(base, "test", RunPlace(dag_id="demo", run_id="run"))
        assert (found.records, found.retention, found.manifest) == (3, DAY, run.manifest[:32])
        assert len(list(found.plans())) == 3

    def test_a_run_that_is_not_there(self) -> None:
        base = Store.open("memory://p")
        with pytest.raises(InputError) as caught:
            find_run(base, "test", RunPlace.parse("demo/run"))
        assert str(caught.value) == (
            "memory:///p/test holds no run 'demo/run'; `airflow-agentic artifacts list` shows what is there"
        )
        run = answered(base)
        run.folder.store.child("x").write("plan.json", b"{}")
        with pytest.raises(InputError, match=r"holds no run 'demo/run/x'; there are demo/run$"):
            find_run(base, "test", RunPlace.parse("demo/run/x"))

    @pytest.mark.parametrize("text", ["demo", "demo/", "/run", "a/b/c/d", ""])
    def test_what_names_no_run(self, text: str) -> None:
        with pytest.raises(InputError) as caught:
            RunPlace.parse(text)
        assert str(caught.value) == (
            f"{text!r} names no run: write DAG/RUN, or DAG/RUN/TASK for a model operator, as `artifacts list` does"
        )


class TestTombstones:
    def test_one_of_another_schema_or_damaged_is_still_one(self) -> None:
        run = answered(Store.open("memory://"))
        for content, said in (
            (json.dumps({"schema": 2}), "has another schema than 1: the run has expired; read it with the version"),
            ("{}", "is damaged (KeyError('schema')): the run has expired; delete it"),
            ('{"schema": 1, "published": []}', "the run has expired; delete it"),
        ):
            run.folder.store.write(EXPIRED, content.encode())
            with pytest.raises(ArtifactError) as caught:
                run.folder.open(run.manifest)
            assert said in str(caught.value)

    @pytest.mark.parametrize(
        ("seconds", "shown"), [(86400 * 30, "30d"), (604800, "1w"), (3600 * 36, "36h"), (5400, "90m"), (1.5, "1.5s")]
    )
    def test_durations_as_a_spec_says_them(self, seconds: float, shown: str) -> None:
        assert duration(seconds) == shown
