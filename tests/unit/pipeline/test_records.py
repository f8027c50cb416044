"""What a user's row means."""

from __future__ import annotations

import base64
import datetime
import decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from airflow_agentic import tables
from airflow_agentic.exceptions import InputError
from airflow_agentic.pipeline import records
from airflow_agentic.pipeline.identity import SeenIds
from airflow_agentic.pipeline.inputs import inline_records
from airflow_agentic.pipeline.records import Row, RowRules, normalise
from airflow_agentic.pipeline.uris import AllowedUris


def one(value: object, **options: Any) -> dict[str, Any]:
    """The record that one row becomes."""
    record: dict[str, Any] = inline_records([value], **options).to_pylist()[0]
    return record


def message(value: object) -> str:
    """Why the row is bad."""
    record = one(value)
    assert record["error"] is not None, record
    assert record["error"]["code"] == "bad_record"
    assert record["input"] is None
    assert record["error"]["message"].startswith("records[0]: ")
    return str(record["error"]["message"].removeprefix("records[0]: "))


@pytest.mark.parametrize(
    ("value", "kind", "slot", "content"),
    [
        ("hello", "text", "text", "hello"),
        (b"\x00\x01", "bytes", "data", b"\x00\x01"),
        ({"text": "hello"}, "text", "text", "hello"),
        ({"input": "hello"}, "text", "text", "hello"),
        ({"bytes": base64.b64encode(b"\xff").decode()}, "bytes", "data", b"\xff"),
        ({"bytes": b"\xff"}, "bytes", "data", b"\xff"),
        ({"input": b"\xff"}, "bytes", "data", b"\xff"),
        ({"input": {"a": [1, {"b": None}]}}, "struct", "text", '{"a":[1,{"b":null}]}'),
        ({"input": [[1, 2.5], [3, 4]]}, "tensor", "text", "[[1,2.5],[3,4]]"),
        ({"input": np.arange(3)}, "tensor", "text", "[0,1,2]"),
        ({"age": 42, "job": "clerk", "rent": float("nan")}, "struct", "text", '{"age":42,"job":"clerk","rent":null}'),
    ],
)
def test_every_way_to_give_an_input(value: object, kind: str, slot: str, content: object) -> None:
    expected = {"kind": kind, "text": None, "data": None, "uri": None, slot: content}
    record = one(value)
    assert record["error"] is None
    assert record["input"] == expected


def test_requirements_and_features_stand_beside_the_input() -> None:
    row = {
        "id": 7,
        "task": "text-analysis",
        "text": "hi",
        "language": "en",
        "max_latency_ms": 5,
        "max_cost": 0.5,
        "min_quality": None,
        "size": 3,
        "rate": 0.5,
        "day": datetime.date(2024, 2, 29),
        "price": decimal.Decimal("1.5"),
        "vip": True,
    }
    table = inline_records([row])
    assert table.schema.metadata == tables.RECORD.metadata
    assert table.schema.names == [*tables.RECORD.names, "size", "rate", "day", "price", "vip"]
    assert [field.type for field in list(table.schema)[len(tables.RECORD) :]] == [
        pa.int64(),
        pa.float64(),
        pa.string(),
        pa.float64(),
        pa.bool_(),
    ]
    record = table.to_pylist()[0]
    assert {name: record[name] for name in tables.REQUIREMENTS} == {
        "task": "text-analysis",
        "language": "en",
        "max_latency_ms": 5.0,
        "max_cost": 0.5,
        "min_quality": None,
    }
    assert (record["record_id"], record["position"], record["day"]) == ("7", 0, "2024-02-29")


