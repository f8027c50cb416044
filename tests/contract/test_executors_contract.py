"""Both executors give the same answers: every pattern, with all well, one unit lost, one model lost, Route failed."""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any

import pyarrow as pa
import pytest
from builders import workflow
from executing import ALLOWED, CARDS, World, batched, comparable, coordinated, records, started, worked

from airflow_agentic import tables
from airflow_agentic.artifacts import Store
from airflow_agentic.coordinator import ModelPool
from airflow_agentic.coordinator.batch import answer_run
from airflow_agentic.exceptions import StoreError
from airflow_agentic.plan import Plan, compile_plan
from airflow_agentic.plan.ir import Infer
from airflow_agentic.registry import Registry

TOLERANCE = 1e-9
ROWS = 7
"""Of a shard: two make the batch, each a unit of its own."""
COMMON: dict[str, Any] = {
    "input": {"uri": "inbox", "features": {"size": "int", "tier": "string"}},
    "shard": {"rows": ROWS},
    "parallelism": 2,
}
CASCADE = {"cascade": ["a", "b", "c"], "accept": "prediction.score >= 0.5"}
ENSEMBLE = {"ensemble": ["a", "b", "c"]}
VALUES = {"ensemble": ["v1", "v2", "v3"]}
CHAIN = {"chain": ["fields", {"use": "a", "input": "prediction.output.city"}]}

