"""Routing: every record lands exactly once in each branch, whatever the candidates and what the records ask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from builders import card, workflow
from hypothesis import given
from hypothesis import strategies as st

from airflow_agentic import tables
from airflow_agentic.execution.nodes import ShardState, route
from airflow_agentic.plan import compile_plan
from airflow_agentic.plan.columns import record_columns
from airflow_agentic.plan.ir import Route
from airflow_agentic.registry import ModelInfo, Registry
from airflow_agentic.routing.decide import Decider, Shard
from airflow_agentic.routing.decision import All, Candidate, Case, Decision, Pick, Reject, Rules, Share, Split, To
from airflow_agentic.routing.eligibility import Asked, reasons, why_not
from airflow_agentic.routing.policy import scores
from airflow_agentic.spec.pattern import Requirements

NAMES = ("a", "b", "c")
limits = st.none() | st.sampled_from([0.0, 0.001, 0.002, 0.5, 10.0, float("inf"), float("nan")])
infos = st.lists(
    st.builds(
        lambda cost, latency, quality, languages, healthy, task: ModelInfo(
            name="",
            version="1",
            task=task,
            input="text",
            digest="",
            cost=cost,
            latency_ms=latency,
            quality=quality,
            capabilities={} if languages is None else {"languages": languages},
            healthy=healthy,
        ),
        st.sampled_from([0.0, 0.001, 0.002, 0.5]),
        st.none() | st.sampled_from([0.001, 10.0]),
        st.none() | st.sampled_from([0.0, 0.5, 1.0]),
        st.none() | st.lists(st.sampled_from(["en", "de"]), max_size=2),
        st.booleans(),
        st.sampled_from(["t", "u"]),
    ),
    min_size=3,
    max_size=3,
).map(lambda found: {name: info.model_copy(update={"name": name}) for name, info in zip(NAMES, found, strict=True)})
asked = st.fixed_dictionaries(
    {},
    optional={
        "task": st.sampled_from(["t", "u", "v"]),
        "language": st.sampled_from(["en", "de", "fr"]),
        "max_latency_ms": limits,
        "max_cost": limits,
        "min_quality": limits,
    },
)
require = st.none() | st.builds(
    Requirements,
    max_cost=st.none() | st.sampled_from([0.0, 0.001]),
    min_quality=st.none() | st.sampled_from([0.5, 1.0]),
    capabilities=st.sampled_from([{}, {"languages": "en"}]),
)
records_of = st.lists(asked, min_size=1, max_size=30)


def table(rows: list[dict[str, Any]]) -> pa.Table:
    given_rows = [{"record_id": f"r{place}", "position": place, **row} for place, row in enumerate(rows)]
    return tables.table(given_rows, tables.RECORD)


@given(records_of, infos, require, st.booleans(), st.data())
def test_reasons_are_those_of_a_plain_loop(
    rows: list[dict[str, Any]],
    models: dict[str, ModelInfo],
    limit: Requirements | None,
    by_task: bool,
    data: st.DataObject,
) -> None:
    some = data.draw(st.sets(st.integers(0, len(rows) - 1)), "rows")
    chosen = np.array(sorted(some), dtype=np.int64)
    kind, kinds = reasons(table(rows), chosen, list(models.values()), limit, by_task=by_task)
    assert len(kind) == len(chosen)
    for row, one in zip(chosen, kind, strict=True):
        wanted = Asked(**rows[row]) if by_task else Asked(**{**rows[row], "task": None})
        assert kinds[one] == [why_not(info, wanted, limit) for info in models.values()]


def to(name: str, branch: int) -> To:
    return To(node=f"{branch}.{name}")


@st.composite
def decisions(draw: st.DrawFn, branch: int, depth: int = 2) -> Decision:
    """A decision that sends every row to exactly one place."""
    kind = draw(st.sampled_from(["to", "reject", "pick", "split", "rules", "nested"] if depth else ["to", "pick"]))
    below = decisions(branch, depth - 1) if depth else st.nothing()
    if kind == "to":
        return to(draw(st.sampled_from(NAMES)), branch)
    if kind == "reject":
        return Reject(outcome="no_route", reason="none")
    if kind == "pick":
        names = draw(st.permutations(NAMES))[: draw(st.integers(1, 3))]
        policies = ["declared", "quality", "cost", "latency", "balanced", "round-robin", "weighted", "least-loaded"]
        policy: Any = draw(st.sampled_from(policies))
        weights = dict.fromkeys(names[:2], 1.0) if policy == "weighted" else {}
        candidates = tuple(Candidate(name=name, model=name, then=to(name, branch)) for name in names)
        limit, by_task, seed = draw(require), draw(st.booleans()), draw(st.integers(0, 3))
        return Pick(candidates=candidates, policy=policy, weights=weights, require=limit, by_task=by_task, seed=seed)
    if kind == "nested":
        first = Candidate(name="nested", then=draw(below))
        last = Candidate(name="a", model="a", then=to("a", branch))
        return Pick(candidates=(first, last), policy=draw(st.sampled_from(["declared", "round-robin"])))
    if kind == "split":
        arms = tuple(Share(name=str(place), weight=place + 1, then=draw(below)) for place in range(2))
        return Split(arms=arms, key=draw(st.sampled_from(["record.record_id", "record.language"])), seed=1)
    conditions = st.sampled_from(
        ["record.max_cost > 0.001", "record.language == 'en'", "has(record.task)", "record.position > 5", None]
    )
    cases = tuple(Case(name=f"routes[{place}]", when=draw(conditions), then=draw(below)) for place in range(2))
    return Rules(cases=cases, default=draw(below))


@given(st.lists(asked, min_size=2, max_size=8), infos, decisions(0), st.booleans())
def test_a_record_is_routed_alone_as_among_others(
    rows: list[dict[str, Any]], models: dict[str, ModelInfo], decision: Decision, again: bool
) -> None:
    shard = Shard(table(rows), record_columns({}))
    decider = Decider(models)
    among = decider.select(decision, shard, rule="rule", again=again).to_pylist()

    for row, expected in enumerate(among):
        assert decider.select(decision, shard, np.array([row]), rule="rule", again=again).to_pylist() == [expected]


@given(records_of, infos, st.tuples(decisions(0), decisions(1)))
def test_every_record_lands_once_in_every_branch(
    rows: list[dict[str, Any]], models: dict[str, ModelInfo], branches: tuple[Decision, Decision]
) -> None:
    shard = Shard(table(rows), record_columns({}))
    found = Decider(models).select(All(children=branches), shard).to_pylist()
    everything = list(range(len(rows)))
    assert [one["row"] for one in found] == sorted(everything * 2)
    for branch in branches:
        alone = Decider(models).select(branch, shard).to_pylist()
        assert [one["row"] for one in alone] == everything
        assert all((one["target"] is None) != (one["outcome"] is None) for one in alone)
        for one in alone:
            assert one in found


@given(records_of, infos, decisions(0), st.data())
def test_a_record_goes_the_same_way_alone(
    rows: list[dict[str, Any]], models: dict[str, ModelInfo], decision: Decision, data: st.DataObject
) -> None:
    """Whatever else is in its shard, and whichever rows are asked about."""
    records, decider = table(rows), Decider(models)
    whole = decider.select(decision, Shard(records, record_columns({}))).to_pylist()
    row = data.draw(st.integers(0, len(rows) - 1), "row")
    some = decider.select(decision, Shard(records, record_columns({})), np.array([row])).to_pylist()
    alone = decider.select(decision, Shard(records.slice(row, 1), record_columns({}))).to_pylist()
    assert some == [whole[row]]
    assert alone == [{**whole[row], "row": 0}]


@given(records_of, infos, st.sampled_from(["quality", "cost", "latency", "balanced"]), require)
def test_a_ranking_pick_is_the_best_of_the_able(
    rows: list[dict[str, Any]], models: dict[str, ModelInfo], policy: Any, limit: Requirements | None
) -> None:
    candidates = tuple(Candidate(name=name, model=name, then=to(name, 0)) for name in NAMES)
    pick = Pick(candidates=candidates, policy=policy, require=limit)
    found = Decider(models).select(pick, Shard(table(rows), record_columns({}))).to_pylist()
    for row, one in zip(rows, found, strict=True):
        why = {name: why_not(models[name], Asked(**{**row, "task": None}), limit) for name in NAMES}
        able = [name for name in NAMES if why[name] is None]
        if not able:
            assert one["outcome"] == ("all_unhealthy" if set(why.values()) == {"unhealthy"} else "no_candidate")
            continue
        ranked = scores([models[name] for name in able], policy, {})
        assert one["target"] == f"0.{able[ranked.index(max(ranked))]}"


@given(
    st.permutations(NAMES),
    st.permutations(NAMES),
    records_of,
    st.sampled_from(["quality", "cost", "latency", "balanced"]),
    st.lists(st.sampled_from([0.25, 0.5]), min_size=3, max_size=3),
)
def test_the_order_of_cards_and_of_ranked_candidates_changes_nothing(
    files: list[str], listed: list[str], rows: list[dict[str, Any]], policy: str, figures: list[float]
) -> None:
    cards = {name: card(name, quality=one, cost=one, latency_ms=one) for name, one in zip(NAMES, figures, strict=True)}
    found = []
    for names, candidates in ((NAMES, NAMES), (files, listed)):
        use = {"single": list(candidates), "policy": policy}
        plan = compile_plan(workflow([{"name": "main", "use": use}]), Registry.of(*(cards[name] for name in names)))
        decider = Decider({name: plan.models[name] for name in names})
        found.append(route(plan.of(Route)[0], ShardState(plan, table(rows)), decider).to_pylist())
    assert found[0] == found[1]
