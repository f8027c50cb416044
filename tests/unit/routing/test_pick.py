"""What a compiled pick says, by policy. That it decides as a shard is decided is a property: ``test_pick_property``."""

from __future__ import annotations

import random
from typing import Any

import pytest

from airflow_agentic.registry import ModelInfo
from airflow_agentic.routing.decision import Candidate, Pick, To
from airflow_agentic.routing.eligibility import Asked
from airflow_agentic.routing.pick import REMEMBERED, Picker, compile_pick
from airflow_agentic.routing.policy import scores
from airflow_agentic.spec.pattern import Requirements


def model(name: str, **more: Any) -> ModelInfo:
    return ModelInfo(**{"version": "1", "task": "t", "input": "text", "digest": "", "name": name, **more})


def picker(policy: str, *models: ModelInfo, load: dict[str, int] | None = None, **more: Any) -> Picker:
    candidates = tuple(Candidate(name=one.name, model=one.name, then=To(node=one.name)) for one in models)
    pick = Pick(candidates=candidates, policy=policy, **more)
    made = compile_pick(pick, {one.name: one for one in models}, load=load)
    assert made is not None
    return made


def said(pick: Picker, asked: Asked | None = None, **record: Any) -> tuple[str | None, str | None, str]:
    found = pick(Asked() if asked is None else asked, **record)
    return found.candidate.name if found.candidate else None, found.outcome, found.reason


A, B, C = (
    model("a", cost=3.0, quality=0.9, latency_ms=5.0),
    model("b", cost=1.0, quality=0.5, latency_ms=9.0),
    model("c", cost=2.0, quality=0.9, latency_ms=1.0),
)
CHEAP = "not a costs 3, over max_cost, c costs 2, over max_cost; b is the only candidate left"
"""Why ``b`` gets what may cost less than 2."""


@pytest.mark.parametrize(
    ("policy", "chosen", "why"),
    [
        ("declared", "a", ""),
        ("quality", "a", "quality: a scores 0.9, best of 3"),
        ("cost", "b", "cost: b scores -1, best of 3"),
        ("latency", "c", "latency: c scores -1, best of 3"),
        ("least-loaded", "a", "a is least loaded"),
        ("round-robin", "a", "round-robin: a"),
    ],
)
def test_each_policy_says_why(policy: str, chosen: str, why: str) -> None:
    pick = picker(policy, A, B, C)
    assert said(pick) == (chosen, None, why)
    assert said(pick) == (chosen, None, why)


def test_balanced_weighs_cost_quality_and_latency() -> None:
    assert said(picker("balanced", A, B, C)) == ("c", None, "balanced: c scores 0.8333, best of 3")


@pytest.mark.parametrize("gaps", [False, True])
def test_balanced_takes_the_best_score_of_many(gaps: bool) -> None:
    chance = random.Random(7)
    for _ in range(60):
        models = [
            model(
                f"m{place}",
                cost=chance.uniform(0, 50),
                latency_ms=None if gaps and chance.random() < 0.2 else chance.uniform(1, 900),
                quality=None if gaps and chance.random() < 0.2 else chance.uniform(0.2, 0.9),
            )
            for place in range(20)
        ]
        weights = {name: chance.uniform(0.1, 5) for name in ("cost", "latency", "quality")}
        exact = scores(models, "balanced", weights)
        best = max(range(len(models)), key=lambda place: exact[place])

        assert said(picker("balanced", *models, weights=weights)) == (
            f"m{best}",
            None,
            f"balanced: m{best} scores {exact[best]:.4g}, best of 20",
        )


def test_balanced_scores_what_nobody_declares_as_worst() -> None:
    same = [model(name, cost=1.0) for name in "ab"]
    assert said(picker("balanced", *same)) == ("a", None, "balanced: a scores 0.3333, best of 2")


def test_the_first_of_equals_is_taken() -> None:
    models = [model("dear", cost=9.0, quality=0.5, latency_ms=1.0)]
    models += [model(name, cost=1.0, quality=0.5, latency_ms=1.0) for name in ("first", "second")]
    assert said(picker("balanced", *models))[0] == "first"


def test_a_weight_of_the_last_alone_is_enough() -> None:
    last = picker("weighted", A, B, C, weights={"a": 0.0, "b": 0.0, "c": 0.1})
    assert said(last, record_id="any") == ("c", None, "weighted: c")


