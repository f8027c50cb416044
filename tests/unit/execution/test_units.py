"""One model over one unit: what is loaded, what is resumed, and what a loss says."""

from __future__ import annotations

from collections import Counter

import pytest
from builders import card, compiled
from executing import MOODS, World, records, started

from airflow_agentic.exceptions import ModelLoadError, ModelUnavailableError, PlanMismatchError
from airflow_agentic.execution import Run, UnitSummary, collect_unit, infer_unit
from airflow_agentic.plan.ir import Gate, Infer, Route
from airflow_agentic.runtime import Predictor
from airflow_agentic.spec import ModelCard


def routed(*, parallelism: int = 2) -> tuple[Run, Infer]:
    """14 records in three shards for the model ``b``; one is bad, and three ask a quality that it does not state."""
    run = started(compiled("b", card("b", classes=MOODS), shard={"rows": 5}, parallelism=parallelism), records())
    run.control(run.plan.of(Route)[0])
    return run, run.plan.of(Infer)[0]


def test_a_unit_is_counted_and_its_model_loaded_once_and_closed() -> None:
    run, node = routed(parallelism=1)
    world, seen = World(), []
    summary = infer_unit(
        run, node, run.units()[0], world.start, on_shard=lambda shard, marker: seen.append(shard.number)
    )
    assert summary == UnitSummary(model="b", unit=0, predictions=10, errors=1, resumed_shards=0)
    assert seen == [0, 1, 2]
    assert (world.loads["b"], world.closed["b"]) == (1, 1)


def test_a_committed_unit_loads_nothing() -> None:
    run, node = routed()
    first = infer_unit(run, node, run.units()[1], World().start)
    world = World()
    again = infer_unit(run.folder.open(run.manifest), node, run.units()[1], world.start)
    assert first is not None
    assert again is not None
    assert (first.resumed_shards, again.resumed_shards) == (0, 2)
    assert again.predictions == first.predictions
    assert not world.loads


def test_a_unit_without_a_record_for_the_model_is_none() -> None:
    plan = compiled({"rules": [{"when": "record.size < 2", "use": "b"}, {"use": "c"}]}, card("b"), card("c"),
                    input={"uri": "x", "features": {"size": "int"}}, shard={"rows": 5}, parallelism=3)  # fmt: skip
    run = started(plan, records())
    run.control(run.plan.of(Route)[0])
    node, world = run.node("main.b", Infer), World()
    found = [infer_unit(run, node, unit, world.start) for unit in run.units()]
    assert [summary and summary.predictions for summary in found] == [2, None, None]
    assert world.loads == Counter(b=1)


def test_a_loss_says_what_the_unit_still_lacks() -> None:
    run, node = routed(parallelism=1)
    world = World()

    def die_later(_: object, __: object) -> None:
        world.dying["b"] = 1

    with pytest.raises(ModelUnavailableError) as caught:
        infer_unit(run, node, run.units()[0], world.start, on_shard=die_later)
    assert str(caught.value) == (
        "'b' lost unit 1 of 1 (shards 1 to 2, 6 of the records 'r5' to 'r13'; 1 of its shards stay committed): "
        "the process of model 'b' died"
    )
    assert world.closed["b"] == 1
    again = infer_unit(run, node, run.units()[0], World().start)
    assert again is not None
    assert again.resumed_shards == 1


def test_a_loss_of_one_shard_of_several_units() -> None:
    run, node = routed(parallelism=3)
    with pytest.raises(ModelUnavailableError) as caught:
        infer_unit(run, node, run.units()[2], World(lost=frozenset("b")).start)
    lost = "'b' lost unit 3 of 3 (shard 2, 3 of the records 'r10' to 'r13')"
    assert str(caught.value) == f"{lost}: the process of model 'b' died"


def test_a_unit_says_which_records_it_holds(caplog: pytest.LogCaptureFixture) -> None:
    run, node = routed(parallelism=3)
    with caplog.at_level("INFO"):
        infer_unit(run, node, run.units()[1], World().start)
        infer_unit(run, node, run.units()[1], World().start)

    assert caplog.messages == ["unit 2 of 3 for 'b': shard 1, 3 of the records 'r5' to 'r9'"]


def test_a_loss_is_told_though_the_records_cannot_be_read() -> None:
    run, node = routed(parallelism=3)
    run.folder.store.delete(run.shards[2].data.name)
    with pytest.raises(ModelUnavailableError, match=r"lost unit 3 of 3 \(shard 2, 3 records\): it ended without"):
        collect_unit(run, node, run.units()[2])


def test_a_model_that_cannot_be_loaded_is_no_loss() -> None:
    run, node = routed()

    def refuse(_: ModelCard) -> Predictor:
        raise ModelLoadError("its weights are gone")

    with pytest.raises(ModelLoadError, match="its weights are gone"):
        infer_unit(run, node, run.units()[0], refuse)


def test_a_node_of_another_kind_is_refused() -> None:
    run, _ = routed()
    with pytest.raises(PlanMismatchError) as caught:
        run.node("main.b", Gate)
    assert str(caught.value) == "'main.b' is a node of kind infer in the frozen plan: clear the whole run"
