"""Which infer nodes a decision can reach."""

from __future__ import annotations

import pytest

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
    least_loaded,
    targets,
)

A, B, C = To(node="r.a"), To(node="r.b"), To(node="r.c")
NOBODY = Reject(outcome="no_route", reason="none")


@pytest.mark.parametrize(
    ("decision", "reached"),
    [
        (A, ("r.a",)),
        (NOBODY, ()),
        (Rules(cases=(Case(name="1", then=B), Case(name="2", then=A)), default=C), ("r.b", "r.a", "r.c")),
        (Pick(candidates=(Candidate(name="c", then=C), Candidate(name="a", model="a", then=A))), ("r.c", "r.a")),
        (Split(arms=(Share(name="b", weight=1, then=B), Share(name="a", weight=1, then=A)), key="k"), ("r.b", "r.a")),
        (Sample(fraction=0.5, then=All(children=(B, NOBODY, A, B))), ("r.b", "r.a")),
        (All(children=(Rules(cases=(), default=A), Rules(cases=(), default=A), C)), ("r.a", "r.c")),
    ],
)
def test_targets_are_in_order_each_once(decision: Decision, reached: tuple[str, ...]) -> None:
    assert targets(decision) == reached


@pytest.mark.parametrize("policy", ["least-loaded", "cost"])
def test_who_is_least_loaded_is_asked_for_wherever_it_stands(policy: str) -> None:
    pick = Pick(candidates=(Candidate(name="a", model="a", then=A),), policy=policy)
    outside = Pick(candidates=(Candidate(name="p", then=pick),))
    for decision in (pick, outside, Rules(cases=(), default=pick), Sample(fraction=0.5, then=All(children=(B, pick)))):
        assert least_loaded(decision) == (policy == "least-loaded")
    assert not least_loaded(A)
