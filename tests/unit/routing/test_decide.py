"""Decisions over a shard: where rows go, and why."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from builders import card
from one_record import check_selection

from airflow_agentic import tables
from airflow_agentic.pipeline.inputs import inline_records
from airflow_agentic.plan.columns import record_columns
from airflow_agentic.registry import ModelInfo
from airflow_agentic.routing.chance import chance
from airflow_agentic.routing.decide import Decider, Shard
from airflow_agentic.routing.decision import (
    All,
    Candidate,
    Case,
    Decision,
    Pick,
    Reject,
    Rules,
    Sample,
    Share,
    Split,
    To,
)
from airflow_agentic.spec.pattern import Requirements

CARDS = [
    card("a", cost=1.0, latency_ms=5.0, quality=0.6),
    card("b", cost=4.0, latency_ms=20.0, quality=0.8),
    card("c", cost=9.0, latency_ms=50.0, quality=0.9),
]
INFOS = {one.name: ModelInfo.of(one) for one in CARDS}
A, B, C = To(node="main.a"), To(node="main.b"), To(node="main.c")
NO_ROUTE = Reject(outcome="no_route", reason="no route matches and the workflow has no default")


def shard(*rows: dict[str, Any], count: int = 0) -> Shard:
    given = list(rows) or [{} for _ in range(count)]
    records = inline_records(
        [{"record_id": f"r{place}", "text": f"text {place}", **row} for place, row in enumerate(given)],
        features={"size": "int", "tier": "string"},
    )
    return Shard(records, record_columns({"size": "int", "tier": "string", "later": "double"}))


def pick(*names: str, **options: Any) -> Pick:
    candidates = [Candidate(name=name, model=name, then=To(node=f"main.{name}")) for name in names]
    return Pick(candidates=tuple(candidates), **options)


def decide(decision: Decision, records: Shard, infos: dict[str, ModelInfo] | None = None, **options: Any) -> list[Any]:
    """Each entry as (row, target or outcome, rule, reason)."""
    load = options.pop("load", None)
    decider = Decider(infos or INFOS, load=load)
    table = decider.select(decision, records, **options)
    check_selection(table, decider, decision, records, **options)
    assert table.schema.equals(tables.SELECTION)
    found = table.to_pylist()
    assert [one["row"] for one in found] == sorted(one["row"] for one in found)
    assert all((one["target"] is None) != (one["outcome"] is None) for one in found)
    return [(one["row"], one["target"] or one["outcome"], one["rule"], one["reason"]) for one in found]


def ill(*names: str, why: str | None = None) -> dict[str, ModelInfo]:
    change = {"healthy": False, "why_unhealthy": why}
    return {name: info.model_copy(update=change) if name in names else info for name, info in INFOS.items()}


def test_no_rows() -> None:
    assert decide(A, shard(count=2), rows=np.empty(0, np.int64)) == []


def test_rows_that_are_not_asked_about_go_nowhere() -> None:
    assert [row for row, *_ in decide(A, shard(count=5), rows=np.array([1, 4]))] == [1, 4]


def test_the_first_rule_that_holds_decides() -> None:
    rules = Rules(
        cases=(
            Case(name="routes[0]", when="record.size > 5", then=A),
            Case(name="routes[1]", when="record.size > 2", then=B),
        ),
        default=NO_ROUTE,
    )
    assert decide(rules, shard({"size": 9}, {"size": 3}, {"size": 1})) == [
        (0, "main.a", "routes[0]", "record.size > 5"),
        (1, "main.b", "routes[1]", "record.size > 2"),
        (2, "no_route", None, "no route matches and the workflow has no default"),
    ]


def test_a_default_takes_what_no_rule_takes() -> None:
    rules = Rules(cases=(Case(name="routes[0]", when="record.size > 5", then=A),), default=B)
    assert decide(rules, shard({"size": 1})) == [(0, "main.b", "default", "no rule matches")]


def test_a_rule_without_condition_takes_all_that_is_left() -> None:
    rules = Rules(
        cases=(Case(name="routes[0]", when="record.size > 5", then=A), Case(name="routes[1]", then=B)), default=NO_ROUTE
    )
    assert decide(rules, shard({"size": 9}, {"size": 1})) == [
        (0, "main.a", "routes[0]", "record.size > 5"),
        (1, "main.b", "routes[1]", "always"),
    ]


def test_match_all_sends_a_row_along_every_rule() -> None:
    rules = Rules(
        cases=(
            Case(name="routes[0]", when="record.size > 5", then=A),
            Case(name="routes[1]", when="record.size > 2", then=B),
        ),
        default=C,
        match="all",
    )
    assert decide(rules, shard({"size": 9}, {"size": 3}, {"size": 1})) == [
        (0, "main.a", "routes[0]", "record.size > 5"),
        (0, "main.b", "routes[1]", "record.size > 2"),
        (1, "main.b", "routes[1]", "record.size > 2"),
        (2, "main.c", "default", "no rule matches"),
    ]


def test_a_condition_that_cannot_be_evaluated_is_an_outcome_and_no_later_rule_sees_the_row() -> None:
    rules = Rules(
        cases=(Case(name="routes[0]", when="record.size > 5", then=A), Case(name="routes[1]", then=B)), default=C
    )
    assert decide(rules, shard({"size": None}, {"size": 1})) == [
        (0, "condition_failed", "routes[0]", "record.size > 5: record.size is null"),
        (1, "main.b", "routes[1]", "always"),
    ]


def test_a_column_that_the_records_lack_is_null() -> None:
    rules = Rules(cases=(Case(name="routes[0]", when="has(record.later)", then=A),), default=NO_ROUTE)
    assert decide(rules, shard(count=1))[0][1] == "no_route"


def test_every_column_of_the_input_and_every_absent_one_has_its_type() -> None:
    records = inline_records(
        [{"record_id": "r0", "text": "x"}, {"record_id": "r1", "uri": "http://x/y"}], allowed_uris=["http://x/"]
    )
    absent = {"none": "string", "less": "int", "nil": "double", "no": "bool"}
    values = Shard(records, record_columns(absent)).values
    assert values["record.kind"].to_pylist() == ["text", "uri"]
    assert values["record.text"].to_pylist() == ["x", None]
    assert values["record.uri"].to_pylist() == [None, "http://x/y"]
    types = {name: str(values[f"record.{name}"].type) for name in absent}
    assert types == {"none": "string", "less": "int64", "nil": "double", "no": "bool"}
    assert all(values[f"record.{name}"].to_pylist() == [None, None] for name in absent)


def test_the_inner_rule_names_the_decision() -> None:
    inner = Rules(
        cases=(Case(name="routes[0].use.rules[0]", when="record.tier == 'x'", then=A),),
        default=Reject(outcome="no_route", reason="no rule of routes[0].use matches"),
    )
    outer = Rules(cases=(Case(name="routes[0]", then=inner),), default=NO_ROUTE)
    assert decide(outer, shard({"tier": "x"}, {"tier": "y"})) == [
        (0, "main.a", "routes[0].use.rules[0]", "always; record.tier == 'x'"),
        (1, "no_route", "routes[0]", "always; no rule of routes[0].use matches"),
    ]


@pytest.mark.parametrize(
    ("policy", "target", "reason"),
    [
        ("declared", "main.b", None),
        ("quality", "main.c", "quality: c scores 0.9, best of 3"),
        ("cost", "main.a", "cost: a scores -0.001, best of 3"),
        ("latency", "main.a", "latency: a scores -5, best of 3"),
        ("balanced", "main.a", "balanced: a scores 0.6667, best of 3"),
    ],
)
def test_a_ranking_policy_takes_the_best(policy: str, target: str, reason: str | None) -> None:
    assert decide(pick("b", "a", "c", policy=policy), shard(count=1)) == [(0, target, None, reason or "")]


def test_of_equals_the_first_wins() -> None:
    infos = {"a": INFOS["a"], "b": INFOS["a"].model_copy(update={"name": "b"})}
    assert decide(pick("b", "a", policy="quality"), shard(count=1), infos)[0][1] == "main.b"


def test_the_record_s_limits_leave_out_candidates_and_the_reason_says_so() -> None:
    found = decide(pick("a", "b", "c", policy="quality"), shard({"max_cost": 0.005}, {"max_cost": 0.0}, {}))
    assert found == [
        (0, "main.b", None, "not c costs 0.009, over max_cost; quality: b scores 0.8, best of 2"),
        (
            1,
            "no_candidate",
            None,
            "not a costs 0.001, over max_cost, b costs 0.004, over max_cost, c costs 0.009, over max_cost",
        ),
        (2, "main.c", None, "quality: c scores 0.9, best of 3"),
    ]


def test_one_candidate_left() -> None:
    found = decide(pick("a", "b", policy="quality"), shard({"max_cost": 0.001}))
    assert found == [(0, "main.a", None, "not b costs 0.004, over max_cost; a is the only candidate left")]


def test_the_pattern_s_requirements() -> None:
    choice = pick("a", "b", "c", policy="cost", require=Requirements(min_quality=0.7))
    assert decide(choice, shard(count=1)) == [
        (0, "main.b", None, "not a under min_quality; cost: b scores -0.004, best of 2")
    ]


def test_unhealthy_candidates() -> None:
    choice = pick("a", "b", policy="cost")
    why = "not a is unhealthy (torch is not installed)"
    assert decide(choice, shard(count=1), ill("a", why="torch is not installed")) == [
        (0, "main.b", None, f"{why}; b is the only candidate left")
    ]
    assert decide(choice, shard(count=1), ill("a", "b")) == [
        (0, "all_unhealthy", None, "not a is unhealthy, b is unhealthy")
    ]
    assert decide(choice, shard({"max_cost": 0.001}), ill("a"))[0][1] == "no_candidate"


def test_candidates_of_several_tasks_are_chosen_by_the_record_s_task() -> None:
    infos = {**INFOS, "p": ModelInfo.of(card("p", task="pricing", output={"value": "euro"}))}
    choice = pick("a", "p", policy="cost", by_task=True)
    found = decide(choice, shard({"task": "pricing"}, {"task": "text-analysis"}, {"task": "chess"}, {}), infos)
    assert [one[1] for one in found] == ["main.p", "main.a", "no_candidate", "main.p"]
    assert found[2][3] == "not a does text-analysis, p does pricing"


def test_round_robin_goes_by_the_position_in_the_input() -> None:
    found = decide(pick("a", "b", policy="round-robin"), shard(count=4))
    assert [(one[1], one[3]) for one in found] == [
        ("main.a", "round-robin: a"),
        ("main.b", "round-robin: b"),
        ("main.a", "round-robin: a"),
        ("main.b", "round-robin: b"),
    ]
    assert decide(pick("a", "b", policy="round-robin"), shard(count=4), rows=np.array([1]))[0][1] == "main.b"


def test_weighted_draws_by_weight_and_never_who_has_none() -> None:
    choice = pick("a", "b", "c", policy="weighted", weights={"a": 3.0, "b": 1.0}, seed=1)
    drawn = [one[1] for one in decide(choice, shard(count=2000))]
    assert drawn.count("main.c") == 0
    assert 1400 < drawn.count("main.a") < 1600
    assert drawn == [one[1] for one in decide(choice, shard(count=2000))]
    other = choice.model_copy(update={"seed": 2})
    assert drawn != [one[1] for one in decide(other, shard(count=2000))]


def test_weighted_without_a_weight_left_takes_the_first() -> None:
    choice = pick("a", "b", "c", policy="weighted", weights={"a": 1.0})
    assert decide(choice, shard(count=1), ill("a")) == [
        (0, "main.b", None, "not a is unhealthy; no candidate left has a weight")
    ]


def test_least_loaded_asks_who_has_least_to_do_now() -> None:
    choice = pick("a", "b", policy="least-loaded")
    load = {"a": 1}
    decider = Decider(INFOS, load=load)
    first = decider.select(choice, shard(count=1)).to_pylist()
    load["b"] = 2
    second = decider.select(choice, shard(count=1)).to_pylist()
    assert [(one["target"], one["reason"]) for one in (*first, *second)] == [
        ("main.b", "b is least loaded"),
        ("main.a", "a is least loaded"),
    ]


def test_load_is_seen_also_where_there_was_none_at_first() -> None:
    load: dict[str, int] = {}
    decider = Decider(INFOS, load=load)
    load["a"] = 1
    assert decider.select(pick("a", "b", policy="least-loaded"), shard(count=1)).column("target").to_pylist() == [
        "main.b"
    ]


def test_a_split_is_sticky_by_its_key() -> None:
    arms = (Share(name="a", weight=1, then=A), Share(name="b", weight=3, then=B))
    split = Split(arms=arms, key="record.tier", seed=3)
    found = decide(split, shard(*({"tier": f"t{place % 50}"} for place in range(1000))))
    by_tier: dict[int, set[str]] = {}
    for row, target, _, reason in found:
        by_tier.setdefault(row % 50, set()).add(target)
        assert reason == {"main.a": "split 25% to a", "main.b": "split 75% to b"}[target]
    assert all(len(targets) == 1 for targets in by_tier.values())
    assert {target for targets in by_tier.values() for target in targets} == {"main.a", "main.b"}


def test_a_split_by_record_is_about_as_large_as_its_weights() -> None:
    arms = (Share(name="a", weight=1, then=A), Share(name="b", weight=3, then=B))
    found = decide(Split(arms=arms, key="record.record_id"), shard(count=4000))
    assert 900 < sum(one[1] == "main.a" for one in found) < 1100


def test_a_sample_leaves_rows_out_without_an_outcome() -> None:
    both = All(children=(A, Sample(fraction=0.25, then=B)))
    found = decide(both, shard(count=2000))
    assert sum(one[1] == "main.a" for one in found) == 2000
    sampled = [one for one in found if one[1] == "main.b"]
    assert 400 < len(sampled) < 600
    assert {one[3] for one in sampled} == {"sampled at 0.25"}


def test_chance_is_the_same_in_every_release() -> None:
    """Who is in which arm of an experiment must not change with an upgrade."""
    records, arms = shard(count=16), (Share(name="a", weight=1, then=A), Share(name="b", weight=2, then=B))
    split = decide(Split(arms=arms, key="record.record_id", seed=7), records)
    assert "".join(target[-1] for _, target, *_ in split) == "bbabbbbabbabbbaa"
    assert [row for row, *_ in decide(Sample(fraction=0.4, seed=7, then=A), records)] == [1, 3, 5, 6, 7, 10]
    weighted = decide(pick("a", "b", "c", policy="weighted", weights={"a": 1, "c": 2}, seed=7), records)
    assert "".join(target[-1] for _, target, *_ in weighted) == "ccaacccccccaccac"


def test_a_split_between_three_gives_each_its_share_and_takes_any_seed() -> None:
    arms = tuple(Share(name=to.node[-1], weight=1, then=to) for to in (A, B, C))
    for seed in (3, 10**90):
        found = decide(Split(arms=arms, key="record.record_id", seed=seed), shard(count=60))
        shares = Counter(target for _, target, *_ in found)
        assert set(shares) == {"main.a", "main.b", "main.c"}
        assert min(shares.values()) > 10


def test_a_weighted_pick_needs_one_weight_only() -> None:
    first_without = pick("a", "b", "c", policy="weighted", weights={"c": 1.0})
    assert {target for _, target, *_ in decide(first_without, shard(count=4))} == {"main.c"}
    first_only = pick("a", "b", "c", policy="weighted", weights={"a": 1.0})
    assert {target for _, target, *_ in decide(first_only, shard(count=4))} == {"main.a"}


def test_without_a_load_the_first_is_least_loaded() -> None:
    found = decide(pick("b", "a", policy="least-loaded"), shard(count=2))
    assert [target for _, target, *_ in found] == ["main.b", "main.b"]


def test_a_pattern_tried_first_is_told_the_rule() -> None:
    able = Candidate(name="single(a)", then=pick("a"))
    other = Candidate(name="single(b)", then=pick("b"))
    rules = Rules(cases=(Case(name="routes[0]", then=Pick(candidates=(able, other))),), default=NO_ROUTE)
    assert [one[:3] for one in decide(rules, shard(count=1))] == [(0, "main.a", "routes[0]")]


def test_every_decision_passes_rule_and_reason_on() -> None:
    arms = (Share(name="a", weight=1, then=A), Share(name="b", weight=1, then=A))
    inner = {
        "split": Split(arms=arms, key="record.tier", seed=1),
        "sample": Sample(fraction=1.0, then=A),
        "all": All(children=(A,)),
        "default": Rules(cases=(), default=A),
        "single": Pick(candidates=(Candidate(name="rules", then=Rules(cases=(), default=A)),)),
        "reject": pick("a", require=Requirements(min_quality=0.99)),
    }
    cases = tuple(Case(name=name, when="record.size == 1", then=then) for name, then in inner.items())
    found = decide(Rules(cases=cases, default=NO_ROUTE, match="all"), shard({"size": 1, "tier": "x"}))
    assert [(rule, reason) for _, _, rule, reason in found] == [
        ("split", "record.size == 1; split 50% to b"),
        ("sample", "record.size == 1; sampled at 1"),
        ("all", "record.size == 1"),
        ("default", "record.size == 1; no rule matches"),
        ("single", "record.size == 1; no rule matches"),
        ("reject", "record.size == 1; not a under min_quality"),
    ]


def test_who_is_asked_next_keeps_the_rule() -> None:
    nested = Candidate(name="single(a)", then=pick("a", require=Requirements(min_quality=0.99)))
    other = Candidate(name="single(b)", then=Rules(cases=(), default=B))
    rules = Rules(cases=(Case(name="routes[0]", then=Pick(candidates=(nested, other))),), default=NO_ROUTE)
    assert decide(rules, shard(count=1)) == [
        (0, "main.b", "routes[0]", "always; not a under min_quality; no rule matches")
    ]


def test_rows_that_a_rule_took_are_not_left_for_the_default() -> None:
    """Where every rule is looked at: rows taken by an earlier one stay taken, whatever a later one says of others."""
    cases = (
        Case(name="routes[0]", when="record.size == 1", then=A),
        Case(name="routes[1]", when="record.tier == 'x'", then=B),
        Case(name="routes[2]", when="record.size == 3", then=A),
    )
    rows = ({"size": 1, "tier": "y"}, {"size": 2, "tier": "x"}, {"size": 3, "tier": None}, {"size": 4, "tier": "y"})
    found = decide(Rules(cases=cases, default=C, match="all"), shard(*rows))
    assert [one[:2] for one in found] == [(0, "main.a"), (1, "main.b"), (2, "condition_failed"), (3, "main.c")]


def test_weights_rank_a_balanced_pick() -> None:
    balanced = pick("a", "b", "c", policy="balanced", weights={"quality": 1.0})
    assert decide(balanced, shard(count=1))[0][1] == "main.c"


def test_chance_depends_on_value_seed_and_purpose_only() -> None:
    column = pa.chunked_array([["x", "y"], ["x", None]])
    rows = np.arange(4)
    drawn = chance(column, rows, 1, "split")
    assert drawn[0] == drawn[2]
    assert len(set(drawn.tolist())) == 3
    assert ((drawn >= 0) & (drawn < 1)).all()
    assert chance(column, np.array([2]), 1, "split")[0] == drawn[0]
    assert chance(column, rows, 2, "split")[0] != drawn[0] != chance(column, rows, 1, "sample")[0]


def test_again_says_who_is_asked_now() -> None:
    found = decide(pick("b", "c"), shard({}, {"max_cost": 0.005}), rule="routes[0].use", again=True)
    assert found == [
        (0, "main.b", "routes[0].use", "asked b"),
        (1, "main.b", "routes[0].use", "not c costs 0.009, over max_cost; asked b"),
    ]


def test_many_kinds_of_records() -> None:
    """More kinds than are looked for one by one."""
    given = [{"language": f"l{place % 100}"} for place in range(300)]
    infos = {"a": INFOS["a"].model_copy(update={"capabilities": {"languages": ["l7"]}})}
    found = decide(pick("a"), shard(*given), infos)
    assert len(found) == 300
    for row, outcome, _, reason in found:
        expected = ("main.a", "") if row % 100 == 7 else ("no_candidate", f"not a does not speak l{row % 100}")
        assert (outcome, reason) == expected


def test_conditions_see_the_input_of_a_record() -> None:
    rules = Rules(
        cases=(Case(name="routes[0]", when="record.kind == 'text' && record.text == 'yes'", then=A),), default=B
    )
    found = decide(rules, shard({"text": "yes"}, {"text": "no"}, {"text": 3}))
    assert [one[1] for one in found] == ["main.a", "main.b", "condition_failed"]
