"""Decisions inside decisions: where a row goes that an inner pattern cannot take."""

from __future__ import annotations

from test_decide import NO_ROUTE, A, C, decide, pick, shard

from airflow_agentic.routing.decision import All, Candidate, Case, Pick, Reject, Rules, Sample
from airflow_agentic.spec.pattern import Requirements


def test_what_a_nested_pattern_cannot_take_goes_to_the_next_candidate() -> None:
    nested = Candidate(name="single(a, b)", then=pick("a", "b", policy="cost"))
    choice = Pick(candidates=(nested, Candidate(name="c", model="c", then=C)))
    found = decide(choice, shard({"min_quality": 0.85}, {"min_quality": 0.7}))
    assert found == [
        (0, "main.c", None, "not a under min_quality, b under min_quality"),
        (1, "main.b", None, "not a under min_quality; b is the only candidate left"),
    ]
    assert decide(choice, shard({"min_quality": 0.95})) == [
        # c cannot either, which is known before anybody is tried
        (0, "no_candidate", None, "not c under min_quality; not a under min_quality, b under min_quality")
    ]


def test_what_no_nested_pattern_takes_has_the_last_one_s_outcome() -> None:
    choice = Pick(
        candidates=(
            Candidate(name="single(a, b)", then=pick("a", "b", require=Requirements(max_cost=0.0))),
            Candidate(name="rules", then=Rules(cases=(), default=Reject(outcome="no_route", reason="none"))),
        )
    )
    why = "not a costs 0.001, over max_cost, b costs 0.004, over max_cost"
    assert decide(choice, shard(count=1)) == [(0, "no_route", None, f"{why}; none")]


def test_an_ensemble_with_one_able_member_takes_the_row() -> None:
    ensemble = All(children=(pick("a", require=Requirements(min_quality=0.7)), pick("b")))
    choice = Pick(candidates=(Candidate(name="ensemble(a, b)", then=ensemble), Candidate(name="c", model="c", then=C)))
    assert [one[:2] for one in decide(choice, shard(count=1))] == [(0, "no_candidate"), (0, "main.b")]
    none = All(
        children=(pick("a", require=Requirements(min_quality=0.9)), pick("b", require=Requirements(min_quality=0.9)))
    )
    choice = Pick(candidates=(Candidate(name="ensemble(a, b)", then=none), Candidate(name="c", model="c", then=C)))
    assert [one[:2] for one in decide(choice, shard(count=1))] == [(0, "main.c")]


def test_a_failed_condition_in_a_nested_pattern_does_not_go_on() -> None:
    nested = Rules(cases=(Case(name="inner", when="record.size > 1", then=A),), default=NO_ROUTE)
    choice = Pick(candidates=(Candidate(name="rules", then=nested), Candidate(name="c", model="c", then=C)))
    assert [one[:2] for one in decide(choice, shard({"size": None}, {"size": 0}, {"size": 2}))] == [
        (0, "condition_failed"),
        (1, "main.c"),
        (2, "main.a"),
    ]


def nested(*names: str, **options: object) -> Candidate:
    return Candidate(name=f"single({', '.join(names)})", then=pick(*names, **options))


ONLY_C = Candidate(name="c", model="c", then=C)


def test_patterns_in_turn() -> None:
    choice = Pick(candidates=(nested("a"), nested("b"), ONLY_C), policy="round-robin")
    assert decide(choice, shard(count=4), rule="rule") == [
        (0, "main.a", "rule", "round-robin: single(a)"),
        (1, "main.b", "rule", "round-robin: single(b)"),
        (2, "main.c", "rule", "round-robin: c"),
        (3, "main.a", "rule", "round-robin: single(a)"),
    ]


def test_a_pattern_is_the_only_one_left() -> None:
    choice = Pick(candidates=(nested("a"), ONLY_C), policy="round-robin", require=Requirements(max_cost=0.005))
    why = "not c costs 0.009, over max_cost; single(a) is the only candidate left"
    assert decide(choice, shard(count=1)) == [(0, "main.a", None, why)]


def test_patterns_by_weight() -> None:
    weights = {"single(a)": 1.0, "c": 1.0}
    choice = Pick(candidates=(nested("a"), nested("b"), ONLY_C), policy="weighted", weights=weights, seed=1)
    found = decide(choice, shard(count=20))
    assert {one[1:] for one in found} == {
        ("main.a", None, "weighted: single(a)"),
        ("main.c", None, "weighted: c"),
    }
    nobody = Pick(candidates=(nested("b"), ONLY_C), policy="weighted", weights={"single(a)": 1.0})
    assert decide(nobody, shard(count=1)) == [(0, "main.b", None, "no candidate left has a weight")]


def test_patterns_are_busy_with_nothing() -> None:
    choice = Pick(candidates=(ONLY_C, nested("a")), policy="least-loaded")
    assert decide(choice, shard(count=1)) == [(0, "main.c", None, "c is least loaded")]
    assert decide(choice, shard(count=1), load={"c": 1}) == [(0, "main.a", None, "single(a) is least loaded")]


def test_who_is_asked_now_and_the_task_a_pattern_is_chosen_by() -> None:
    choice = Pick(candidates=(nested("a"), ONLY_C), by_task=True)
    assert decide(choice, shard({"task": "other"}, {}), again=True) == [
        (0, "main.a", None, "not c does text-analysis; asked single(a)"),
        (1, "main.a", None, "asked single(a)"),
    ]
    assert decide(Pick(candidates=(nested("a"), ONLY_C)), shard({"task": "other"})) == [(0, "main.a", None, "")]


def test_what_a_pattern_takes_stands_beside_what_was_decided_before() -> None:
    both = All(children=(C, Pick(candidates=(nested("a"), ONLY_C))))
    assert [one[:2] for one in decide(both, shard(count=1))] == [(0, "main.c"), (0, "main.a")]


def test_a_pattern_that_leaves_the_row_out_keeps_it() -> None:
    sampled = Candidate(name="sampled", then=Sample(fraction=0.0, then=A))
    assert decide(Pick(candidates=(sampled, ONLY_C)), shard(count=1)) == []
