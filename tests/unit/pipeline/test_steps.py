"""Every preprocessing step, and what holds for all of them."""

from __future__ import annotations

import io
import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from PIL import Image

from airflow_agentic import tables
from airflow_agentic.exceptions import HandlerNotAllowedError, MissingExtraError, SpecError
from airflow_agentic.pipeline.inputs import inline_records
from airflow_agentic.pipeline.steps import STEPS, StepModel, parse_step, register, step_schema
from airflow_agentic.pipeline.steps.language import by_script

EXAMPLES: dict[str, dict[str, Any]] = {
    "validate": {"kinds": ["text"], "max_bytes": "1k", "required": ["language"], "min_chars": 2, "max_chars": 50},
    "normalize_text": {"lower": True},
    "truncate_text": {"chars": 3},
    "text_info": {},
    "detect_language": {"detector": "script"},
    "image_info": {},
    "impute": {"values": {"a": 1}},
    "scale": {"mean": {"a": 1}, "scale": {"a": 2}},
    "handler": {"path": "stepsample:add_length", "adds": {"length": "int"}},
}
"""One use of every step."""


@pytest.fixture(autouse=True)
def _handlers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stepsample.py").write_text(
        "import pyarrow as pa\n"
        "def add_length(records, factor=1):\n"
        "    return records.append_column('length', pa.array([factor] * len(records), pa.int64()))\n"
        "def same(records):\n"
        "    return records\n"
        "def nothing(records):\n"
        "    return None\n"
        "def shorter(records):\n"
        "    return records.slice(1)\n"
        "def reverse(records):\n"
        "    return records.take(list(range(len(records)))[::-1])\n"
        "def forgive(records):\n"
        "    index = records.schema.get_field_index('error')\n"
        "    field = records.schema.field(index)\n"
        "    return records.set_column(index, field, pa.nulls(len(records), field.type))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "stepsample", raising=False)


def run(name: str, rows: list[Any], /, **options: Any) -> pa.Table:
    step = parse_step(name, options, allowed_handlers=["stepsample"])
    return step.apply(inline_records(rows, allowed_uris=None))


def texts(table: pa.Table) -> list[str | None]:
    return [row and row["text"] for row in table.column("input").to_pylist()]


def errors(table: pa.Table) -> list[tuple[str, str] | None]:
    return [error and (error["code"], error["message"]) for error in table.column("error").to_pylist()]


