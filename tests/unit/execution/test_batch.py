"""A batch run: resuming, clearing, zombies, shards and units."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from builders import card, workflow
from executing import ALLOWED, CARDS, MOODS, World, comparable, records, started, worked

from airflow_agentic.artifacts import Store
from airflow_agentic.artifacts.digests import digest
from airflow_agentic.exceptions import ArtifactError, PlanMismatchError
from airflow_agentic.execution import Folder, Run, ShardFile, Unit, count_answers, infer_unit
from airflow_agentic.execution.batch import cut
from airflow_agentic.plan import Plan, compile_plan
from airflow_agentic.plan.ir import Aggregate, Gate, Infer, Route
from airflow_agentic.registry import Registry
from airflow_agentic.spec import ModelCard

CASCADE = {"cascade": ["a", "b", "c"], "accept": "prediction.score >= 0.5"}
A, B, C = (f"main.{name}" for name in "abc")


def plan_of(use: Any = CASCADE, cards: tuple[ModelCard, ...] = CARDS, **changes: Any) -> Plan:
    spec = workflow(
        [{"name": "main", "use": use}],
        **{"shard": {"rows": 5}, "parallelism": 3, **changes},
        input={"uri": "x", "features": {"size": "int", "tier": "string"}},
    )
    return compile_plan(spec, Registry.of(*cards))


def answers_of(run: Run) -> list[dict[str, Any]]:
    return comparable(pa.concat_tables([answers for _, answers in run.answers()]))


def node_of(run: Run, name: str) -> Infer:
    node = run.plan.node(name)
    assert isinstance(node, Infer)
    return node


def changed(name: str, **said: Any) -> tuple[ModelCard, ...]:
    """The cards, one of them another version."""
    classes = None if "output" in said else MOODS
    return tuple(card(name, classes=classes, version="2", **said) if one.name == name else one for one in CARDS)


def test_a_dag_of_another_topology_is_refused() -> None:
    run = started(plan_of(), records())
    assert run.folder.open(run.manifest, topology=digest(run.plan.topology)).rows == run.rows
    with pytest.raises(PlanMismatchError) as caught:
        run.folder.open(run.manifest, topology=digest(plan_of("b").topology))
    assert str(caught.value) == (
        "the Dag of 'demo' has changed since this run froze its plan: "
        "clear the whole run to use the new plan, or restore the workflow's file"
    )


class TestResume:
    def test_what_is_committed_is_not_computed_again(self) -> None:
        plan, store, world = plan_of(), Store.open("memory://"), World()
        first = answers_of(worked(started(plan, records(), store), world))
        objects = store.list()
        again = World()
        assert answers_of(worked(started(plan, records(), store), again)) == first
        assert not again.calls
        assert not again.loads
        assert store.list() == objects

    def test_a_unit_resumes_after_its_last_shard(self) -> None:
        plan, world = plan_of("b", parallelism=1), World()
        run = started(plan, records())
        run.control(run.plan.of(Route)[0])
        node, (unit,) = node_of(run, "main.b"), run.units()
        infer_unit(run, node, Unit(number=0, first=0, last=0, rows=5, manifest=unit.manifest), world.start)
        assert world.calls["b"] == 1
        infer_unit(run.folder.open(run.manifest), node, unit, world.start)
        assert world.calls["b"] == 3
        assert len(world.seen["b"]) == 13  # 14 records, one of them bad

    def test_control_and_aggregate_are_stable(self) -> None:
        run = worked(started(plan_of(), records()), World())
        route, aggregate = run.plan.of(Route)[0], run.plan.of(Aggregate)[0]
        counts, totals = run.control(route), run.aggregate(aggregate)
        assert run.folder.open(run.manifest).control(route) == counts
        assert totals["records"] == 14
        assert counts["bad_record"] == 1
        assert sum(counts.values()) == 14

    def test_a_lost_unit_that_is_run_later_is_used_after_clearing(self) -> None:
        plan, world = plan_of("b"), World()
        run = worked(started(plan, records()), world, lost=[("main.b", 1)])
        lost = answers_of(run)
        assert [row["error"] for row in lost[5:10]] == ["model_unavailable"] * 3 + ["bad_record", "model_unavailable"]
        run = worked(run.folder.open(run.manifest), world)
        assert [row["error"] for row in answers_of(run)[5:10]] == [None, None, "model_error", "bad_record", None]
        assert world.calls["b"] == 3


class TestClearing:
    """Another plan over the same input, in the same folder: what holds is reused."""

    def rerun(self, before: Plan, after: Plan, **options: Any) -> tuple[World, Run]:
        store = Store.open("memory://")
        worked(started(before, records(), store), World())
        world = World()
        return world, worked(started(after, records(), store, **options), world)

    def test_a_changed_card_is_run_again_and_only_it(self) -> None:
        use = {"ensemble": ["a", "b", "c"], "aggregate": "best-score"}
        same = changed("b", cost=4.0, latency_ms=20.0, quality=0.8, capabilities={"tier": "gold"})
        world, run = self.rerun(plan_of(use), plan_of(use, same))
        assert set(world.calls) == {"b"}
        assert {member["model_version"] for row in answers_of(run) for member in row["predictions"]} == {"1", "2"}

    def test_a_changed_first_stage_runs_only_the_later_ones_that_get_other_rows(self) -> None:
        use = {"cascade": ["a", "b"], "accept": "prediction.score >= 0.5"}
        slower = changed("b", cost=4.0, latency_ms=20.0, quality=0.8, description="another")
        world, _ = self.rerun(plan_of(use), plan_of(use, slower))
        assert set(world.calls) == {"b"}
        other = tuple(
            card(
                "a",
                classes=MOODS,
                cost=1.0,
                latency_ms=5.0,
                quality=0.6,
                version="2",
                capabilities={"languages": ["en", "de"]},
            )
            if one.name == "a"
            else one
            for one in CARDS
        )
        world, _ = self.rerun(plan_of(use), plan_of(use, other))
        assert set(world.calls) == {"a"}, "the answers of a are the same, so the gate says the same"

    def test_figures_that_change_no_decision_run_no_model(self) -> None:
        use = {"single": ["a", "b"], "policy": "declared"}
        dearer = tuple(
            card("a", classes=MOODS, cost=1.5, latency_ms=5.0, quality=0.6, capabilities={"languages": ["en", "de"]})
            if one.name == "a"
            else one
            for one in CARDS
        )
        world, _ = self.rerun(plan_of(use), plan_of(use, dearer))
        assert not world.calls

    def test_editing_publish_infers_nothing(self) -> None:
        world, _ = self.rerun(plan_of(), plan_of(publish={"uri": "elsewhere/", "format": "jsonl"}, description="x"))
        assert not world.loads

    def test_editing_on_error_infers_nothing(self) -> None:
        world, _ = self.rerun(plan_of(), plan_of(on_error="dead_letter"))
        assert not world.loads

    def test_another_gate_reuses_the_first_stage(self) -> None:
        strict = {**CASCADE, "accept": "prediction.score >= 0.55"}
        world, _ = self.rerun(plan_of(), plan_of(strict))
        assert "a" not in world.calls
        assert world.calls["c"] > 0

    def test_a_salt_computes_everything_again(self) -> None:
        world, _ = self.rerun(plan_of(), plan_of(), salt="another")
        fresh = World()
        worked(started(plan_of(), records()), fresh)
        assert world.calls == fresh.calls

    def test_another_input_computes_its_shards_again(self) -> None:
        store, world = Store.open("memory://"), World()
        worked(started(plan_of("b"), records(10), store), World())
        worked(started(plan_of("b"), records(14), store), world)
        assert world.seen["b"] == ["text 10 !fields", "text 11 !c", "text 12", "text 13"]

    def test_the_first_frozen_plan_stays(self) -> None:
        store = Store.open("memory://")
        run = started(plan_of("a"), records(), store)
        started(plan_of("b"), records(), store)
        frozen = json.loads(run.folder.store.read("plan.json"))
        assert Plan.model_validate(frozen["plan"]) == plan_of("a")
        assert run.folder.open(run.manifest).plan == plan_of("a")


class TestZombies:
    """A unit counts as lost, the others go on, and then it commits after all."""

    def late(self, run: Run, name: str, unit: int, world: World) -> None:
        own = run.folder.open(run.manifest)
        infer_unit(own, node_of(own, name), own.units()[unit], world.start)

    def aggregated(self, run: Run) -> list[dict[str, Any]]:
        own = run.folder.open(run.manifest)
        own.aggregate(own.plan.of(Aggregate)[0])
        return answers_of(own.folder.open(run.manifest))

    def test_after_the_gate_it_changes_no_decision(self) -> None:
        world = World()
        run = worked(started(plan_of(), records()), world, lost=[(A, 1)], until="aggregate")
        asked = {name: list(texts) for name, texts in world.seen.items() if name != "a"}
        self.late(run, A, 1, world)
        found = self.aggregated(run)
        assert {name: texts for name, texts in world.seen.items() if name != "a"} == asked, "nobody is asked again"
        assert [row["record_id"] for row in found] == [f"r{place}" for place in range(14)]
        late = [row for row in found[5:10] if any(one["model"] == "a" for one in row["predictions"])]
        assert len(late) >= 2
        for row in late:
            assert row["model"] in {"b", "c"}
            assert "a failed (model_unavailable)" in row["route"]["reason"]

    def test_its_valid_answer_is_the_best_earlier_one_where_all_others_fail(self) -> None:
        world = World(lost=frozenset({"b", "c"}))
        run = worked(started(plan_of(), records()), world, lost=[(A, 1)], until="aggregate")
        self.late(run, A, 1, world)
        row = self.aggregated(run)[6]
        assert (row["record_id"], row["model"], row["degraded"]) == ("r6", "a", True)

    def test_after_aggregate_the_answers_stand(self) -> None:
        world = World()
        run = worked(started(plan_of(), records()), world, lost=[(A, 1)])
        before = answers_of(run)
        self.late(run, A, 1, world)
        assert answers_of(run.folder.open(run.manifest)) == before

    def test_the_second_try_of_a_gate_may_see_it(self) -> None:
        """Clearing the gate and what follows gives the answers of a run in which nothing was lost."""
        world = World()
        run = worked(started(plan_of(), records()), world, lost=[(A, 1)])
        self.late(run, A, 1, world)
        well = answers_of(worked(started(plan_of(), records()), World()))
        run = run.folder.open(run.manifest)
        for node in run.plan.nodes[3:]:
            if isinstance(node, Gate):
                run.control(node)
            elif isinstance(node, Infer):
                for unit in run.units():
                    infer_unit(run, node, unit, world.start)
            elif isinstance(node, Aggregate):
                run.aggregate(node)
        assert answers_of(run.folder.open(run.manifest)) == well

    def test_many_members_and_a_late_one(self) -> None:
        names = [f"m{number:02}" for number in range(20)]
        many = tuple(card(name, classes=MOODS) for name in names)
        use = {"fallback": [{"ensemble": names, "quorum": 20}, "a"]}
        world, plan = World(), plan_of(use, (*many, *CARDS))
        run = worked(started(plan, records()), world, lost=[("main.m00", 0), ("main.m19", 0)], until="aggregate")
        for name in ("main.m00", "main.m19"):
            self.late(run, name, 0, world)
        found = self.aggregated(run)
        assert [row["model"] for row in found[:2]] == ["a", "a"]
        assert (found[2]["error"], found[2]["calls"]) == ("no_candidate", 0)
        assert found[3]["model"] == f"ensemble({', '.join(names)})", "a failed: what came late is better than nothing"
        assert found[3]["degraded"]


class TestShards:
    def test_cut_by_rows(self) -> None:
        chunks = [records(14).slice(start, length) for start, length in ((0, 3), (3, 9), (12, 2))]
        assert [len(shard) for shard in cut(chunks, 5, 2**30)] == [5, 5, 4]
        assert pa.concat_tables(cut(chunks, 5, 2**30)).equals(records(14).combine_chunks())

    def test_cut_by_bytes(self) -> None:
        table = records(14)
        sizes = [len(shard) for shard in cut([table], 1000, table.nbytes // 4)]
        assert sum(sizes) == 14
        assert 3 <= len(sizes) <= 6
        assert [len(shard) for shard in cut([table], 1000, 1)] == [1] * 14

    def test_cut_of_many_small_chunks(self) -> None:
        table = records(14)
        assert [len(shard) for shard in cut([table.slice(row, 1) for row in range(14)], 6, 2**30)] == [6, 6, 2]

    def test_cut_of_nothing(self) -> None:
        assert list(cut([], 5, 5)) == []
        assert list(cut([records(2).slice(0, 0)], 5, 5)) == []

    @pytest.mark.parametrize(
        ("parallelism", "units"), [(1, [(0, 4)]), (2, [(0, 1), (2, 4)]), (9, [(n, n) for n in range(5)])]
    )
    def test_units_cover_all_shards(self, parallelism: int, units: list[tuple[int, int]]) -> None:
        run = started(plan_of(parallelism=parallelism, shard={"rows": 3}), records(14))
        found = run.units()
        assert [(unit.first, unit.last) for unit in found] == units
        assert sum(unit.rows for unit in found) == run.rows == 14
        assert [unit.number for unit in found] == list(range(len(units)))
        assert [Unit.from_json(json.loads(json.dumps(unit.to_json()))) for unit in found] == found

    def test_a_unit_without_rows_for_a_model_has_no_shards_to_do(self) -> None:
        plan = plan_of({"rules": [{"when": "record.size < 5", "use": "a"}, {"use": "b"}]})
        run = started(plan, records())
        run.control(run.plan.of(Route)[0])
        assert [[shard.number for shard in run.unit_shards(node_of(run, A), unit)] for unit in run.units()] == [
            [0],
            [],
            [],
        ]
        assert [run.selected(node_of(run, A), shard) for shard in run.shards] == [4, 0, 0]

    def test_the_shards_are_committed_with_their_errors(self) -> None:
        run = started(plan_of(), records())
        assert [(shard.number, shard.data.rows, shard.errors) for shard in run.shards] == [
            (0, 5, 0),
            (1, 5, 1),
            (2, 4, 0),
        ]
        assert run.records(run.shards[1]).column("record_id").to_pylist() == ["r5", "r6", "r7", "r8", "r9"]


class TestMissing:
    def test_a_manifest_that_is_not_there(self) -> None:
        folder = Folder.of(Store.open("memory://"), "test", "demo", "run")
        with pytest.raises(ArtifactError) as caught:
            folder.open("0" * 64)
        assert str(caught.value).endswith(
            "the run's artifacts were removed, or its first Airflow task did not commit; clear the whole run"
        )

    def test_answers_that_are_not_there(self) -> None:
        run = worked(started(plan_of(), records()), World(), until="aggregate")
        with pytest.raises(ArtifactError) as caught:
            list(run.answers())
        assert str(caught.value) == "shard 0 has no answers yet: clear the Airflow task 'aggregate'"

    def test_a_node_that_is_no_control(self) -> None:
        run = worked(started(plan_of(), records()), World(), until=A)
        with pytest.raises(TypeError, match=r"'main\.a' is no control node"):
            run.control(run.plan.node(A))  # type: ignore[arg-type]  # the error that is tested


def test_counts_of_answers() -> None:
    run = worked(started(plan_of({"fallback": ["a", "b"]}), records()), World())
    totals = run.aggregate(run.plan.of(Aggregate)[0])
    table = pa.concat_tables([answers for _, answers in run.answers()])
    assert totals == count_answers(table)
    assert {name: totals[name] for name in ("records", "errors", "degraded")} == {
        "records": 14,
        "errors": 3,
        "degraded": 0,
    }
    assert totals["error:bad_record"] == 1
    assert totals["error:model_error"] == 2
    assert totals["model:a"] + totals["model:b"] == 11
    assert totals["calls"] == sum(table.column("calls").to_pylist())


def test_one_folder_a_run() -> None:
    base = Store.open("memory://")
    one = Folder.of(base, "prod", "my dag", "manual__2026-01-01T00:00:00+00:00", ALLOWED)
    assert one.store.base == "memory:///prod/my%20dag/manual__2026-01-01T00%3A00%3A00%2B00%3A00"


def test_params_and_inputs_are_frozen_with_the_run() -> None:
    run = started(plan_of(), records(), params={"limit": 5})
    reopened = run.folder.open(run.manifest)
    assert (reopened.params, reopened.inputs, reopened.salt) == ({"limit": 5}, [{"uri": "test"}], "")
    assert isinstance(reopened.shards[0], ShardFile)
