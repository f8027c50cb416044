"""A step says of a record in plain values what it says of its row, where it says anything."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_agentic import tables
from airflow_agentic.pipeline.inputs import inline_record
from airflow_agentic.pipeline.plain import PlainRecords
from airflow_agentic.pipeline.steps import parse_step

texts = st.text(
    st.sampled_from(" \t\n\x00\x1c\x85ab AZä\u00a0\u0130\u0301\u212b") | st.characters(codec="utf-8"), max_size=12
)
inputs = st.one_of(
    texts.map(lambda text: {"text": text}),
    st.dictionaries(st.sampled_from("ab"), st.none() | st.integers(0, 9), min_size=1).map(lambda row: {"input": row}),
    st.lists(st.integers(0, 3), max_size=3).map(lambda row: {"input": row}),
    st.binary(max_size=20).map(lambda data: {"bytes": data}),
    st.just({"uri": "s3://bucket/file.txt"}),
    st.just({"text": 3}),
)
rows = st.builds(
    lambda given_, more: {**given_, **more},
    inputs,
    st.fixed_dictionaries(
        {}, optional={"language": st.just("de"), "size": st.just(1), "text_chars": st.just(5), "max_cost": st.just(1.0)}
    ),
)
kinds = st.lists(st.sampled_from(["text", "bytes", "uri", "struct", "tensor"]), min_size=1, max_size=3)
lengths = st.integers(1, 9)
options = {
    "normalize_text": st.fixed_dictionaries(
        {},
        optional={
            "form": st.sampled_from(["NFC", "NFKC"]),
            **dict.fromkeys(["strip", "collapse", "lower"], st.booleans()),
        },
    ),
    "truncate_text": st.fixed_dictionaries({"chars": lengths}),
    "text_info": st.just({}),
    "detect_language": st.just({"detector": "script"}),
    "validate": st.fixed_dictionaries(
        {"required": st.lists(st.sampled_from(["language", "size", "a", "max_cost"]), max_size=2)},
        optional={
            "kinds": kinds,
            "max_bytes": lengths,
            "min_chars": st.integers(1, 3),
            "max_chars": st.integers(3, 9),
        },
    ),
    "image_info": st.just({}),
    "impute": st.just({"values": {"a": 1}}),
}
SIMPLE = {"truncate_text", "text_info"}
"""Steps that take any record in plain values."""


def said(one: PlainRecords, name: str, given_: dict[str, Any]) -> Any:
    """What the step makes of a record in plain values."""
    return parse_step(name, given_).apply_one(one.rows[0])


@pytest.mark.parametrize("name", options)
@given(st.data(), rows)
def test_a_record_is_that_of_its_table(name: str, data: st.DataObject, row: dict[str, Any]) -> None:
    given_ = data.draw(options[name], "options")
    one = inline_record(row, features={"size": "int"}, allowed_uris=None)
    found = said(one, name, given_)
    if found is None:
        assert name not in SIMPLE
        return
    (expected,) = parse_step(name, given_).apply(one.table).to_pylist()
    assert dict(found) == expected


@pytest.mark.parametrize(
    ("name", "given_", "row", "simple"),
    [
        ("normalize_text", {}, {"text": " a \n b "}, True),
        ("normalize_text", {"lower": True}, {"text": " A "}, True),
        ("normalize_text", {"lower": True}, {"text": "Ä"}, False),
        ("normalize_text", {}, {"text": "Größe"}, True),
        ("normalize_text", {"form": "NFKC"}, {"text": "Größe"}, False),
        ("normalize_text", {}, {"text": "e\u0300"}, False),
        ("normalize_text", {}, {"bytes": b"a"}, True),
        ("validate", {"kinds": ["text"]}, {"text": "a"}, True),
        ("validate", {"kinds": ["text"]}, {"bytes": b"a"}, False),
        ("validate", {"max_bytes": 2}, {"text": "ab"}, True),
        ("validate", {"max_bytes": 2}, {"bytes": b"abc"}, False),
        ("validate", {"required": ["a"]}, {"input": {"a": 1}}, True),
        ("validate", {"required": ["a"]}, {"input": {"b": 1}}, False),
        ("validate", {"required": ["a"]}, {"text": "x"}, False),
        ("validate", {"min_chars": 2, "max_chars": 2}, {"text": "ab"}, True),
        ("validate", {"min_chars": 2}, {"text": "a"}, False),
        ("validate", {"min_chars": 2}, {"input": {"a": 1}}, True),
        ("validate", {"min_chars": 2}, {"text": 3}, True),
        ("detect_language", {}, {"text": "a", "language": "de"}, True),
        ("detect_language", {}, {"text": "a"}, False),
        ("detect_language", {}, {"bytes": b"a"}, True),
        ("image_info", {}, {"text": "a"}, True),
        ("image_info", {}, {"bytes": b"a"}, False),
        ("impute", {"values": {"a": 1}}, {"input": {"a": 1}}, False),
    ],
)
def test_what_is_left_to_arrow(name: str, given_: dict[str, Any], row: dict[str, Any], simple: bool) -> None:
    assert (said(inline_record(row), name, given_) is not None) is simple


def test_letters_before_the_first_combining_one_are_in_normal_form() -> None:
    letters = "".join(chr(code) for code in range(0x300) if not chr(code).isspace())
    one = inline_record(letters)
    found = said(one, "normalize_text", {})
    assert found is not None
    assert dict(found) == parse_step("normalize_text", {}).apply(one.table).to_pylist()[0]
    assert found["input"]["text"] == letters
    assert tables.RECORD.names == list(found)