def test_every_step_has_an_example_here() -> None:
    assert set(EXAMPLES) == set(STEPS)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_step_keeps_rows_schema_and_earlier_errors(name: str, tmp_path: Path) -> None:
    step = parse_step(name, EXAMPLES[name], allowed_handlers=["stepsample"])
    before = inline_records(
        [
            " Some  TEXT ",
            3,
            b"\x89PNG broken",
            {"a": None, "b": "x"},
            {"a": "text"},
            {"input": [1, 2]},
            tmp_path / "missing.jpg",
            {"uri": "outside.jpg"},
            {"text": "x", "language": "en", "size": 4},
        ]
    )
    after = step.apply(before)
    assert len(after) == len(before)
    assert after.column("record_id").to_pylist() == before.column("record_id").to_pylist()
    expected = {**dict(zip(before.schema.names, before.schema.types, strict=True)), **step.columns()}
    assert dict(zip(after.schema.names, after.schema.types, strict=True)) == expected
    for row in (1, 7):
        kept = before.column_names
        assert after.select(kept).slice(row, 1).to_pylist() == before.slice(row, 1).to_pylist()
    assert step.apply(before.slice(0, 0)).num_rows == 0
    assert step.apply(pa.concat_tables([before.slice(0, 4), before.slice(4)])).to_pylist() == after.to_pylist()
    again = step.apply(after) if name != "handler" else after
    assert again.column_names == after.column_names


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("validat", {}, "'validat' is no preprocessing step\ndid you mean 'validate'?"),
        (
            "validate",
            {},
            "validate: no rule is given\ngive at least one of: kinds, max_bytes, required, min_chars, max_chars",
        ),
        (
            "validate",
            {"min_chars": 3, "max_chars": 2},
            "validate: min_chars 3 is above max_chars 2\nswap them",
        ),
        (
            "validate",
            {"kinds": ["txt"]},
            "validate.kinds.0: input should be 'text', 'bytes', 'uri', 'struct' or 'tensor', found 'txt'",
        ),
        (
            "validate",
            {"max_bytes": "2q"},
            "validate.max_bytes: '2q' is not a size\nwrite for example 500k, 64Mi or 1Gi",
        ),
        ("truncate_text", {"char": 3}, "the step 'truncate_text' has no option 'char'\ndid you mean 'chars'?"),
        (
            "truncate_text",
            {},
            "the step 'truncate_text' needs the option 'chars'\nHow many characters (Unicode code points) to keep.",
        ),
        ("truncate_text", {"chars": 0}, "truncate_text.chars: input should be greater than or equal to 1, found 0"),
        ("text_info", {"a": 1}, "the step 'text_info' has no option 'a'\nit takes: nothing"),
        (
            "scale",
            {"mean": {"a": 1}, "scale": {"b": 1}},
            "scale: 'a', 'b' has only one of mean and scale\ngive both for each field",
        ),
        (
            "handler",
            {"path": "a:b", "adds": {"error": "int"}},
            "handler.adds: 'error' is a column of every record\ngive the feature column another name",
        ),
    ],
)
def test_wrong_options_say_what_to_change(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse_step(name, options)
    assert str(caught.value) == message


def test_an_unknown_step_without_a_near_name_lists_all() -> None:
    with pytest.raises(ValueError, match="is no preprocessing step\none of: detect_language, handler, "):
        parse_step("zzz", {})


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="the step 'validate' is registered twice, by Validate and Other"):

        @register("validate")
        class Other(StepModel):
            pass


def test_the_schema_has_every_step_and_no_dangling_reference() -> None:
    schema = step_schema()
    assert set(schema["oneOf"][1]["properties"]) == set(STEPS)
    assert schema["oneOf"][0] == {"enum": ["detect_language", "image_info", "normalize_text", "text_info"]}
    assert "$ref" not in json.dumps(schema)