def test_fields_alone_are_the_struct_and_no_features() -> None:
    table = inline_records([{"id": "a", "language": "de", "x": 1.5}])
    assert table.schema.names == tables.RECORD.names
    assert table.column("input").to_pylist()[0]["text"] == '{"x":1.5}'
    assert table.column("language").to_pylist() == ["de"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "a record is text or an object, found null"),
        (3, "a record is text or an object, found a number"),
        ({}, "the record has no input; give one of text, uri, bytes, input, or fields"),
        ({"text": "a", "uri": "b"}, "the record gives 'text' and 'uri'; keep one of them"),
        ({"text": 3}, "the field 'text' is text, found a number"),
        ({"input": True}, "the field 'input' is text, found true/false"),
        ({"input": [[1], [2, 3]]}, "the tensor under 'input' is ragged; its rows must be of one length"),
        ({"input": ["a"]}, "the tensor under 'input' holds text ('a'), not a finite number"),
        ({"id": 1, "record_id": 2, "text": "a"}, "the record gives 'record_id' and 'id'; keep one of them"),
        ({"id": 1.5, "text": "a"}, "a record_id is text or a whole number, found 1.5"),
        ({"id": "", "text": "a"}, "a record_id is text or a whole number, found ''"),
        ({"text": "a", "task": 3}, "the field 'task' is text, found a number"),
        ({"text": "a", "max_cost": -1}, "the field 'max_cost' is a number from 0, found -1"),
        ({"text": "a", "max_cost": "1"}, "the field 'max_cost' is a number from 0, found '1'"),
        ({"text": "\ud800"}, "the field 'text' is not Unicode text (a lone surrogate at character 0)"),
        ({"text": "a", "size": 2**63}, "the field 'size' holds a whole number beyond 64 bits; give it as text"),
        ({"text": "a", "size": float("inf")}, "the field 'size' is infinite; give a finite number or null"),
        (
            {"text": "a", "size": [1]},
            "the field 'size' holds a list; a field beside the input is text, a number, true/false or null "
            "(put a structure under 'input')",
        ),
        (
            {"text": "a", "error": "x"},
            "the field 'error' is a column of every record; rename yours with columns: {error: …}",
        ),
        ({"text": "a", "row": 3}, "the field 'row' is a column of every record; rename yours with columns: {row: …}"),
        ({"text": "a", 3: "x"}, "a field's name is text, found a number (3)"),
        ({"uri": "a.jpg"}, "the uri 'a.jpg' is relative and there is no folder to start from here"),
    ],
)
def test_a_bad_row_says_why(value: object, expected: str) -> None:
    assert message(value) == expected


def test_bytes_must_be_base64() -> None:
    assert message({"bytes": "a b"}).startswith("the field 'bytes' is not base64 (")


def test_a_bad_row_keeps_its_id_and_fails_nobody_else() -> None:
    table = inline_records([{"id": "a", "text": 3}, {"id": "b", "text": "fine"}])
    assert table.column("record_id").to_pylist() == ["a", "b"]
    assert table.column("error").is_valid().to_pylist() == [True, False]


@pytest.mark.parametrize("row", ["x" * 11, {"text": "x" * 11}, b"x" * 11, {"input": [0.25, 0.75]}, {"a": "x" * 9}])
def test_a_record_that_holds_too_much_is_refused(monkeypatch: pytest.MonkeyPatch, row: Any) -> None:
    monkeypatch.setattr(records, "MAX_INPUT", 10)
    assert message(row).startswith("the record holds 1")
    assert message(row).endswith(" bytes; at most 10 are taken: name large inputs by uri")


def test_ids_are_derived_from_content_and_position() -> None:
    table = inline_records(["same", "same", "other"])
    ids = table.column("record_id").to_pylist()
    assert len(set(ids)) == 3
    assert all(len(record_id) == 16 and int(record_id, 16) >= 0 for record_id in ids)
    assert ids == inline_records(["same", "same", "other"]).column("record_id").to_pylist()
    assert ids[1] != inline_records(["x", "new"]).column("record_id").to_pylist()[1]


def test_a_doubled_id_is_refused_with_both_places() -> None:
    with pytest.raises(InputError) as caught:
        inline_records([{"id": "a", "text": "x"}, {"text": "y"}, {"id": "a", "text": "z"}])
    assert str(caught.value) == (
        "the record_id 'a' stands twice, at position 0 (records[0]) and at position 2 (records[2]); "
        "give every record an id of its own, or none"
    )