def test_nobody_has_a_weight() -> None:
    none_left = picker("weighted", A, B, C, weights={"a": 1.0, "b": 0.0, "c": 0.0})
    assert said(none_left, Asked(max_cost=2.5)) == (
        "b",
        None,
        "not a costs 3, over max_cost; no candidate left has a weight",
    )


def test_who_is_left_alone_needs_no_policy() -> None:
    assert said(picker("cost", A, B, C), Asked(max_cost=1.0)) == ("b", None, CHEAP)


def test_round_robin_goes_by_the_position_among_the_able() -> None:
    pick = picker("round-robin", A, B, C)
    assert [said(pick, position=place)[0] for place in range(5)] == ["a", "b", "c", "a", "b"]
    assert [said(pick, Asked(max_cost=2.0), position=place)[0] for place in range(3)] == ["b", "c", "b"]


def test_weighted_draws_by_record_and_seed() -> None:
    pick = picker("weighted", A, B, C, weights={"a": 1.0, "c": 2.0}, seed=7)
    drawn = [said(pick, record_id=f"r{number}") for number in range(16)]
    assert "".join(str(name) for name, *_ in drawn) == "ccaacccccccaccac"
    assert drawn[0] == ("c", None, "weighted: c")
    assert said(pick, Asked(max_cost=1.5)) == ("b", None, CHEAP)
    nobody = picker("weighted", A, B, weights={"c": 1.0})
    assert said(nobody, record_id="r0") == ("a", None, "no candidate left has a weight")


def test_least_loaded_reads_the_load_at_each_call() -> None:
    load = {"a": 2, "b": 1, "c": 1}
    pick = picker("least-loaded", A, B, C, load=load)
    assert said(pick) == ("b", None, "b is least loaded")
    load.update(a=0, c=-1)
    assert said(pick)[0] == "a"
    load.update(a=3, b=3, c=3)
    assert said(pick)[0] == "a"
    load["c"] = 2
    assert said(pick)[0] == "c"
    assert said(picker("least-loaded", A, B, C, load={"a": 1}))[0] == "b"


def test_nobody_is_named_with_the_reasons() -> None:
    ill = [model(name, healthy=False, why_unhealthy="no GPU") for name in ("a", "b")]
    why = "not a is unhealthy (no GPU), b is unhealthy (no GPU)"
    assert said(picker("cost", *ill)) == (None, "all_unhealthy", why)
    assert said(picker("cost", A, ill[1]), Asked(max_cost=0.5))[:2] == (None, "no_candidate")
    why = "not a under min_quality, b under min_quality"
    assert said(picker("cost", A, B), Asked(min_quality=0.95)) == (None, "no_candidate", why)


def test_nan_limits_nobody_but_who_declares_nothing() -> None:
    nan = float("nan")
    silent = model("s")
    pick = picker("declared", silent, A)
    assert said(pick, Asked(max_cost=nan))[0] == "s"
    assert said(pick, Asked(max_latency_ms=nan))[0] == "a"
    assert said(pick, Asked(min_quality=nan))[0] == "a"


def test_limits_are_met_where_they_are_reached() -> None:
    pick = picker("declared", B, A)
    assert said(pick, Asked(max_cost=1.0))[0] == "b"
    assert said(pick, Asked(max_latency_ms=5.0))[0] == "a"
    assert said(pick, Asked(min_quality=0.9))[0] == "a"


def test_the_task_counts_where_it_is_asked_by() -> None:
    other = model("o", task="u")
    assert said(picker("declared", other, A, by_task=True), Asked(task="t"))[0] == "a"
    assert said(picker("declared", other, A), Asked(task="t"))[0] == "o"
    nobody = picker("declared", other, by_task=True)(Asked(task="t"))
    assert (nobody.outcome, nobody.reason) == ("no_candidate", "not o does u")


def test_more_languages_than_are_remembered_change_no_answer() -> None:
    german = model("g", capabilities={"languages": ["de"]})
    pick = picker("declared", german, A)
    for number in range(REMEMBERED + 2):
        assert (
            said(pick, Asked(language=f"x{number}"))[0] == said(picker("declared", german, A), Asked(language="x"))[0]
        )
    assert said(pick, Asked(language="de"))[0] == "g"


def test_what_the_pick_requires_holds_for_every_record() -> None:
    pick = picker("declared", B, A, require=Requirements(min_quality=0.8))
    assert said(pick) == ("a", None, "not b under min_quality")