def test_reading_options_imports_no_library_of_a_step() -> None:
    code = (
        "import sys; from airflow_agentic.pipeline.steps import parse_step;"
        f"[parse_step(name, options) for name, options in {EXAMPLES!r}.items()];"
        "print([name for name in ('PIL', 'fasttext', 'airflow', 'stepsample') if name in sys.modules])"
    )
    root = Path(tables.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_validate_names_the_first_rule_that_is_broken() -> None:
    table = run(
        "validate",
        ["a", "much too long", b"x", {"input": {"k": 1}}, {"text": "fine", "language": "en"}, "fine"],
        kinds=["text", "struct"],
        min_chars=2,
        max_chars=5,
        max_bytes=10,
        required=["language"],
    )
    assert errors(table) == [
        ("missing_field", "the field 'language' is required and null here"),
        ("too_large", "the input has 13 bytes; at most 10 are allowed"),
        ("invalid_kind", "the input is 'bytes', which is none of text, struct"),
        ("missing_field", "the field 'language' is required and null here"),
        None,
        ("missing_field", "the field 'language' is required and null here"),
    ]
    assert errors(run("validate", ["a", "much too long", "good"], min_chars=2, max_chars=5)) == [
        ("text_too_short", "the text has 1 characters; at least 2 are required"),
        ("text_too_long", "the text has 13 characters; at most 5 are allowed"),
        None,
    ]


def test_validate_finds_required_fields_in_structs() -> None:
    table = run("validate", [{"a": 1}, {"a": None, "b": 1}, {"b": 1}, "text"], required=["a"])
    assert [error and error[0] for error in errors(table)] == [None, *["missing_field"] * 3]


def test_validate_counts_bytes_as_utf8() -> None:
    assert errors(run("validate", ["äö", "abcd"], max_bytes=3)) == [
        ("too_large", "the input has 4 bytes; at most 3 are allowed"),
        ("too_large", "the input has 4 bytes; at most 3 are allowed"),
    ]


def test_normalize_text() -> None:
    values: list[Any] = ["  e\u0301a\u00a0\u2003b\r\n\tc \x85", "", "ﬁ Ａ", {"x": " y "}]
    assert texts(run("normalize_text", values)) == ["éa b c", "", "ﬁ Ａ", '{"x":" y "}']
    assert texts(run("normalize_text", values, form="NFKC", lower=True)) == ["éa b c", "", "fi a", '{"x":" y "}']
    assert texts(run("normalize_text", [" a  b\n"], collapse=False)) == ["a  b"]
    assert texts(run("normalize_text", [" a  b\n"], strip=False)) == [" a b "]


def test_truncate_text_counts_code_points() -> None:
    assert texts(run("truncate_text", ["häßlich", "ab", "😀😀😀😀"], chars=3)) == ["häß", "ab", "😀😀😀"]


def test_text_info() -> None:
    table = run("text_info", ["two\u00a0words", "", "  ", "😀", {"a": 1}])
    assert table.column("text_chars").to_pylist() == [9, 0, 2, 1, None]
    assert table.column("text_words").to_pylist() == [2, 0, 0, 1, None]


LANGUAGES: list[Any] = [
    "Guten Morgen, wie geht es dir heute?",
    {"text": "Guten Morgen, wie geht es dir heute?", "language": "xx"},
    "1234 !!",
    "こんにちは、\n世界の皆さん",
    {"a": 1},
]


def test_detect_language_uses_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fasttext", reason="pip install 'airflow-agentic[language]'")

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("the network was used")

    monkeypatch.setattr(socket, "socket", refuse)
    table = run("detect_language", LANGUAGES)
    assert table.column("language").to_pylist() == ["de", "xx", None, "ja", None]
    unsure = run("detect_language", LANGUAGES, min_score=1.0)
    assert unsure.column("language").to_pylist()[:2] == [None, "xx"]


def test_detect_language_by_script() -> None:
    table = run("detect_language", LANGUAGES, detector="script")
    assert table.column("language").to_pylist() == [None, "xx", None, "ja", None]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("日本語のテキスト", "ja"),
        ("中文文本", "zh"),
        ("안녕하세요", "ko"),
        ("Καλημέρα", "el"),
        ("สวัสดี", "th"),
        ("Привет", None),
        ("mostly Latin, α", None),
        ("…", None),
    ],
)
def test_only_scripts_of_one_language_settle_it(text: str, language: str | None) -> None:
    found = by_script(text)
    assert (found and found[0]) == language


def test_a_missing_detector_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_agentic.pipeline.steps import language

    monkeypatch.setattr(language, "find_spec", lambda name: None)
    language._fasttext.cache_clear()
    with pytest.raises(MissingExtraError) as caught:
        run("detect_language", ["text"])
    assert caught.value.extra == "language"
    assert run("detect_language", [b"no text to look at"]).column("language").to_pylist() == [None]


def encoded(kind: str, size: tuple[int, int] = (7, 5)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, kind)
    return buffer.getvalue()


