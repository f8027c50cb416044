"""A compiled pick decides for one record as the vectorised decision does for a shard."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_routing_property import NAMES, asked, infos, require, table

from airflow_agentic.plan.columns import record_columns
from airflow_agentic.registry import ModelInfo
from airflow_agentic.routing.chance import chance, chance_of
from airflow_agentic.routing.decide import Decider, Shard
from airflow_agentic.routing.decision import Candidate, Pick, To
from airflow_agentic.routing.eligibility import Asked
from airflow_agentic.routing.pick import compile_pick
from airflow_agentic.spec.pattern import Requirements

POLICIES = ("declared", "quality", "cost", "latency", "balanced", "round-robin", "weighted", "least-loaded")
numbers = st.floats(0.0, 10.0) | st.floats(1e9, 1e9 + 1e-4)
figures = st.lists(st.tuples(numbers, st.none() | numbers, st.none() | st.floats(0.0, 1.0)), min_size=1, max_size=12)
weights = st.fixed_dictionaries({}, optional=dict.fromkeys(("cost", "latency", "quality"), st.floats(0.1, 9.0)))


def picks(policy: str, names: tuple[str, ...], limit: Requirements | None, **more: Any) -> Pick:
    candidates = tuple(Candidate(name=name, model=name, then=To(node=f"node-{name}")) for name in names)
    return Pick(candidates=candidates, policy=policy, require=limit, **more)


def assert_same(pick: Pick, models: dict[str, ModelInfo], rows: list[dict[str, Any]], load: dict[str, int]) -> None:
    assert len(rows) > 1, "one record alone is decided by the compiled pick itself"
    records = table(rows)
    selected = Decider(models, load=load).select(pick, Shard(records, record_columns({}))).to_pylist()
    picker = compile_pick(pick, models, load=load)
    assert picker is not None
    for place, (row, expected) in enumerate(zip(rows, selected, strict=True)):
        found = picker(Asked(**row), record_id=f"r{place}", position=place)
        target = found.candidate.then.node if found.candidate is not None else None
        assert (target, found.outcome, found.reason or None) == (
            expected["target"],
            expected["outcome"],
            expected["reason"] or None,
        )


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=max(10, settings.default.max_examples // 4))
@given(st.lists(asked, min_size=2, max_size=10), infos, require, st.booleans(), st.data())
def test_a_pick_is_that_of_the_shard(
    policy: str,
    rows: list[dict[str, Any]],
    models: dict[str, ModelInfo],
    limit: Requirements | None,
    by_task: bool,
    data: st.DataObject,
) -> None:
    names = tuple(data.draw(st.permutations(NAMES)))[: data.draw(st.integers(1, 3))]
    shares = data.draw(st.dictionaries(st.sampled_from(NAMES), st.floats(0.0, 3.0))) if policy == "weighted" else {}
    load = data.draw(st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3)))
    seed = data.draw(st.integers(0, 3))
    assert_same(picks(policy, names, limit, by_task=by_task, weights=shares, seed=seed), models, rows, load)


@given(figures, weights, st.lists(st.fixed_dictionaries({}, optional={"max_cost": numbers}), min_size=2, max_size=5))
def test_a_balanced_pick_is_that_of_the_shard_to_the_last_bit(
    given_figures: list[tuple[float, float | None, float | None]],
    given_weights: dict[str, float],
    rows: list[dict[str, Any]],
) -> None:
    models = {
        f"m{place}": ModelInfo(
            name=f"m{place}",
            version="1",
            task="t",
            input="text",
            digest="",
            cost=cost,
            latency_ms=latency,
            quality=quality,
        )
        for place, (cost, latency, quality) in enumerate(given_figures)
    }
    assert_same(picks("balanced", tuple(models), None, weights=given_weights), models, rows, {})


@given(st.text(max_size=20), st.integers(0, 9), st.sampled_from(["split", "weighted"]))
def test_the_chance_of_one_value_is_that_of_a_column(value: str, seed: int, purpose: str) -> None:
    column = pa.chunked_array([pa.array([value])])
    assert chance(column, np.array([0]), seed, purpose)[0] == chance_of(value, seed, purpose)


def test_a_pick_with_a_nested_pattern_is_left_to_the_decider() -> None:
    nested = Candidate(name="inner", then=picks("declared", ("a",), None))
    assert compile_pick(Pick(candidates=(nested,)), {}) is None