USES: dict[str, Any] = {
    "model": "b",
    "model with require": {"model": "b", "require": {"max_cost": 0.005}},
    **{
        f"single {policy}": {"single": ["a", "b", "c"], "policy": policy}
        for policy in ("declared", "quality", "cost", "latency", "balanced", "round-robin")
    },
    "single weighted": {"single": ["a", "b", "c"], "policy": {"weighted": {"a": 3, "b": 1}}},
    "single balanced with weights": {"single": ["a", "b", "c"], "policy": {"balanced": {"cost": 5, "quality": 1}}},
    "single over tasks": {"single": ["a", "v1", "fields"], "policy": "cost"},
    "single by query": {"single": {"task": "text-analysis", "input": "text"}},
    "single with require": {"single": ["a", "b", "c"], "require": {"capabilities": {"tier": "gold"}}},
    "fallback": {"fallback": ["a", "b", "c"]},
    "fallback over kinds": {"fallback": ["fields", "v1", "a"]},
    "cascade": CASCADE,
    "cascade by cost": {"cascade": ["c", "a", "b"], "policy": "cost", "accept": "prediction.score >= 0.5"},
    "cascade over records": {"cascade": ["a", "c"], "accept": "record.size > 10 || prediction.label == 'good'"},
    "vote": {**ENSEMBLE, "quorum": 2},
    "weighted vote": {**ENSEMBLE, "aggregate": {"weighted-vote": {"a": 1, "b": 1, "c": 3}}},
    "weighted vote by quality": {**ENSEMBLE, "aggregate": "weighted-vote"},
    "best score": {**ENSEMBLE, "aggregate": "best-score"},
    "mean": {**ENSEMBLE, "aggregate": "mean"},
    "weighted mean": {**ENSEMBLE, "aggregate": {"weighted-mean": {"a": 2, "c": 3}}, "quorum": 2},
    "mean of numbers": {**VALUES, "aggregate": "mean"},
    "weighted mean of numbers": {**VALUES, "aggregate": "weighted-mean"},
    "median": {**VALUES, "aggregate": "median", "quorum": 2},
    "merge": {"ensemble": ["a", "v1", "fields"], "aggregate": "merge"},
    "handler": {**ENSEMBLE, "aggregate": {"handler": "executing:longest"}},
    "stack": {**ENSEMBLE, "aggregate": {"stack": "meta"}},
    "chain": CHAIN,
    "chain of three": {
        "chain": ["fields", {"use": "a", "input": "prediction.output.name"}, {"use": "b", "input": "prediction.label"}]
    },
    "chain on the record": {"chain": ["a", "b"]},
    "chain over a cascade": {"chain": [CASCADE, {"use": "b", "input": "prediction.label"}]},
    "chain into a cascade": {"chain": ["fields", {"use": CASCADE, "input": "prediction.output.city"}]},
    "chain into a choice": {
        "chain": [
            "fields",
            {"use": {"single": ["a", "b"], "require": {"max_cost": 0.002}}, "input": "prediction.output.city"},
        ]
    },
    "split": {"split": {"arms": [{"use": "a", "weight": 1}, {"use": "b", "weight": 2}]}},
    "split sticky": {
        "split": {"arms": [{"use": "a", "weight": 1}, {"use": CASCADE, "weight": 1}], "key": "record.tier"}
    },
    "shadow": {"shadow": {"primary": "a", "shadows": ["b", CASCADE], "fraction": 0.5}},
    "rules": {
        "rules": [
            {"when": "record.size < 5", "use": "a"},
            {"when": "record.max_cost > 0.001", "use": "b"},
            {"when": "record.tier == 'x'", "use": ENSEMBLE},
        ]
    },
    "cascade into an ensemble": {
        "cascade": ["a", {**ENSEMBLE, "aggregate": "mean"}],
        "accept": "prediction.score >= 0.5",
    },
    "cascade of an ensemble": {"cascade": [{"ensemble": ["a", "b"]}, "c"], "accept": "prediction.score > 0.7"},
    "cascade of a cascade": {
        "cascade": [{"cascade": ["a", "b"], "accept": "prediction.score >= 0.4"}, "c"],
        "accept": "prediction.score >= 0.5",
    },
    "fallback of a choice": {"fallback": [{"single": ["a", "b"], "require": {"max_latency_ms": 10}}, "c"]},
    "fallback of rules": {"fallback": [{"rules": [{"when": "record.tier == 'x'", "use": "a"}]}, "b"]},
    "fallback of a chain": {"fallback": [CHAIN, "b"]},
    "fallback of a stack": {"fallback": [{**ENSEMBLE, "aggregate": {"stack": "meta"}}, "b"]},
    "ensemble of cascades": {"ensemble": [CASCADE, {"fallback": ["b", "c"]}], "aggregate": "mean", "quorum": 2},
    "ensemble of a shadow": {"ensemble": [{"shadow": {"primary": "a", "shadows": ["b"]}}, "c"]},
}
ROUTES: list[Any] = [
    {"name": "small", "when": "record.size < 9", "use": CASCADE},
    {"name": "gold", "when": "record.max_cost < 1.0", "use": "b"},
    {"name": "numbers", "when": "record.tier == 'x'", "use": {**VALUES, "aggregate": "median"}},
]
WORKFLOWS: dict[str, dict[str, Any]] = {
    **{name: {"use": use} for name, use in USES.items()},
    "routes without default": {"routes": ROUTES},
    "routes with default": {"routes": ROUTES, "default": {"fallback": ["a", "c"]}},
    "match all": {"routes": ROUTES, "match": "all", "default": "fields"},
    "match all, one route": {"routes": ROUTES[:1], "match": "all"},
    "on_error fail": {"use": CASCADE, "on_error": "fail"},
    "on_error dead_letter": {"use": CASCADE, "on_error": "dead_letter"},
    "on_error fallback": {"use": {"fallback": ["a", "b"]}, "on_error": "fallback", "fallback": "c"},
    "on_error fallback over routes": {"routes": ROUTES, "on_error": "fallback", "fallback": CASCADE},
    "another seed": {"use": USES["split"], "seed": 7},
}


@cache
def plan_of(name: str) -> Plan:
    return compile_plan(workflow(**{**COMMON, **WORKFLOWS[name]}), Registry.of(*CARDS))


@cache
def expected_of(name: str, lost: str | None = None) -> list[dict[str, Any]]:
    """What the Coordinator answers, with all well or one model lost."""
    world = World(lost=frozenset({lost} if lost else ()))
    return comparable(coordinated(plan_of(name), records(), world, few=0))


def models_of(plan: Plan) -> list[str]:
    return list(dict.fromkeys(node.model for node in plan.of(Infer)))


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert [row["record_id"] for row in found] == [row["record_id"] for row in expected]
    for one, other in zip(found, expected, strict=True):
        assert close(one, other), f"{one}\n{other}"


def close(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=0.0, abs_tol=TOLERANCE)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(close, one, other))
    return type(one) is type(other) and one == other


every_workflow = pytest.mark.parametrize("name", WORKFLOWS)


