"""Aggregation: members' predictions to one, for every method."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest
from one_record import check_combination
from predicting import ensemble, failed, leaf, scored, shard

from airflow_agentic.exceptions import HandlerNotAllowedError, ModelError
from airflow_agentic.pipeline.combination import Ensemble, FirstAccepted
from airflow_agentic.pipeline.combine import Combiner
from airflow_agentic.pipeline.pool import ShardPredictions

ALLOWED = ["test_ensemble"]


def combined(node: Ensemble, predictions: ShardPredictions) -> list[dict[str, Any]]:
    check_combination(node, predictions, ALLOWED)
    combiner = Combiner(predictions, allowed_handlers=ALLOWED)
    slot = combiner.slot(node)
    rows = combiner.pool.take(slot.index).to_pylist()
    for place, row in enumerate(rows):
        row["degraded"] = bool(slot.degraded[place])
        row["used"] = [node for node, mask in slot.used.items() if mask[place]]
    return rows


def one(node: Ensemble, **said: Any) -> dict[str, Any]:
    return combined(node, shard({name: [value] for name, value in said.items()}))[0]


def labels(node: Ensemble, **said: Any) -> tuple[str | None, float | None]:
    found = one(node, **said)
    return found["label"], found["score"]


VOTE = ensemble("majority-vote", "a", "b", "c")


def test_the_majority_wins_and_its_share_is_the_score() -> None:
    found = one(VOTE, a="cat", b="dog", c="cat")
    assert (found["label"], found["score"], found["score_kind"]) == ("cat", pytest.approx(2 / 3), "other")
    assert (found["model"], found["model_version"], found["reason"]) == ("ensemble(a, b, c)", None, "2 of 3 agree")
    assert found["used"] == ["main.a", "main.b", "main.c"]


def test_a_tie_goes_to_the_higher_scores_then_to_the_first_member() -> None:
    assert labels(VOTE, a=scored(cat=0.6), b=scored(dog=0.7), c=scored(owl=0.65)) == ("dog", pytest.approx(1 / 3))
    assert labels(VOTE, a=scored(cat=0.6), b=scored(dog=0.6), c=scored(owl=0.6)) == ("cat", pytest.approx(1 / 3))
    assert labels(VOTE, a="owl", b="cat", c="dog") == ("owl", pytest.approx(1 / 3))
    four = ensemble("majority-vote", "a", "b", "c", "d")
    tied = {"a": scored(cat=0.1), "b": scored(dog=0.2), "c": scored(dog=0.1), "d": scored(cat=0.2)}
    assert labels(four, **tied) == ("cat", 0.5)


def test_only_valid_answers_vote() -> None:
    found = one(VOTE, a=failed(), b="dog", c=None)
    assert (found["label"], found["score"], found["model"]) == ("dog", 1.0, "ensemble(b)")
    assert (found["reason"], found["used"]) == ("1 of 3 agree", ["main.b"])


def test_nobody_was_asked() -> None:
    found = combined(VOTE, shard({"a": [None, "cat"], "b": [None, None], "c": [None, None]}))
    assert (found[0]["label"], found[0]["error"], found[0]["model"]) == (None, None, None)
    assert found[1]["label"] == "cat"


def test_the_quorum_counts_valid_answers_and_the_error_says_who_failed() -> None:
    vote = VOTE.model_copy(update={"quorum": 2})
    predictions = shard({"a": ["cat", "cat"], "b": [failed(), "cat"], "c": [None, failed("bad_output")]})
    first, second = combined(vote, predictions)
    assert first["error"] == {
        "code": "quorum_not_met",
        "message": "1 of 3 members answered, 2 needed (b: model_error)",
        "retryable": False,
    }
    assert (first["label"], first["used"], first["reason"]) == (None, [], "1 of 3 answered")
    assert (second["label"], second["error"]) == ("cat", None)


def test_all_failed() -> None:
    found = one(VOTE, a=failed("x"), b=failed("y"), c=failed("z"))
    assert found["error"]["message"] == "0 of 3 members answered, 1 needed (a: x; b: y; c: z)"
    assert found["model"] == "ensemble()"


def test_a_weighted_vote() -> None:
    vote = ensemble("weighted-vote", "a", "b", "c", weights=[1.0, 1.0, 3.0])
    found = one(vote, a="cat", b="cat", c="dog")
    assert (found["label"], found["score"], found["reason"]) == ("dog", pytest.approx(0.6), "1 of 3 agree")
    assert labels(vote, a="cat", b="cat", c=failed()) == ("cat", 1.0)


def test_where_only_members_without_a_weight_answer_they_count_alike() -> None:
    vote = ensemble("weighted-vote", "a", "b", "c", weights=[0.0, 0.0, 3.0])
    assert labels(vote, a="cat", b="cat", c=failed()) == ("cat", 1.0)
    assert labels(vote, a="cat", b="cat", c="dog") == ("dog", 1.0)
    mean = ensemble("weighted-mean", "a", "b", weights=[0.0, 1.0])
    assert one(mean, a=4.0, b=failed())["value"] == 4.0
    assert one(mean, a=4.0, b=2.0)["value"] == 2.0


def test_weights_do_not_count_in_a_majority_vote() -> None:
    vote = ensemble("majority-vote", "a", "b", "c", weights=[1.0, 1.0, 3.0])
    assert labels(vote, a="cat", b="cat", c="dog")[0] == "cat"


def test_the_best_score_is_one_member_s_own_prediction() -> None:
    best = ensemble("best-score", "a", "b", "c")
    found = one(best, a=scored(cat=0.6), b=scored(dog=0.9, cat=0.1), c=failed())
    assert (found["model"], found["model_version"], found["label"], found["score"]) == ("b", "1", "dog", 0.9)
    assert found["used"] == ["main.b"]
    assert labels(best, a=scored(cat=0.6), b=scored(dog=0.6), c="owl") == ("cat", 0.6)
    assert labels(best, a=failed(), b="dog", c=None) == ("dog", None)


def test_the_mean_of_class_scores() -> None:
    mean = ensemble("mean", "a", "b")
    found = one(mean, a=scored(cat=0.6, dog=0.4), b=scored(dog=0.9, owl=0.1))
    assert (found["label"], found["score"], found["score_kind"]) == ("dog", pytest.approx(0.65), "probability")
    assert [(entry["label"], entry["p"]) for entry in found["scores"]] == [
        ("dog", pytest.approx(0.65)),
        ("cat", pytest.approx(0.3)),
        ("owl", pytest.approx(0.05)),
    ]
    assert found["reason"] == "2 of 2 answered"


def test_equal_means_are_in_alphabetical_order() -> None:
    found = one(ensemble("mean", "a", "b"), a=scored(dog=0.5, cat=0.5), b=scored(dog=0.5, cat=0.5))
    assert [entry["label"] for entry in found["scores"]] == ["cat", "dog"]


def test_a_label_without_class_scores_counts_with_its_score() -> None:
    lone = {"label": "owl", "score": 0.8}
    assert labels(ensemble("mean", "a", "b"), a=scored(cat=0.6), b=lone) == ("owl", pytest.approx(0.4))
    assert labels(ensemble("mean", "a", "b"), a="cat", b="dog") == ("cat", 0.0)


def test_a_weighted_mean_is_over_those_who_answered() -> None:
    mean = ensemble("weighted-mean", "a", "b", "c", weights=[1.0, 3.0, 4.0])
    assert labels(mean, a=scored(cat=1.0), b=scored(dog=0.8, cat=0.2), c=failed()) == ("dog", pytest.approx(0.6))


def test_means_of_many_rows_do_not_mix() -> None:
    said = {"a": [scored(cat=0.9), None, scored(dog=0.5)], "b": [scored(cat=0.7), failed(), scored(cat=0.8)]}
    found = combined(ensemble("mean", "a", "b"), shard(said))
    assert [row["label"] for row in found] == ["cat", None, "cat"]
    assert [len(row["scores"] or []) for row in found] == [1, 0, 2]


def test_numbers() -> None:
    said = {"a": 1.0, "b": 2.0, "c": 9.0}
    assert one(ensemble("mean", "a", "b", "c"), **said)["value"] == 4.0
    assert one(ensemble("weighted-mean", "a", "b", "c", weights=[1, 1, 2]), **said)["value"] == 5.25
    median = one(ensemble("median", "a", "b", "c"), **said)
    assert (median["value"], median["label"], median["score"], median["score_kind"]) == (2.0, None, None, None)
    assert one(ensemble("median", "a", "b", "c"), a=1.0, b=failed(), c=9.0)["value"] == 5.0


def test_a_merge_keeps_every_member_s_answer() -> None:
    said = {"a": scored(cat=0.9), "b": 2.5, "c": {"output": '{"name": "Ada"}'}}
    found = one(ensemble("merge", "a", "b", "c"), **said)
    assert found["model"] == "merge(a, b, c)"
    assert json.loads(found["output"]) == {
        "a": {"label": "cat", "score": 0.9},
        "b": {"value": 2.5},
        "c": {"output": {"name": "Ada"}},
    }
    assert not found["degraded"]
    assert found["score_kind"] is None


def test_a_merge_without_a_member_that_was_asked_is_degraded() -> None:
    merge = ensemble("merge", "a", "b")
    lacking = one(merge, a="cat", b=failed())
    assert (json.loads(lacking["output"]), lacking["degraded"]) == ({"a": {"label": "cat"}}, True)
    alone = one(merge, a="cat", b=None)
    assert (json.loads(alone["output"]), alone["degraded"]) == ({"a": {"label": "cat"}}, False)
    assert one(merge.model_copy(update={"quorum": 2}), a="cat", b=failed())["error"]["code"] == "quorum_not_met"


def shout(members: Mapping[str, pa.Table]) -> pa.Table:
    said = [[label or "-" for label in table.column("label").to_pylist()] for table in members.values()]
    return pa.table({"label": ["+".join(row).upper() for row in zip(*said, strict=True)], "score": [1] * len(said[0])})


def wrong_length(members: Mapping[str, pa.Table]) -> pa.Table:
    return shout(members).slice(1)


def no_table(members: Mapping[str, pa.Table]) -> Any:
    return list(members)


def test_a_handler_sees_the_members_side_by_side() -> None:
    node = ensemble("handler", "a", "b", handler="test_ensemble:shout")
    said = {"a": ["cat", None, "cat", failed()], "b": ["dog", None, failed(), failed()]}
    found = combined(node, shard(said))
    assert [row["label"] for row in found] == ["CAT+DOG", None, "CAT+-", None]
    assert [row["model"] for row in found] == ["ensemble(a, b)", None, "ensemble(a)", "ensemble()"]
    assert found[0]["score"] == 1.0
    assert found[3]["error"]["code"] == "quorum_not_met"


@pytest.mark.parametrize(("name", "shape"), [("wrong_length", "0 rows"), ("no_table", "list")])
def test_a_handler_that_breaks_its_contract(name: str, shape: str) -> None:
    with pytest.raises(ModelError) as caught:
        one(ensemble("handler", "a", "b", handler=f"test_ensemble:{name}"), a="cat", b="dog")
    assert str(caught.value) == (
        f"the handler 'test_ensemble:{name}' returned {shape}; an aggregation returns a RESULT table of 1 rows"
    )


def test_a_handler_that_is_not_allowed() -> None:
    with pytest.raises(HandlerNotAllowedError):
        Combiner(shard({"a": ["cat"]})).slot(ensemble("handler", "a", handler="test_ensemble:shout"))


@pytest.mark.parametrize("method", ["majority-vote", "mean", "merge", "best-score"])
def test_many_members(method: str) -> None:
    """More than the bits of an integer."""
    names = [f"m{number}" for number in range(70)]
    said = {name: [failed() if number % 3 == 0 else scored(cat=0.5)] for number, name in enumerate(names)}
    found = combined(ensemble(method, *names), shard(said))[0]
    assert found["error"] is None
    if method in {"majority-vote", "mean"}:
        assert found["model"] == f"ensemble({', '.join(name for number, name in enumerate(names) if number % 3)})"
        assert found["label"] == "cat"


def test_what_is_computed_says_of_which_record_it_is() -> None:
    said = {"a": ["cat", failed(), "cat"], "b": ["cat", None, "dog"]}
    for method in ("majority-vote", "mean", "merge"):
        rows = combined(ensemble(method, "a", "b"), shard(said))
        assert [(row["row"], row["record_id"]) for row in rows] == [(0, "r0"), (1, "r1"), (2, "r2")]
    lost = combined(VOTE, shard({"a": [None, "cat"], "b": [None, None], "c": [None, None]}, lost=["a"]))
    assert lost[1]["error"]["message"] == "0 of 3 members answered, 1 needed (a: model_unavailable)"


def test_only_means_of_class_scores_are_probabilities() -> None:
    said = {"a": scored(cat=0.6), "b": scored(cat=0.8)}
    kinds = {method: one(ensemble(method, "a", "b"), **said)["score_kind"] for method in ("weighted-mean", "mean")}
    assert kinds == {"weighted-mean": "probability", "mean": "probability"}
    assert one(ensemble("weighted-vote", "a", "b"), **said)["score_kind"] == "other"


def test_a_merge_is_written_by_the_members_names() -> None:
    merge = ensemble("merge", "b", "a")
    assert (
        one(merge, a=2.5, b=scored(cat=0.5))["output"] == '{"a": {"value": 2.5}, "b": {"label": "cat", "score": 0.5}}'
    )


def test_a_failed_member_degrades_a_merge_only() -> None:
    assert one(ensemble("merge", "a", "b"), a=failed(), b="cat")["degraded"]
    assert not one(ensemble("majority-vote", "a", "b"), a=failed(), b="cat")["degraded"]
    assert not one(ensemble("merge", "a", "b").model_copy(update={"quorum": 2}), a=failed(), b="cat")["degraded"]


def test_members_that_were_not_asked_are_no_failures() -> None:
    found = one(ensemble("majority-vote", "a", "b", quorum=2), a="cat", b=None)
    assert found["error"]["message"] == "1 of 2 members answered, 2 needed"


def test_a_model_in_two_members_is_used_where_one_of_them_rests_on_it() -> None:
    pair = FirstAccepted(stages=(leaf("a"), leaf("b")), gates=("gate-a",))
    both = ensemble("majority-vote", "a", "pair").model_copy(update={"members": (leaf("a"), pair)})
    found = combined(both, shard({"a": ["cat"], "b": ["cat"]}, accepted={"gate-a": []}))[0]
    assert found["used"] == ["main.a", "main.b"]


def test_a_score_of_nought_is_better_than_none() -> None:
    nought = {"label": "dog", "score": 0.0}
    assert one(ensemble("best-score", "a", "b"), a="cat", b=nought)["label"] == "dog"


def test_a_mean_over_answers_without_labels_has_none() -> None:
    unlabelled = {"output": "{}"}
    found = combined(ensemble("mean", "a", "b"), shard({"a": [unlabelled, "cat"], "b": [unlabelled, unlabelled]}))
    assert [(row["label"], row["scores"]) for row in found] == [(None, []), ("cat", [{"label": "cat", "p": 0.0}])]
    alone = one(ensemble("mean", "a"), a=unlabelled)
    assert (alone["label"], alone["score"], alone["scores"]) == (None, None, [])


def test_a_vote_over_answers_without_labels_has_none() -> None:
    found = combined(ensemble("majority-vote", "a"), shard({"a": [{"output": "{}"}, "cat"]}))
    assert [row["label"] for row in found] == [None, "cat"]
