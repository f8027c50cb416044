"""Answers: one a record, with cost, calls, route, errors and the predictions they rest on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from one_record import check_answers
from predicting import ensemble, failed, leaf, scored, selection, shard

from airflow_agentic import tables
from airflow_agentic.exceptions import HandlerNotAllowedError
from airflow_agentic.pipeline.answers import answer
from airflow_agentic.pipeline.combination import Chained, Coalesce, Combination, FirstAccepted, Primary
from airflow_agentic.pipeline.pool import ShardPredictions

TASKS = {"a": "animals", "b": "birds", "c": "cats"}
CASCADE = FirstAccepted(stages=(leaf("a"), leaf("b")), gates=("gate-a",))


def answers(combination: Combination, predictions: ShardPredictions) -> list[dict[str, Any]]:
    table = answer(combination, predictions, TASKS)
    check_answers(table, combination, predictions, TASKS)
    assert table.schema.equals(tables.ANSWER)
    assert table.column("record_id").to_pylist() == predictions.records.column("record_id").to_pylist()
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def test_a_prediction_becomes_an_answer() -> None:
    found = answers(leaf("a"), shard({"a": [scored(cat=0.7, dog=0.3)]}))[0]
    assert found == {
        "record_id": "r0",
        "task": "animals",
        "model": "a",
        "score_kind": "probability",
        "label": "cat",
        "score": 0.7,
        "scores": [{"label": "cat", "p": 0.7}, {"label": "dog", "p": 0.3}],
        "value": None,
        "output": None,
        "error": None,
        "degraded": False,
        "cost": 0.5,
        "calls": 1,
        "latency_ms": 2.0,
        "route": {"rule": None, "reason": ""},
        "predictions": [
            {
                "node": "main.a",
                "model": "a",
                "model_version": "1",
                "label": "cat",
                "score": 0.7,
                "value": None,
                "error": None,
                "used": True,
            }
        ],
    }


def test_the_records_own_error_is_its_answers_whatever_became_of_the_members() -> None:
    given = shard({"a": [failed("erased")], "b": [failed("erased")]})
    error = tables.error("erased", "the record was erased")
    place = given.records.schema.get_field_index("error")
    column = pa.array([error], tables.ERROR)
    erased = replace(given, records=given.records.set_column(place, tables.RECORD.field("error"), column))
    members = ensemble("majority-vote", "a", "b", quorum=2)
    assert [one["error"]["code"] for one in (answers(members, given)[0], answers(members, erased)[0])] == [
        "quorum_not_met",
        "erased",
    ]


def test_an_answer_keeps_the_first_five_classes() -> None:
    scores = {f"l{place}": 0.3 - place / 100 for place in range(9)}
    found = answers(leaf("a"), shard({"a": [scored(**scores), "x"]}))
    assert [entry["label"] for entry in found[0]["scores"]] == ["l0", "l1", "l2", "l3", "l4"]
    assert found[1]["scores"] is None


def test_all_calls_cost_also_those_not_used() -> None:
    said = {"a": [scored(cat=0.4), scored(cat=0.9)], "b": [scored(dog=0.8), None]}
    first, second = answers(CASCADE, shard(said, accepted={"gate-a": [1]}))
    assert (first["cost"], first["calls"], first["latency_ms"]) == (1.0, 2, 4.0)
    assert (second["cost"], second["calls"], second["latency_ms"]) == (0.5, 1, 2.0)
    assert [(one["node"], one["used"]) for one in first["predictions"]] == [("main.a", False), ("main.b", True)]
    assert [(one["node"], one["used"]) for one in second["predictions"]] == [("main.a", True)]


def test_a_lost_model_costs_nothing_that_is_known() -> None:
    found = answers(CASCADE, shard({"a": [failed()], "b": ["dog"]}, lost=["b"], accepted={"gate-a": []}))[0]
    assert (found["cost"], found["calls"], found["latency_ms"]) == (0.5, 2, 2.0)
    assert found["error"]["code"] == "model_unavailable"
    assert [one["error"] for one in found["predictions"]] == ["model_error", "model_unavailable"]


def test_a_degraded_answer() -> None:
    found = answers(CASCADE, shard({"a": [scored(cat=0.4)], "b": [failed()]}, accepted={"gate-a": []}))[0]
    assert (found["label"], found["degraded"], found["error"]) == ("cat", True, None)


def test_shadows_are_recorded_and_paid_for() -> None:
    shadow = Primary(primary=leaf("a"), shadows=(leaf("b"),))
    found = answers(shadow, shard({"a": ["cat"], "b": ["dog"]}))[0]
    assert (found["label"], found["calls"], found["cost"]) == ("cat", 2, 1.0)
    assert [(one["model"], one["used"]) for one in found["predictions"]] == [("a", True), ("b", False)]


def test_the_task_is_the_record_s_own_else_that_of_the_model_that_answers() -> None:
    records: list[dict[str, Any]] = [{"task": "chess"}, {}, {}, {}]
    chain = Chained(last=leaf("b"), earlier=leaf("a"))
    said = {"a": ["x", "x", failed(), None], "b": ["y", "y", None, None]}
    found = answers(chain, shard(said, records=records))
    assert [row["task"] for row in found] == ["chess", "birds", "animals", None]


def test_a_record_that_reaches_no_model_says_why() -> None:
    route = selection(
        (0, "main.a", None, "routes[0]", "record.x"),
        (1, None, "no_route", None, "no route matches and the workflow has no default"),
        (2, None, "no_candidate", "routes[0]", "not a does birds"),
        (3, None, "all_unhealthy", "routes[0]", "not a is unhealthy"),
        (4, None, "condition_failed", "routes[1]", "record.y > 1: record.y is null"),
        (5, None, "bad_record", None, "bad record"),
    )
    records: list[dict[str, Any]] = [{}, {}, {}, {}, {}, {"text": 5}]
    found = answers(leaf("a"), shard({"a": ["cat", *[None] * 5]}, selections=[route], records=records))
    assert [row["error"] and (row["error"]["code"], row["error"]["message"]) for row in found] == [
        None,
        ("no_route", "no route takes this record: no route matches and the workflow has no default"),
        ("no_candidate", "no candidate satisfies what the record asks: not a does birds"),
        ("all_unhealthy", "every candidate is unhealthy: not a is unhealthy"),
        ("condition_failed", "a condition could not be evaluated: record.y > 1: record.y is null"),
        ("bad_record", "records[5]: the field 'text' is text, found a number"),
    ]
    assert [row["calls"] for row in found] == [1, 0, 0, 0, 0, 0]
    assert [row["latency_ms"] for row in found] == [2.0, None, None, None, None, None]
    assert [row["predictions"] for row in found[1:]] == [[]] * 5
    assert [row["route"]["rule"] for row in found] == ["routes[0]", None, "routes[0]", "routes[0]", "routes[1]", None]


def test_a_record_of_which_nothing_is_known_has_no_route() -> None:
    found = answers(leaf("a"), shard({"a": [None]}))[0]
    assert found["error"] == {"code": "no_route", "message": "no route takes this record", "retryable": False}


def test_the_first_refusal_counts() -> None:
    route = selection((0, None, "no_candidate", "routes[0]", "one"), (0, None, "all_unhealthy", "routes[0]", "two"))
    gate = selection((0, None, "no_route", "routes[0]", "three"))
    found = answers(leaf("a"), shard({"a": [None]}, selections=[route, gate]))[0]
    assert found["error"]["message"] == "no candidate satisfies what the record asks: one"


def test_the_route_is_the_first_rule_and_a_reason_of_each_control() -> None:
    route = selection((0, "main.a", None, "routes[0]", "record.x"), (1, "main.a", None, "routes[1]", None))
    gate = selection((0, "main.b", None, "routes[0].use", "a was unsure"), (1, None, "accepted", "routes[1].use", None))
    said = {"a": [scored(cat=0.4), scored(cat=0.9)], "b": ["dog", None]}
    found = answers(CASCADE, shard(said, accepted={"gate-a": [1]}, selections=[route, gate]))
    assert [row["route"] for row in found] == [
        {"rule": "routes[0]", "reason": "record.x; a was unsure"},
        {"rule": "routes[1]", "reason": ""},
    ]


def test_the_verdict_of_an_ensemble_ends_the_reason() -> None:
    route = selection(
        (0, "main.a", None, "routes[0]", "always"),
        (0, "main.b", None, "routes[0]", "always"),
        (0, "main.c", None, "routes[0]", "always"),
        (1, "main.a", None, "routes[0]", None),
    )
    vote = ensemble("majority-vote", "a", "b", "c")
    found = answers(vote, shard({"a": ["x", "y"], "b": ["x", None], "c": ["y", None]}, selections=[route]))
    assert [row["route"]["reason"] for row in found] == ["always; 2 of 3 agree", "1 of 3 agree"]
    assert [row["model"] for row in found] == ["ensemble(a, b, c)", "ensemble(a)"]


def test_an_ensemble_that_is_not_the_answer_says_nothing() -> None:
    cascade = FirstAccepted(stages=(ensemble("majority-vote", "a", "b"), leaf("c")), gates=("gate-a",))
    said = {"a": ["x", "x"], "b": ["y", "x"], "c": ["z", None]}
    found = answers(cascade, shard(said, accepted={"gate-a": [1]}))
    assert [row["route"]["reason"] for row in found] == ["", "2 of 2 agree"]


def test_a_lost_model_s_answer_has_no_verdict() -> None:
    assert answers(leaf("a"), shard({"a": ["x"]}, lost=["a"]))[0]["route"]["reason"] == ""


def test_the_members_are_in_the_plan_s_order_whoever_answers() -> None:
    either = Coalesce(members=(leaf("c"), leaf("a"), leaf("b")))
    found = answers(either, shard({"a": ["x", None], "b": [None, "y"], "c": [None, None]}))
    assert [[one["node"] for one in row["predictions"]] for row in found] == [["main.a"], ["main.b"]]


def test_quorum_not_met_is_the_answer_s_error() -> None:
    vote = ensemble("majority-vote", "a", "b", quorum=2)
    found = answers(vote, shard({"a": ["x"], "b": [failed()]}))[0]
    assert found["error"]["message"] == "1 of 2 members answered, 2 needed (b: model_error)"
    assert (found["label"], found["score"], found["cost"], found["calls"]) == (None, None, 1.0, 2)
    assert [one["used"] for one in found["predictions"]] == [False, False]
    assert found["route"]["reason"] == "1 of 2 answered"


def test_a_shadow_says_nothing_of_the_task_of_a_row_that_nobody_was_asked_about() -> None:
    shadow = Primary(primary=leaf("a"), shadows=(CASCADE.model_copy(update={"stages": (leaf("b"), leaf("c"))}),))
    found = answers(shadow, shard({"a": ["x", None], "b": ["y", None], "c": [None, None]}))
    assert [row["task"] for row in found] == ["animals", None]
    assert [len(row["predictions"]) for row in found] == [2, 0]


def test_a_row_of_an_ensemble_has_the_reason_of_each_control_once() -> None:
    both = ensemble("majority-vote", "a", "b")
    route = selection((0, "main.a", None, "routes[0]", "why"), (0, "main.b", None, "routes[0]", "why"))
    found = answers(both, shard({"a": ["x"], "b": ["x"]}, selections=[route]))[0]
    assert found["route"] == {"rule": "routes[0]", "reason": "why; 2 of 2 agree"}
    later = selection((1, "main.a", None, "routes[1]", "other"), (1, "main.b", None, "routes[2]", "another"))
    found = answers(both, shard({"a": [None, "x"], "b": [None, "x"]}, selections=[later]))
    assert [row["route"]["rule"] for row in found] == [None, "routes[1]"]
    assert found[1]["route"]["reason"] == "other; 2 of 2 agree"


def test_each_row_has_its_own_reason_and_the_first_of_several() -> None:
    route = selection(
        (0, "main.a", None, "routes[0]", "one"),
        (2, "main.a", None, "routes[1]", "two"),
        (2, "main.b", None, "routes[2]", "three"),
    )
    both = ensemble("majority-vote", "a", "b")
    found = answers(both, shard({"a": ["x", None, "x"], "b": [None, None, "x"]}, selections=[route]))
    assert [row["route"] for row in found] == [
        {"rule": "routes[0]", "reason": "one; 1 of 2 agree"},
        {"rule": None, "reason": ""},
        {"rule": "routes[1]", "reason": "two; 2 of 2 agree"},
    ]


HANDLER = "test_answers:first_member"


def first_member(members: dict[str, Any]) -> Any:
    """An aggregation of the user."""
    return next(iter(members.values())).select(["label"])


def test_an_aggregation_of_the_user_s_needs_to_be_allowed() -> None:
    own = ensemble("handler", "a", "b", handler=HANDLER)
    one = shard({"a": ["x"], "b": ["y"]})
    found = answer(own, one, TASKS, allowed_handlers=["test_answers"]).to_pylist()
    assert [row["label"] for row in found] == ["x"]
    with pytest.raises(HandlerNotAllowedError):
        answer(own, one, TASKS)