@every_workflow
def test_all_well(name: str) -> None:
    plan, shard = plan_of(name), records()
    expected = expected_of(name)
    assert_same(comparable(batched(plan, shard)), expected)
    assert [row["record_id"] for row in expected] == shard.column("record_id").to_pylist()
    assert sum(row["error"] is None for row in expected) >= 4, "hardly any record is answered: the case shows little"
    assert all((row["error"] is None) != (answer(row) is None) for row in expected)


def answer(row: dict[str, Any]) -> Any:
    return next((row[name] for name in ("label", "value", "output") if row[name] is not None), None)


@every_workflow
def test_one_model_lost(name: str) -> None:
    plan, shard = plan_of(name), records()
    for model in models_of(plan):
        expected = expected_of(name, model)
        assert_same(comparable(batched(plan, shard, World(lost=frozenset({model})))), expected)
        codes = {member["error"] for row in expected for member in row["predictions"] if member["model"] == model}
        assert codes <= {"model_unavailable", "no_input"}


@every_workflow
def test_few_records(name: str) -> None:
    """Record by record between the calls of models, as a batch of few is answered: to the last bit and word."""
    plan, shard = plan_of(name), records()
    for lost in (None, *models_of(plan)):
        found = []
        for few in (0, len(shard)):
            world = World(lost=frozenset({lost} if lost else ()))
            answers = coordinated(plan, shard, world, few=few)
            assert answers.schema.equals(tables.ANSWER)
            found.append((answers.drop_columns(["latency_ms"]).to_pylist(), world.calls))
        assert found[0] == found[1]


@every_workflow
def test_one_unit_lost(name: str) -> None:
    """Only the records of the lost unit differ; they are answered as if the model were lost."""
    plan, shard = plan_of(name), records()
    well = expected_of(name)
    unit = started(plan, shard).units()[1]
    here = range(unit.first * ROWS, (unit.last + 1) * ROWS)
    for node in plan.of(Infer):
        lost = comparable(batched(plan, shard, lost=[(node.id, unit.number)]))
        alone = [one for one in plan.of(Infer) if one.model == node.model] == [node]
        without = expected_of(name, node.model) if alone else lost
        assert_same(lost, [without[row] if row in here else well[row] for row in range(len(shard))])


@every_workflow
def test_route_failed(name: str) -> None:
    plan, world = plan_of(name), World()
    run = started(plan, records())
    with pytest.raises(StoreError) as caught:
        worked(run, world, failed=["route", *(node.id for node in plan.nodes if node.kind == "gate")])
    message = "'route' has not committed shard 0: clear the Airflow task 'route', then this one"
    assert str(caught.value) == message
    assert caught.value.retryable
    assert not world.calls


@every_workflow
def test_a_gate_failed(name: str) -> None:
    plan = plan_of(name)
    for gate in (node.id for node in plan.nodes if node.kind == "gate"):
        with pytest.raises(StoreError) as caught:
            worked(started(plan, records()), World(), failed=[gate])
        message = f"'{gate}' has not committed shard [01]: clear the Airflow task '{gate}', then this one"
        assert re.fullmatch(message, str(caught.value))


@every_workflow
def test_compact(name: str) -> None:
    """One process that runs the Coordinator shard by shard commits the same answers."""
    plan, shard = plan_of(name), records()
    run = started(plan, shard)
    world = World()
    answer_run(run, pool=ModelPool(starter=world.start), allowed_handlers=ALLOWED)
    found = pa.concat_tables([answers for _, answers in run.folder.open(run.manifest).answers()])
    assert_same(comparable(found), expected_of(name))
    assert world.loads == world.closed
    cards = {(node.model, node.all_scores) for node in plan.of(Infer)}
    assert all(count <= sum(model == name for model, _ in cards) for name, count in world.loads.items())


def test_shards_and_units_change_nothing() -> None:
    shard = records()
    found = []
    for rows, parallelism in ((1, 1), (3, 8), (100, 2)):
        spec = workflow(**{**COMMON, "use": CASCADE, "shard": {"rows": rows}, "parallelism": parallelism})
        found.append(comparable(batched(compile_plan(spec, Registry.of(*CARDS)), shard)))
    assert found[0] == found[1] == found[2]


def test_on_a_local_folder(tmp_path: Any) -> None:
    plan, shard = plan_of("cascade"), records()
    run = worked(started(plan, shard, Store.open(str(tmp_path))), World())
    assert_same(
        comparable(pa.concat_tables([answers for _, answers in run.answers()])), comparable(coordinated(plan, shard))
    )