def test_a_doubled_id_is_found_across_chunks() -> None:
    rows = [Row({"id": index % 7, "text": "x"}, f"in:{index + 1}", None, 1) for index in range(8)]
    with pytest.raises(InputError) as caught:
        list(normalise(rows, RowRules(allowed=AllowedUris(None)), chunk_rows=2))
    assert str(caught.value) == (
        "the record_id '0' stands twice, at position 0 and at position 7 (in:8); "
        "give every record an id of its own, or none"
    )


def test_seen_ids_finds_what_a_set_finds() -> None:
    generator = np.random.default_rng(7)
    for size in (1, 3, 10):
        seen, known = SeenIds(), dict[str, int]()
        for start in range(0, 400, size):
            ids = [str(number) for number in generator.integers(0, 100_000, size)]
            pairs = []
            for position, record_id in enumerate(ids, start):
                if record_id in known:
                    pairs.append((known[record_id], position))
                known.setdefault(record_id, position)
            found = seen.add(ids, start)
            assert (found is None) == (not pairs)
            assert found is None or found[1] == pairs[0][1]


def chunked(values: list[dict[str, Any]], **rules: Any) -> list[pa.Table]:
    rows = [Row(value, f"in:{number}", None, 10) for number, value in enumerate(values, 1)]
    return list(normalise(rows, RowRules(allowed=AllowedUris(None), **rules), chunk_rows=2))


def test_the_first_chunk_decides_the_features() -> None:
    first, second, third = chunked(
        [
            {"text": "a", "n": 1},
            {"text": "b", "n": 0.5, "s": "x"},
            {"text": "c", "n": 2},
            {"text": "d", "s": 5},
            {"text": "e", "new": 1},
        ]
    )
    assert first.schema == second.schema == third.schema
    assert first.column("n").to_pylist() == [1.0, 0.5]
    assert second.column("n").to_pylist() == [2.0, None]
    errors = [*second.column("error").to_pylist(), *third.column("error").to_pylist()]
    assert [error and error["message"] for error in errors] == [
        None,
        "in:4: the field 's' is string in the first records (or declared so) and a number here",
        "in:5: the field 'new' is new here; the first records decide the features, which are: n, s",
    ]


def test_declared_features_always_exist() -> None:
    (table,) = chunked([{"text": "a", "n": 1}], features={"n": pa.float64(), "later": pa.bool_()})
    assert table.schema.field("n").type == pa.float64()
    assert table.column("later").to_pylist() == [None]


def test_chunks_are_cut_by_bytes_too() -> None:
    rows = [Row("x", f"in:{index}", None, 60) for index in range(5)]
    chunks = normalise(rows, RowRules(allowed=AllowedUris(None)), chunk_bytes=120)
    assert [(len(chunk), chunk.column("position")[0].as_py()) for chunk in chunks] == [(2, 0), (2, 2), (1, 4)]


def test_uris_outside_become_error_rows(tmp_path: Any) -> None:
    table = inline_records(
        [{"uri": "a.jpg"}, {"uri": "/etc/passwd"}, {"uri": "s3://bucket/a"}, tmp_path / "b.jpg"],
        base=tmp_path,
        allowed_uris=["s3://bucket"],
    )
    assert [row["uri"] if row else None for row in table.column("input").to_pylist()] == [
        f"{tmp_path}/a.jpg",
        None,
        "s3://bucket/a",
        f"{tmp_path}/b.jpg",
    ]
    assert [error and error["code"] for error in table.column("error").to_pylist()] == [
        None,
        "uri_not_allowed",
        None,
        None,
    ]
    assert one({"uri": "/etc/passwd"}, allowed_uris=None)["input"]["uri"] == "/etc/passwd"


def test_the_default_task_gives_way_to_the_records_own() -> None:
    table = inline_records(["a", {"text": "b", "task": "own"}], task="given")
    assert table.column("task").to_pylist() == ["given", "own"]


def test_no_values_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        inline_records([])
    assert str(caught.value) == "there are no records; give at least one"
