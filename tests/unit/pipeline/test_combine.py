"""Which prediction becomes a row's answer, for every combination that chooses one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from one_record import check_combination
from predicting import ensemble, failed, leaf, scored, selection, shard

from airflow_agentic.pipeline.combination import Chained, Coalesce, Combination, FirstAccepted, Primary, gates, leaves
from airflow_agentic.pipeline.combine import Combiner
from airflow_agentic.pipeline.outcomes import refusal, refusals
from airflow_agentic.pipeline.pool import Pool, ShardPredictions
from airflow_agentic.pipeline.texts import coded, codes_of, joined, spread


def chosen(combination: Combination, predictions: ShardPredictions) -> list[Any]:
    """Each row as MODEL:LABEL or MODEL:ERROR, ``~`` before it where degraded; ``None`` where nobody was asked."""
    check_combination(combination, predictions)
    combiner = Combiner(predictions)
    slot = combiner.slot(combination)
    found: list[Any] = []
    for place, one in enumerate(combiner.pool.take(slot.index).to_pylist()):
        said = f"{one['model']}:{one['error']['code'] if one['error'] else one['label'] or one['value']}"
        found.append(f"~{said}" if slot.degraded[place] else said if slot.present[place] else None)
    return found


def used(combination: Combination, predictions: ShardPredictions) -> dict[str, list[int]]:
    slot = Combiner(predictions).slot(combination)
    return {node: np.flatnonzero(mask).tolist() for node, mask in slot.used.items()}


CASCADE = FirstAccepted(stages=(leaf("a"), leaf("b"), leaf("c")), gates=("gate-a", "gate-b"))


def test_a_leaf_is_what_its_model_said() -> None:
    one = shard({"a": ["cat", None, failed()]})
    assert chosen(leaf("a"), one) == ["a:cat", None, "a:model_error"]
    assert used(leaf("a"), one) == {"main.a": [0, 2]}


def test_a_lost_unit_is_unavailable_where_it_was_asked() -> None:
    one = shard({"a": ["cat", None]}, lost=["a"])
    combiner = Combiner(one)
    made = combiner.pool.take(combiner.slot(leaf("a")).index, ["row", "record_id", "model"]).to_pylist()
    assert made[0] == {"row": 0, "record_id": "r0", "model": "a"}
    assert chosen(leaf("a"), one) == ["a:model_unavailable", None]
    combiner = Combiner(one)
    error = combiner.pool.take(combiner.slot(leaf("a")).index, ["error"]).to_pylist()[0]["error"]
    assert error == {"code": "model_unavailable", "message": "'a' did not answer: its unit failed", "retryable": True}


def test_a_score_of_nothing_is_worse_than_none() -> None:
    """Of answers that no stage accepted the one without a score, or with NaN, is as good as -1."""
    for score in (None, float("nan")):
        unscored = {"label": "cat", "score": score}
        for other, expected in ((-0.5, "~b:dog"), (-1.5, "~a:cat"), (-2.5, "~a:cat"), (0.5, "~b:dog")):
            said = {"a": [unscored], "b": [{"label": "dog", "score": other}], "c": [failed()]}
            assert chosen(CASCADE, shard(said, accepted={"gate-a": [], "gate-b": []})) == [expected]


def test_a_chain_whose_next_step_nobody_was_sent_to() -> None:
    chain = Chained(last=leaf("b"), earlier=leaf("a"))
    assert chosen(chain, shard({"a": ["cat"], "b": [None]})) == ["None:no_candidate"]


def test_of_a_choice_the_member_that_was_asked() -> None:
    either = Coalesce(members=(leaf("a"), leaf("b")))
    assert chosen(either, shard({"a": ["cat", None, None], "b": [None, "dog", None]})) == ["a:cat", "b:dog", None]


def test_a_cascade_stops_where_its_gate_accepts() -> None:
    said = {"a": ["cat", "cat", "cat"], "b": [None, "dog", "dog"], "c": [None, None, "owl"]}
    one = shard(said, accepted={"gate-a": [0], "gate-b": [1]})
    assert chosen(CASCADE, one) == ["a:cat", "b:dog", "c:owl"]
    assert used(CASCADE, one) == {"main.a": [0], "main.b": [1], "main.c": [2]}


def test_a_cascade_whose_last_stage_errs_gives_the_best_earlier_answer_degraded() -> None:
    said = {
        "a": [scored(cat=0.6), scored(cat=0.4), failed(), failed("bad_output")],
        "b": [scored(dog=0.5), scored(dog=0.5), scored(dog=0.5), failed("no_input")],
        "c": [failed(), failed(), failed(), failed()],
    }
    one = shard(said, accepted={"gate-a": [], "gate-b": []})
    assert chosen(CASCADE, one) == ["~a:cat", "~b:dog", "~b:dog", "c:model_error"]
    assert used(CASCADE, one) == {"main.a": [0], "main.b": [1, 2], "main.c": [3]}


def test_a_cascade_that_nobody_could_go_on_with_is_degraded_too() -> None:
    one = shard({"a": [scored(cat=0.6)], "b": [None], "c": [None]}, accepted={"gate-a": [], "gate-b": []})
    assert chosen(CASCADE, one) == ["~a:cat"]


def test_an_answer_with_a_score_is_better_than_one_without() -> None:
    one = shard({"a": ["cat"], "b": [scored(dog=0.1)], "c": [failed()]}, accepted={"gate-a": [], "gate-b": []})
    assert chosen(CASCADE, one) == ["~b:dog"]


def test_a_cascade_that_starts_later() -> None:
    one = shard({"a": [None], "b": ["dog"], "c": [None]}, accepted={"gate-a": [], "gate-b": [0]})
    assert chosen(CASCADE, one) == ["b:dog"]


def test_a_chain_is_its_last_step_or_the_error_before() -> None:
    chain = Chained(last=leaf("b"), earlier=leaf("a"))
    one = shard({"a": ["cat", failed(), None, "cat"], "b": ["dog", None, None, failed()]})
    assert chosen(chain, one) == ["b:dog", "a:model_error", None, "b:model_error"]
    assert used(chain, one) == {"main.a": [1], "main.b": [0, 3]}


def test_a_chain_whose_next_step_nobody_can_take_is_an_error_and_never_the_step_before() -> None:
    chain = Chained(last=leaf("b"), earlier=leaf("a"))
    gate = selection(
        (0, None, "all_unhealthy", "routes[0].use", "not b is unhealthy"), (1, None, "accepted", None, None)
    )
    one = shard({"a": ["cat", "cat"], "b": [None, None]}, selections=[gate])
    combiner = Combiner(one)
    slot = combiner.slot(chain)
    errors = combiner.pool.take(slot.index, ["error"]).column("error").to_pylist()
    assert [(error["code"], error["message"]) for error in errors] == [
        ("all_unhealthy", "every candidate is unhealthy: not b is unhealthy"),
        ("no_candidate", "no candidate satisfies what the record asks"),
    ]
    assert used(chain, one) == {"main.a": [], "main.b": []}


def test_a_shadow_is_never_used() -> None:
    shadow = Primary(primary=leaf("a"), shadows=(leaf("b"),))
    one = shard({"a": ["cat", failed()], "b": ["dog", "dog"]})
    assert chosen(shadow, one) == ["a:cat", "a:model_error"]
    assert used(shadow, one) == {"main.a": [0, 1]}


def test_a_cascade_in_an_ensemble_brings_its_degraded_flag_and_what_it_used() -> None:
    both = ensemble("majority-vote", "x", "y").model_copy(update={"members": (CASCADE, leaf("d"))})
    said = {"a": ["cat"], "b": [failed()], "c": [failed()], "d": ["cat"]}
    one = shard(said, accepted={"gate-a": [], "gate-b": []})
    assert chosen(both, one) == ["~ensemble(x, y):cat"]
    assert used(both, one) == {"main.a": [0], "main.b": [], "main.c": [], "main.d": [0]}


@pytest.mark.parametrize("count", [1, 3])
def test_an_empty_pool(count: int) -> None:
    pool, nowhere = Pool(), np.full(count, -1)
    assert pool.take(nowhere, ["label", "error"]).to_pylist() == [{"label": None, "error": None}] * count
    assert pool.valid(nowhere).tolist() == [False] * count
    assert np.isnan(pool.numbers("score", nowhere)).all()
    assert [codes.tolist() for codes in pool.label_codes(nowhere)[:1]] == [[-1] * count]


def test_a_pool_that_grows() -> None:
    combiner = Combiner(shard({"a": ["cat", None], "b": [None, "dog"]}))
    first = combiner.slot(leaf("a"))
    assert combiner.pool.label_codes(first.index)[0].tolist() == [0, -1]
    second = combiner.slot(leaf("b"))
    codes, labels = combiner.pool.label_codes(second.index)
    assert [labels[code] if code >= 0 else None for code in codes] == [None, "dog"]
    assert combiner.pool.valid(second.index).tolist() == [False, True]
    assert combiner.slot(leaf("a")) is first


PAIR = FirstAccepted(stages=(leaf("a"), leaf("b")), gates=("gate-a",))
OTHER = FirstAccepted(stages=(leaf("c"), leaf("d")), gates=("gate-c",))


@pytest.mark.parametrize(
    ("combination", "models", "read"),
    [
        (leaf("a"), "a", ()),
        (PAIR, "ab", ("gate-a",)),
        (FirstAccepted(stages=(PAIR, OTHER), gates=("gate",)), "abcd", ("gate", "gate-a", "gate-c")),
        (Coalesce(members=(OTHER, PAIR)), "cdab", ("gate-c", "gate-a")),
        (Chained(last=PAIR, earlier=OTHER), "cdab", ("gate-c", "gate-a")),
        (Primary(primary=PAIR, shadows=(OTHER,)), "abcd", ("gate-a",)),
        (ensemble("mean", "x").model_copy(update={"members": (PAIR, OTHER)}), "abcd", ("gate-a", "gate-c")),
    ],
)
def test_what_is_read_is_named_in_order(combination: Combination, models: str, read: tuple[str, ...]) -> None:
    assert "".join(one.model for one in leaves(combination)) == models
    assert gates(combination) == read


def test_an_answered_row_of_a_chain_stays_beside_a_stranded_one() -> None:
    chain = Chained(last=leaf("b"), earlier=leaf("a"))
    gate = selection((1, None, "no_candidate", None, "why"))
    one = shard({"a": ["cat", "cat", None], "b": ["dog", None, None]}, selections=[gate])
    assert chosen(chain, one) == ["b:dog", "None:no_candidate", None]


def test_a_degraded_choice_stays_degraded() -> None:
    said = {"a": ["cat", None], "b": [failed(), None], "c": [failed(), None], "d": [None, "dog"]}
    one = shard(said, accepted={"gate-a": [], "gate-b": []})
    assert chosen(Coalesce(members=(leaf("d"), CASCADE)), one) == ["~a:cat", "d:dog"]


def test_of_equally_sure_earlier_answers_the_first_stands_and_any_score_beats_none() -> None:
    said = {
        "a": [scored(cat=0.5), "cat"],
        "b": [scored(dog=0.5), {"label": "dog", "score": 0.0}],
        "c": [failed(), failed()],
    }
    one = shard(said, accepted={"gate-a": [], "gate-b": []})
    assert chosen(CASCADE, one) == ["~a:cat", "~b:dog"]


def test_a_prediction_without_a_label_has_no_code() -> None:
    combiner = Combiner(shard({"a": ["cat", failed(), None]}))
    slot = combiner.slot(leaf("a"))
    assert combiner.pool.label_codes(slot.index)[0].tolist() == [0, -1, -1]


def test_a_refusal_without_a_reason_borrows_none() -> None:
    said = selection((0, None, "all_unhealthy", None, "a is ill"), (1, None, "no_candidate", None, None))
    errors = refusals([said], 3, otherwise="no_route").to_pylist()
    assert [error["message"] for error in errors] == [
        "every candidate is unhealthy: a is ill",
        "no candidate satisfies what the record asks",
        "no route takes this record",
    ]
    assert refusal("something_new", "why")["message"] == "something_new: why"


def test_texts_are_joined_where_there_are_any() -> None:
    first, second = coded(np.array([0, -1, 1, -1]), ["a", ""]), coded(np.array([0, 1, 1, -1]), ["b", ""])
    assert joined(first, second).to_pylist() == ["a; b", None, None, None]
    assert spread(pa.chunked_array([["x"], ["y"]]), np.array([2, 0]), 4).to_pylist() == ["y", None, "x", None]
    assert spread(pa.chunked_array([], pa.string()), np.empty(0, np.int64), 2).to_pylist() == [None, None]
    codes, texts = codes_of(pa.array(["x", None]))
    assert (codes.tolist(), texts) == ([0, -1], ["x"])