def test_image_info_reads_headers(tmp_path: Path) -> None:
    png, jpeg = encoded("PNG"), encoded("JPEG", (20, 10))
    (tmp_path / "a.jpg").write_bytes(jpeg)
    (tmp_path / "unnamed").write_bytes(png)
    (tmp_path / "cut.png").write_bytes(png[:12])
    (tmp_path / "pixels-cut.png").write_bytes(png[:-20])
    (tmp_path / "sound.wav").write_bytes(b"RIFF")
    values: list[Any] = [png, "text", {"a": 1}, b"no image", png[:12]]
    names = ["a.jpg", "unnamed", "cut.png", "pixels-cut.png", "sound.wav", "missing.jpg"]
    table = run("image_info", [*values, *({"uri": str(tmp_path / name)} for name in names)])
    rows = table.select(["image_width", "image_height", "image_type", "image_bytes"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        (7, 5, "png", len(png)),
        *[(None, None, None, None)] * 4,
        (20, 10, "jpeg", len(jpeg)),
        (7, 5, "png", len(png)),
        (None, None, None, None),
        (7, 5, "png", len(png) - 20),
        *[(None, None, None, None)] * 2,
    ]
    found = errors(table)
    assert [error and error[0] for error in found] == [
        None, None, None, None, "bad_image", None, None, "bad_image", None, None, "bad_image",
    ]  # fmt: skip
    assert found[10] == (
        "bad_image",
        f"{tmp_path}/missing.jpg cannot be read (No such file or directory); check that it exists and may be read",
    )
    assert found[7] is not None
    assert found[7][1].startswith(f"the header of {tmp_path}/cut.png is no image's (")


def test_image_info_reads_a_store() -> None:
    system = fsspec.filesystem("memory")
    system.pipe("/pictures/a.png", encoded("PNG"))
    try:
        table = run("image_info", [{"uri": "memory://pictures/a.png"}, {"uri": "memory://pictures/none.png"}])
    finally:
        system.rm("/pictures", recursive=True)
    assert table.column("image_width").to_pylist() == [7, None]
    assert [error and error[0] for error in errors(table)] == [None, "bad_image"]


def test_a_header_of_too_many_pixels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    assert errors(run("image_info", [encoded("PNG", (5, 5)), encoded("PNG", (9, 9))])) == [
        None,
        ("bad_image", "the header of the bytes claims more than 40 pixels; give a smaller image"),
    ]


def test_image_info_without_pillow_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError) as caught:
        run("image_info", [b"x"])
    assert caught.value.extra == "image"
    assert run("image_info", ["only text"]).column("image_width").to_pylist() == [None]


def test_impute() -> None:
    table = run("impute", [{"a": None, "b": "ü"}, {"b": 1}, {"a": 5}, '{"a":null}'], values={"a": 0, "c": "x"})
    assert texts(table) == [
        '{"a":0,"b":"ü","c":"x"}',
        '{"b":1,"a":0,"c":"x"}',
        '{"a":5,"c":"x"}',
        '{"a":null}',
    ]


def test_scale() -> None:
    values: list[Any] = [{"a": 5, "b": 1}, {"a": None}, {"b": 2}, {"a": "5"}, {"a": True}, {"a": 1e308}]
    table = run("scale", values, mean={"a": 1}, scale={"a": 0.5})
    assert texts(table)[:4] == ['{"a":8.0,"b":1}', '{"a":null}', '{"b":2}', '{"a":"5"}']
    assert errors(table)[:5] == [
        None,
        None,
        None,
        ("bad_field", "the field 'a' is '5', not a number; it cannot be scaled"),
        ("bad_field", "the field 'a' is True, not a number; it cannot be scaled"),
    ]
    last = errors(table)[5]
    assert last is not None
    assert last[0] == "bad_field"


def test_a_handler_adds_its_columns() -> None:
    table = run("handler", ["a", "b"], path="stepsample:add_length", adds={"length": "int"}, options={"factor": 3})
    assert table.column("length").to_pylist() == [3, 3]


def test_a_handler_outside_the_list_is_refused() -> None:
    step = parse_step("handler", {"path": "stepsample:same"})
    with pytest.raises(HandlerNotAllowedError):
        step.apply(inline_records(["a"]))


@pytest.mark.parametrize(
    ("function", "adds", "problem"),
    [
        ("nothing", {}, "returned NoneType, not a pyarrow.Table"),
        ("shorter", {}, "returned 1 rows for 2"),
        ("reverse", {}, "changed the record_ids or their order"),
        ("forgive", {}, "changed the error of a record that had one"),
        ("same", {"n": "double"}, "returned the column 'n' as nothing, not double"),
        ("add_length", {"length": "string"}, "returned the column 'length' as int64, not string"),
        ("add_length", {}, "returned the column 'length' as int64, not nothing"),
    ],
)
def test_a_handler_is_held_to_the_contract(function: str, adds: dict[str, str], problem: str) -> None:
    with pytest.raises(SpecError) as caught:
        run("handler", ["a", 3], path=f"stepsample:{function}", adds=adds)
    assert caught.value.problems[0].message == f"the handler 'stepsample:{function}' {problem}"
