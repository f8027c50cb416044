"""What is left of a row."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from airflow_agentic import tables
from airflow_agentic.execution.redaction import ERROR, redact, redact_lines

RECORD: dict[str, Any] = {
    "record_id": "a",
    "position": 7,
    "input": {"kind": "bytes", "data": b"\x00secret", "text": None, "uri": None},
    "task": "secret",
    "language": "de",
    "max_cost": 1.0,
    "error": None,
}
ANSWER: dict[str, Any] = {
    "record_id": "a",
    "task": "secret",
    "model": "m",
    "score_kind": "probability",
    "label": "secret",
    "score": 0.5,
    "scores": [{"label": "secret", "p": 0.5}],
    "degraded": True,
    "cost": 2.0,
    "calls": 2,
    "latency_ms": 1.5,
    "route": {"rule": "routes[0]", "reason": "secret"},
    "predictions": [{"node": "n", "model": "m", "model_version": "1", "label": "secret", "score": 0.5, "used": True}],
}


def test_a_record() -> None:
    schema = tables.RECORD.append(pa.field("note", pa.large_string())).append(
        pa.field("vector", pa.list_(pa.float32()))
    )
    other = {**RECORD, "record_id": "b", "position": 8, "note": "stays", "vector": [1.0]}
    table = tables.table([{**RECORD, "note": "secret", "vector": [0.5]}, other], schema)
    left = redact(table, [0], "erased-7")
    assert left.schema.equals(table.schema, check_metadata=True)
    assert left.to_pylist() == [
        {**dict.fromkeys(schema.names), "record_id": "erased-7", "position": 7, "error": ERROR},
        table.to_pylist()[1],
    ]


def test_an_answer() -> None:
    table = tables.table([{**ANSWER, "record_id": "b"}, ANSWER], tables.ANSWER)
    left = redact(table, [1], "erased-1")
    assert left.slice(0, 1).equals(table.slice(0, 1))
    kept = {"model": "m", "degraded": True, "cost": 2.0, "calls": 2, "latency_ms": 1.5}
    member = {"node": "n", "model": "m", "model_version": "1", "label": None, "score": None, "value": None}
    assert left.to_pylist()[1] == {
        **dict.fromkeys(tables.ANSWER.names),
        **kept,
        "record_id": "erased-1",
        "error": ERROR,
        "route": {"rule": "routes[0]", "reason": "erased"},
        "predictions": [{**member, "error": "erased", "used": True}],
    }


def test_a_selection_may_hold_a_row_twice() -> None:
    rows = [
        {"row": 0, "target": "x", "rule": "r", "reason": "because of secret"},
        {"row": 1, "target": "x", "rule": "r", "reason": "stays"},
        {"row": 0, "target": "y", "rule": "r", "reason": "because of secret"},
    ]
    left = redact(tables.table(rows, tables.SELECTION), [0, 2], "erased")
    assert [row["reason"] for row in left.to_pylist()] == ["erased", "stays", "erased"]
    assert [row["target"] for row in left.to_pylist()] == ["x", "x", "y"]
    assert left.column("reason").combine_chunks().dictionary.to_pylist() == ["erased", "stays"], "no other text is left"


def test_redacting_twice_gives_the_same_bytes() -> None:
    table = tables.table([ANSWER, {**ANSWER, "record_id": "b"}], tables.ANSWER)
    once = redact(table, [0], "erased-0")
    assert redact(once, [0], "erased-0").equals(once)


def test_a_column_that_nobody_knows_is_erased() -> None:
    table = pa.table({"record_id": ["a"], "from_next_year": ["secret"], "cost": [1.0]})
    assert redact(table, [0], "erased").to_pylist() == [{"record_id": "erased", "from_next_year": None, "cost": 1.0}]


@pytest.mark.parametrize("end", ["", "\n"])
def test_json_lines(end: str) -> None:
    other = '{"record_id":  "b", "label": "ä"}'
    text = f"{other}\n{json.dumps(ANSWER)}{end}"
    left = redact_lines(text, "a", "erased-1")
    assert left is not None
    first, second, *rest = left.split("\n")
    assert (first, rest) == (other, [""] if end else [])
    assert "secret" not in second
    assert json.loads(second)["record_id"] == "erased-1"
    assert redact_lines(text, "c", "erased") is None
