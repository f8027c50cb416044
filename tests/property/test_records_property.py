"""Whatever stands in the rows: one record a row, in order, with an input or an error, never an exception."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from airflow_agentic import tables
from airflow_agentic.pipeline.inputs import Input, inline_record, inline_records, read_records
from airflow_agentic.pipeline.records import INPUT_FIELDS, Row, RowRules, normalise
from airflow_agentic.pipeline.uris import AllowedUris

any_text = st.text(st.characters(), max_size=8)
"""Lone surrogates too."""
leaves = st.none() | st.booleans() | st.integers() | st.floats() | any_text | st.binary(max_size=4)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3))
names = st.sampled_from([*INPUT_FIELDS, *tables.REQUIREMENTS, "error", "position", "n", "s"]) | any_text
rows = st.dictionaries(names, values, max_size=5) | values


def check(table: pa.Table, count: int) -> None:
    assert table.schema.names[: len(tables.RECORD)] == tables.RECORD.names
    assert table.column("position").to_pylist() == list(range(count))
    ids = table.column("record_id").to_pylist()
    assert len(set(ids)) == count
    for record in table.select(tables.RECORD.names).to_pylist():
        if record["error"] is None:
            content = {name: value for name, value in record["input"].items() if value is not None}
            assert set(content) - {"kind"} in ({"text"}, {"data"}, {"uri"})
            if content["kind"] in {"struct", "tensor"}:
                json.loads(content["text"])
        else:
            assert record["error"]["code"] in {"bad_record", "uri_not_allowed"}
            assert record["error"]["message"]


@given(st.lists(rows, min_size=1, max_size=12))
def test_any_python_values(values: list[Any]) -> None:
    check(inline_records(values), len(values))


@given(rows, st.none() | st.just("t"), st.sampled_from([None, {"n": "int"}, {"s": "string", "n": "double"}]))
def test_one_value_is_the_record_of_its_table(value: Any, task: str | None, features: Any) -> None:
    table = inline_records([value], task=task, features=features)
    one = inline_record(value, task=task, features=features)
    assert one.schema.equals(table.schema, check_metadata=True)
    assert list(one.rows) == table.to_pylist()
    assert one.table.equals(table)


@given(st.lists(rows, min_size=1, max_size=12), st.integers(1, 5))
def test_chunks_share_one_schema_and_keep_every_id(values: list[Any], chunk_rows: int) -> None:
    source = [Row(value, f"in:{index}", None, 1) for index, value in enumerate(values)]
    chunks = list(normalise(source, RowRules(allowed=AllowedUris(None)), chunk_rows=chunk_rows))
    assert all(chunk.schema == chunks[0].schema for chunk in chunks)
    table = pa.concat_tables(chunks)
    check(table, len(values))
    whole = inline_records(values, allowed_uris=None)
    assert table.column("record_id").to_pylist() == whole.column("record_id").to_pylist()


@given(st.lists(st.binary(max_size=30).filter(lambda line: line.strip() and b"\n" not in line), min_size=1, max_size=8))
def test_any_bytes_as_json_lines_and_as_text(lines: list[bytes]) -> None:
    content = b"\n".join([b'{"text": "first"}', *lines])
    for kind in ("jsonl", "text"):
        source = Input(uri="-", format=kind)
        check(pa.concat_tables(read_records(source, stdin=io.BytesIO(content))), len(lines) + 1)


@given(st.binary(max_size=60))
def test_any_bytes_under_a_csv_header(content: bytes) -> None:
    source = Input(uri="-", format="csv")
    table = pa.concat_tables(read_records(source, stdin=io.BytesIO(b"text,n\nfirst,1\n" + content)))
    check(table, len(table))
    assert table.column("input").to_pylist()[0]["text"] == "first"
