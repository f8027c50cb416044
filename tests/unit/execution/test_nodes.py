"""Node functions over one shard: reasons, what models are given, and what gates say."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from builders import compiled
from executing import CARDS, World, coordinated

from airflow_agentic import tables
from airflow_agentic.execution import nodes
from airflow_agentic.execution.nodes import ShardState
from airflow_agentic.pipeline.inputs import inline_records
from airflow_agentic.plan import Plan
from airflow_agentic.plan.ir import Gate, Infer, Preprocess, Route
from airflow_agentic.routing.decide import Decider

CASCADE = {"cascade": ["a", "b", "c"], "accept": "prediction.score >= 0.7"}


def state_of(plan: Plan, *texts: Any, **columns: Any) -> ShardState:
    rows = [{"record_id": f"r{place}", "text": text, **columns} for place, text in enumerate(texts)]
    state = ShardState(plan, inline_records(rows))
    return state.with_table("route", nodes.route(plan.of(Route)[0], state, Decider(plan.models)))


def said(state: ShardState, node_id: str, *answers: Any) -> ShardState:
    """The state after a model gave these answers to the rows it was given."""
    node = state.plan.node(node_id)
    assert isinstance(node, Infer)

    def predict(records: pa.Table) -> pa.Table:
        rows = []
        for record, answer in zip(records.to_pylist(), answers, strict=True):
            base = {"row": record["row"], "record_id": record["record_id"], "model": node.model, "model_version": "1"}
            rows.append({**base, **(answer if isinstance(answer, dict) else {"label": "good", "score": answer})})
        return tables.table(rows, tables.PREDICTION)

    return state.with_table(node_id, nodes.infer(node, state, predict))


def gated(state: ShardState, node_id: str) -> list[Any]:
    node = state.plan.node(node_id)
    assert isinstance(node, Gate)
    table = nodes.gate(node, state, Decider(state.plan.models))
    assert table.schema.equals(tables.SELECTION)
    return [(one["row"], one["target"] or one["outcome"], one["reason"]) for one in table.to_pylist()]


def test_a_gate_accepts_and_says_why_not() -> None:
    state = state_of(compiled(CASCADE, *CARDS), "x", "y", "z", "u")
    error = {"error": tables.error("model_error", "broken")}
    state = said(state, "main.a", 0.9, 0.394, error, {"label": "good"})
    assert gated(state, "main.gate-a") == [
        (0, "accepted", None),
        (1, "main.b", "a was unsure (0.39, not prediction.score >= 0.7); asked b"),
        (2, "main.b", "a failed (model_error); asked b"),
        (
            3,
            "main.b",
            "a: prediction.score >= 0.7 cannot be evaluated (prediction.score is null); asked b",
        ),
    ]


def test_a_gate_over_labels_says_the_condition() -> None:
    plan = compiled({"cascade": ["a", "b"], "accept": "prediction.label == 'bad'"}, *CARDS)
    state = said(state_of(plan, "x", "y"), "main.a", {"label": "good"}, {"label": "bad"})
    assert gated(state, "main.gate-a") == [
        (0, "main.b", "a: not prediction.label == 'bad'; asked b"),
        (1, "accepted", None),
    ]


def test_a_gate_of_a_lost_model() -> None:
    state = state_of(compiled(CASCADE, *CARDS), "x")
    assert gated(state, "main.gate-a") == [(0, "main.b", "a failed (model_unavailable); asked b")]


def test_a_gate_asks_only_whom_the_record_may_have() -> None:
    state = said(state_of(compiled(CASCADE, *CARDS), "x", max_cost=0.005), "main.a", 0.1)
    found = gated(state, "main.gate-a")
    assert found == [
        (0, "main.b", "a was unsure (0.10, not prediction.score >= 0.7); not c costs 0.009, over max_cost; asked b")
    ]
    state = said(state_of(compiled(CASCADE, *CARDS), "x", max_cost=0.001), "main.a", 0.1)
    why = "not b costs 0.004, over max_cost, c costs 0.009, over max_cost"
    assert gated(state, "main.gate-a") == [
        (0, "no_candidate", f"a was unsure (0.10, not prediction.score >= 0.7); {why}")
    ]


def test_a_gate_that_nobody_reached() -> None:
    plan = compiled({"rules": [{"when": "record.text == 'x'", "use": CASCADE}, {"use": "c"}]}, *CARDS)
    assert gated(state_of(plan, "y"), "main.gate-a") == []


def test_the_workflow_s_fallback_takes_what_failed_and_what_no_model_got() -> None:
    plan = compiled("a", *CARDS, on_error="fallback", fallback="c")
    state = state_of(plan, "x", "y", 5, language="en")
    state = said(state, "main.a", {"error": tables.error("model_error", "broken")}, 0.5)
    assert gated(state, "fallback-gate") == [
        (0, "fallback.c", "a failed (model_error); asked c"),
        (1, "accepted", None),
    ]


def test_every_reason_travels_with_the_prediction() -> None:
    state = said(state_of(compiled(CASCADE, *CARDS), "x", "y"), "main.a", 0.1, 0.9)
    assert state.predictions["main.a"].column("reason").to_pylist() == ["always", "always"]
    gate = state.plan.node("main.gate-a")
    assert isinstance(gate, Gate)
    state = state.with_table(gate.id, nodes.gate(gate, state, Decider(state.plan.models)))
    state = said(state, "main.b", 0.8)
    assert state.predictions["main.b"].column("reason").to_pylist() == [
        "a was unsure (0.10, not prediction.score >= 0.7); asked b"
    ]


def fed(fields: Any, answer: dict[str, Any], *, first: str = "fields", then: str = "a") -> dict[str, Any]:
    """The record that the second step of a chain is given."""
    plan = compiled({"chain": [first, {"use": then, "input": fields}]}, *CARDS)
    state = said(state_of(plan, "hello"), f"main.{first}", answer)
    gate = plan.of(Gate)[0]
    state = state.with_table(gate.id, nodes.gate(gate, state, Decider(plan.models)))
    node = plan.node(f"main.{then}")
    assert isinstance(node, Infer)
    records, reasons = nodes.given(node, state)
    assert reasons.to_pylist() == [""]
    found: dict[str, Any] = records.to_pylist()[0]
    return found


NAMED = {"output": json.dumps({"name": "Ada", "city": "Paris", "n": [1, 2], "o": {"k": 1}})}


def test_a_chain_feeds_a_field_of_the_answer_before() -> None:
    found = fed("prediction.output.city", NAMED)
    assert found["input"] == {"kind": "text", "text": "Paris", "data": None, "uri": None}
    assert (found["record_id"], found["row"], found["error"]) == ("r0", 0, None)


def test_a_chain_feeds_a_label() -> None:
    assert fed("prediction.label", {"label": "good"}, first="b")["input"]["text"] == "good"


def test_a_missing_field_is_an_error_of_its_record() -> None:
    found = fed("prediction.output.city", {"output": "{}"})
    assert found["error"] == {
        "code": "no_input",
        "message": "the step before gave no prediction.output.city",
        "retryable": False,
    }


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ("prediction.output.n", "tensor", "[1, 2]"),
        ("prediction.output.o", "struct", '{"k": 1}'),
        ("prediction.output", "struct", NAMED["output"]),
        ({"who": "prediction.output.name", "text": "record.input"}, "struct", '{"who": "Ada", "text": "hello"}'),
    ],
)
def test_what_is_fed_by_its_kind(fields: Any, kind: str, text: str) -> None:
    prediction = {"output": NAMED["output"], "label": None, "value": None}
    found = nodes.fed_value(fields, prediction, {"kind": "text", "text": "hello", "data": None, "uri": None})
    assert found == {"kind": kind, "text": text}


def test_a_row_that_cannot_be_fed_is_not_sent_to_the_model() -> None:
    """It has its own error, and the model's handler never sees it."""
    world = World()
    plan = compiled({"chain": ["fields", {"use": "a", "input": "prediction.output.city"}]}, *CARDS)
    answers = coordinated(
        plan, inline_records([{"record_id": "r0", "text": "x"}, {"record_id": "r1", "text": "!fields"}]), world
    )
    assert world.seen["a"] == ["city of x"]
    assert [row["error"] and row["error"]["code"] for row in answers.to_pylist()] == [None, "model_error"]


def test_bad_records_go_nowhere() -> None:
    state = state_of(compiled("b", *CARDS), "x", 5)
    assert state.selections["route"].to_pylist()[1] == {
        "row": 1,
        "target": None,
        "outcome": "bad_record",
        "rule": None,
        "reason": "bad record",
    }
    node = state.plan.of(Infer)[0]
    assert state.assigned(node).tolist() == [0]


def test_a_model_without_rows_is_not_called() -> None:
    state = state_of(compiled("b", *CARDS), 5)
    node = state.plan.of(Infer)[0]

    def never(_: pa.Table) -> pa.Table:
        raise AssertionError("called")

    assert nodes.infer(node, state, never).num_rows == 0


def test_preprocess_applies_the_steps() -> None:
    plan = compiled("b", *CARDS, preprocess=["normalize_text"])
    records = nodes.preprocess(plan.of(Preprocess)[0], inline_records(["  Hello \n world "]))
    assert records.column("input").to_pylist()[0]["text"] == "Hello world"


def test_a_node_that_is_no_model() -> None:
    plan = compiled("b", *CARDS)
    with pytest.raises(TypeError, match="'route' is a route node, not infer"):
        nodes._infer_node(plan, "route")
