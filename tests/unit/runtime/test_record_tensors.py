"""Records as tensors and results as tensors: what comes back is what the local predictor gives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_agentic.exceptions import ProtocolError
from airflow_agentic.openinference.tensors import TensorSpec
from airflow_agentic.runtime.record_tensors import (
    ERRORS,
    FEATURES,
    from_records,
    from_results,
    input_specs,
    output_specs,
    to_records,
    to_results,
)
from airflow_agentic.runtime.results import results
from airflow_agentic.spec.load import model_from
from airflow_agentic.spec.model import ModelCard
from airflow_agentic.tables import RECORD, SCORES, error, table

OUTPUTS: dict[str, dict[str, Any]] = {
    "classes": {"classes": ["cat", "dog", ""]},
    "value": {"value": "price"},
    "embedding": {"embedding": 3},
    "fields": {"fields": {"a": "string"}},
}
text = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
numbers = st.floats(allow_nan=False)
finite = st.floats(allow_nan=False, allow_infinity=False)


def card(output: str = "classes", kind: str = "text", framework: str = "python") -> ModelCard:
    runtime = (
        {"framework": "python", "handler": "a.b:c"}
        if framework == "python"
        else {"framework": framework, "artifact": "m"}
    )
    if kind == "tabular" and framework != "python":
        runtime["tabular"] = {"columns": ["a"]}
    return model_from(
        {"name": "m", "version": "1", "task": "t", "input": kind, "output": OUTPUTS[output], "runtime": runtime}
    )


def objects(*values: Any) -> np.ndarray[Any, Any]:
    found = np.empty(len(values), object)
    found[:] = list(values)
    return found


# results


def rows_of(output: str) -> st.SearchStrategy[dict[str, Any]]:
    if output == "classes":
        pairs = st.lists(
            st.fixed_dictionaries({"label": text, "p": finite}),
            min_size=1,
            max_size=3,
            unique_by=lambda pair: pair["label"],
        )
        return st.fixed_dictionaries({"label": text, "score": st.none() | numbers, "scores": st.none() | pairs})
    if output == "value":
        return st.fixed_dictionaries({"value": numbers})
    if output == "embedding":
        vector = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3)
        return st.fixed_dictionaries({"output": vector.map(lambda values: orjson.dumps(values).decode())})
    return st.fixed_dictionaries({"output": text.map(lambda value: orjson.dumps({"a": value}).decode())})


bad = st.builds(lambda message, again: {"error": error("model_error", message, retryable=again)}, text, st.booleans())


@pytest.mark.parametrize("output", OUTPUTS)
@given(data=st.data())
def test_results_come_back_as_they_were(output: str, data: st.DataObject) -> None:
    rows = data.draw(st.lists(rows_of(output) | bad, max_size=4))
    columns = {name: [row.get(name) for row in rows] for name in ("label", "score", "value", "output", "error")}
    columns["scores"] = pa.array([row.get("scores") for row in rows], SCORES)
    given_results = results(len(rows), **columns)
    found = to_results(card(output), from_results(card(output), given_results), len(rows))
    assert found.schema.equals(given_results.schema)
    for mine, its in zip(found.to_pylist(), given_results.to_pylist(), strict=True):
        if output == "embedding" and its["output"]:
            mine["output"], its["output"] = (
                np.array(orjson.loads(one["output"]), np.float32).tolist() for one in (mine, its)
            )
        assert mine == its


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_outputs_are_those_that_metadata_promises(output: str) -> None:
    row = {"label": ["a"], "score": [0.5], "value": [0.5], "output": ['{"a":"b"}' if output == "fields" else "[1,2,3]"]}
    arrays = from_results(card(output), results(1, **row))
    assert set(arrays) == {one.name for one in output_specs(card(output))} | {ERRORS}
    for spec in output_specs(card(output)):
        assert spec.fits(arrays[spec.name].shape)
    assert input_specs(card(output)) == (TensorSpec("text", "BYTES", (-1,)),)


def answer(**change: Any) -> dict[str, Any]:
    arrays = {"label": objects(b"a"), "score": np.array([0.5]), "scores": objects(b'{"a":0.5}'), "error": objects(b"")}
    return {name: array for name, array in (arrays | change).items() if array is not None}


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"error": None}, "must give 'error' as BYTES of shape [1], found none"),
        ({"label": objects(b"a", b"b")}, "must give 'label' as BYTES of shape [1], found object of shape [2]"),
        ({"score": np.zeros(1, "f4")}, "must give 'score' as FP64 of shape [1], found float32 of shape [1]"),
        ({"scores": np.zeros(())}, "must give 'scores' as BYTES of shape [1], found float64 of shape []"),
        (
            {"error": objects(b"{}")},
            "gave an answer that cannot be read: KeyError: 'code'",
        ),
        (
            {"error": objects(b"5")},
            "gave an answer that cannot be read: TypeError: 'int' object is not subscriptable",
        ),
        (
            {"scores": objects(b"[]")},
            "gave an answer that cannot be read: AttributeError: 'list' object has no attribute 'items'",
        ),
        (
            {"label": objects(b"\xff")},
            "gave an answer that cannot be read: UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position "
            "0: invalid start byte",
        ),
    ],
)
def test_an_answer_of_another_server_that_cannot_be_read(change: dict[str, Any], wanted: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        to_results(card(), answer(**change), 1)
    assert str(caught.value) == f"the server of model 'm' {wanted}"


# records


def record(kind: str, value: Any, **columns: Any) -> dict[str, Any]:
    field = {"bytes": "data", "uri": "uri"}.get(kind, "text")
    return {"record_id": "r", "position": 0, "input": {"kind": kind, field: value}, **columns}


def through(model: ModelCard, records: pa.Table) -> tuple[pa.Table, dict[int, Any]]:
    tensors, errors = from_records(model, records)
    return to_records(model, {one.name: one.array for one in tensors}), errors


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("text", [("text", ""), ("text", "é\0😀")]),
        ("tabular", [("struct", '{"a": 1}'), ("struct", "no JSON")]),
        ("json", [("struct", '{"a": 1}'), ("struct", "[]")]),
        ("tensor", [("tensor", "[[1, 2]]")]),
        ("bytes", [("bytes", b""), ("bytes", b"\0\xff")]),
        ("image", [("bytes", b"\x89PNG")]),
    ],
)
def test_records_come_back_as_they_were(kind: str, inputs: list[tuple[str, Any]]) -> None:
    given_records = table([record(*one) for one in inputs], RECORD)
    found, errors = through(card(kind=kind), given_records)
    assert errors == {}
    assert found.column("input").to_pylist() == given_records.column("input").to_pylist()
    assert found.column("position").to_pylist() == list(range(len(inputs)))
    assert found.schema.equals(RECORD)


def test_features_and_requirements_come_with_them() -> None:
    rows = [record("text", "a", task="t", max_cost=1.5), record("text", "b", language="en"), record("text", "c")]
    given_records = table(rows, RECORD)
    features = {"region": ["eu", None, "é"], "size": [1, 2, 3], "share": [1.0, 0.1, None], "new": [True, None, False]}
    for name, values in {**features, "nothing": [None] * 3}.items():
        given_records = given_records.append_column(name, pa.array(values))
    found, _ = through(card(), given_records)
    names = ["input", "task", "language", "max_cost", "min_quality", *features, "nothing"]
    assert found.select(names).to_pylist() == given_records.select(names).to_pylist()
    assert found.column("share").type == pa.float64()


def test_only_handlers_are_sent_features() -> None:
    given_records = table([record("text", "a", task="t")], RECORD)
    assert [one.name for one in from_records(card(), given_records)[0]] == ["text", FEATURES]
    assert [one.name for one in from_records(card(framework="transformers"), given_records)[0]] == ["text"]


def test_records_that_cannot_be_sent_are_errors(tmp_path: Any) -> None:
    (tmp_path / "file").write_bytes(b"content")
    uris = [f"file://{tmp_path}/file", f"file://{tmp_path}/gone"]
    given_records = table([record("text", "a"), *(record("uri", uri) for uri in uris), record("bytes", b"b")], RECORD)
    tensors, errors = from_records(card(kind="bytes"), given_records)
    assert tensors[0].array.tolist() == [b"content", b"b"]
    assert {row: problem.code for row, problem in errors.items()} == {0: "wrong_input", 2: "unreadable"}


@pytest.mark.parametrize(
    ("given_arrays", "wanted"),
    [
        (
            {"text": objects(b"a", b"\xff")},
            "'text': element 1 is no UTF-8: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        ),
        ({"text": np.zeros(2)}, "'text' must be BYTES of shape [rows], found float64 of shape [2]"),
        ({"text": objects(b"a").reshape(1, 1)}, "'text' must be BYTES of shape [rows], found object of shape [1, 1]"),
        ({FEATURES: objects(b"{}", b"{}")}, "'features' has 2 rows, 'text' has 1; give one each"),
        ({FEATURES: objects(b"[]")}, "'features': each element must be a JSON object"),
        (
            {FEATURES: objects(b"{")},
            "'features': an element is not JSON: unexpected end of data: line 1 column 2 (char 1)",
        ),
        (
            {FEATURES: objects(b'{"max_cost": "much"}')},
            "'features': 'max_cost' must be a double in all rows: Could not convert 'much' with type str: "
            "tried to convert to double",
        ),
        (
            {"text": objects(b"a", b"b"), FEATURES: objects(b'{"x": 1}', b'{"x": "y"}')},
            "'features': 'x' must be of one type in all rows: Could not convert 'y' with type str: "
            "tried to convert to int64",
        ),
        (
            {FEATURES: objects(b'{"x": 18446744073709551615}')},
            "'features': 'x' must be of one type in all rows: Python int too large to convert to C long",
        ),
    ],
)
def test_requests_that_are_no_records(given_arrays: dict[str, Any], wanted: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        to_records(card(), {"text": objects(b"a"), **given_arrays})
    assert str(caught.value) == wanted


def test_features_cannot_be_what_a_record_is() -> None:
    found = to_records(
        card(), {"text": objects(b"a"), FEATURES: objects(b'{"record_id": "x", "error": {}, "input": 5}')}
    )
    assert found.column_names == RECORD.names
    assert found.column("record_id").to_pylist() == ["0"]


def test_a_score_that_is_none_is_nan_on_the_wire() -> None:
    arrays = from_results(card(), results(1, label=["a"]))
    assert math.isnan(arrays["score"][0])
    assert to_results(card(), arrays, 1).column("score").to_pylist() == [None]
