"""Records and results as tensors of the Open Inference Protocol: how our own model server is asked, and answers.

A model whose card's ``input`` is not ``tensor`` is served for records: its server encodes them as the card says. It has
one input tensor, ``BYTES`` of shape ``[rows]``, named as the card's ``input``:

=================  ==========================================
text               the text, UTF-8
image, bytes       the content of the file
tabular, json      JSON
=================  ==========================================

and may be given a second one, ``features``: a JSON object a row with what else is known of the record. It answers by
the card's ``output``; every tensor has one row a record:

=========  =================================================================================
classes    ``label`` BYTES; ``score`` FP64, NaN where there is none; ``scores`` BYTES, JSON ``{label: p}`` (a ``p``
           that is not finite: null), empty where there are none
value      ``value`` FP64
embedding  ``embedding`` FP32, ``[rows, length]``
fields     ``output`` BYTES, JSON
=========  =================================================================================

Which records have no answer says ``error``, BYTES: JSON ``{code, message, retryable}``, else empty. It is given only to
a request that names it; any other request fails where a record has no answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from airflow_agentic.exceptions import ProtocolError, RecordError
from airflow_agentic.openinference.datatypes import DTYPES
from airflow_agentic.openinference.tensors import Tensor, TensorSpec
from airflow_agentic.runtime import inputs
from airflow_agentic.runtime.decode import json_lists
from airflow_agentic.runtime.results import results
from airflow_agentic.tables import ERROR, INPUT, RECORD, REQUIREMENTS, RESULT, SCORES, error

if TYPE_CHECKING:
    from airflow_agentic.runtime.base import Arrays
    from airflow_agentic.spec.model import ModelCard

FEATURES: Final = "features"
ERRORS: Final = "error"
ERROR_SPEC: Final = TensorSpec(ERRORS, "BYTES", (-1,))

_OUTPUTS: Final = {
    "classes": (
        TensorSpec("label", "BYTES", (-1,)),
        TensorSpec("score", "FP64", (-1,)),
        TensorSpec("scores", "BYTES", (-1,)),
    ),
    "value": (TensorSpec("value", "FP64", (-1,)),),
    "fields": (TensorSpec("output", "BYTES", (-1,)),),
}
_BASE: Final = frozenset({"record_id", "position", "input", "error"})
_ANSWER: Final = frozenset({"label", "score", "scores", "value", "output", "embedding"})


def input_specs(card: ModelCard) -> tuple[TensorSpec, ...]:
    """The input that a request must have; ``features`` may stand beside it."""
    return (TensorSpec(card.input, "BYTES", (-1,)),)


def output_specs(card: ModelCard) -> tuple[TensorSpec, ...]:
    """What the model answers, without ``error``."""
    if card.output.embedding is not None:
        return (TensorSpec("embedding", "FP32", (-1, card.output.embedding)),)
    return _OUTPUTS[next(kind for kind in _OUTPUTS if getattr(card.output, kind) is not None)]


def to_records(card: ModelCard, given: Arrays) -> pa.Table:
    """The records that a request's tensors are: ``tables.RECORD`` and the feature columns.

    :raises ProtocolError: a text is no UTF-8, or features are no JSON objects.
    """
    values = _rows(given, card.input)
    count = len(values)
    kind = inputs.KINDS[card.input][0]
    as_text = kind in {"text", "struct", "tensor"}
    data = [_text(value, card.input, row) for row, value in enumerate(values)] if as_text else values
    fields = {"kind": [kind] * count, "text" if as_text else "data": data}
    columns: dict[str, Any] = {
        "record_id": [str(row) for row in range(count)],
        "position": np.arange(count),
        "input": pa.StructArray.from_arrays(
            [pa.array(fields.get(one.name, [None] * count), one.type) for one in INPUT], fields=list(INPUT)
        ),
    }
    texts = _rows(given, FEATURES) if FEATURES in given else [b"{}"] * count
    if len(texts) != count:
        raise ProtocolError(f"{FEATURES!r} has {len(texts)} rows, {card.input!r} has {count}; give one each")
    features = _features(texts)
    for name, type_ in REQUIREMENTS.items():
        columns[name] = _feature(name, features.pop(name, [None] * count), type_)
    arrays = [pa.array(columns.get(one.name, [None] * count), one.type) for one in RECORD]
    table = pa.Table.from_arrays(arrays, schema=RECORD)
    for name, column in features.items():
        table = table.append_column(name, _feature(name, column))
    return table


def _rows(given: Arrays, name: str) -> list[bytes]:
    array = given[name]
    if array.ndim != 1 or array.dtype.kind != "O":
        raise ProtocolError(f"{name!r} must be BYTES of shape [rows], found {array.dtype} of shape {list(array.shape)}")
    found: list[bytes] = array.tolist()
    return found


def _feature(name: str, values: list[Any], type_: pa.DataType | None = None) -> pa.Array:
    try:
        return pa.array(values, type_)
    except (pa.ArrowException, OverflowError) as problem:
        wanted = "of one type" if type_ is None else f"a {type_}"
        raise ProtocolError(f"{FEATURES!r}: {name!r} must be {wanted} in all rows: {problem}") from None


def _text(value: bytes, name: str, row: int) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as problem:
        raise ProtocolError(f"{name!r}: element {row} is no UTF-8: {problem}") from None


def _features(texts: list[bytes]) -> dict[str, list[Any]]:
    try:
        rows = [orjson.loads(text) for text in texts]
    except orjson.JSONDecodeError as problem:
        raise ProtocolError(f"{FEATURES!r}: an element is not JSON: {problem}") from None
    if not all(isinstance(row, dict) for row in rows):
        raise ProtocolError(f"{FEATURES!r}: each element must be a JSON object")
    names = dict.fromkeys(name for row in rows for name in row if name not in _BASE)
    return {name: [row.get(name) for row in rows] for name in names}


def from_records(card: ModelCard, records: pa.Table) -> tuple[list[Tensor], dict[int, RecordError]]:
    """Records as a request's tensors, and the errors of those that cannot be one (``wrong_input``, a file not read).

    The tensors hold the rows without an error, in order. Features go only to handlers, which alone can use them.
    """
    values, errors = inputs.payloads(records, card.input)
    reads_files = "uri" in inputs.KINDS[card.input]
    held: list[bytes] = []
    rows = []
    for row, value in enumerate(values):
        if row in errors:
            continue
        try:
            held.append(inputs.read(value) if reads_files else value.encode())
            rows.append(row)
        except RecordError as problem:
            errors[row] = problem
    tensors = [Tensor(card.input, "BYTES", _objects(held))]
    if card.runtime.framework == "python":
        known = [name for name in records.column_names if name not in _BASE and name != "row"]
        objects = [
            {name: value for name, value in record.items() if value is not None or name not in REQUIREMENTS}
            for record in records.select(known).take(pa.array(rows, pa.int64())).to_pylist()
        ]
        if any(objects):
            tensors.append(Tensor(FEATURES, "BYTES", _objects([orjson.dumps(one) for one in objects])))
    return tensors, errors


def from_record(card: ModelCard, record: Mapping[str, Any]) -> list[Tensor]:
    """One record in plain values as a request's tensors, as :func:`from_records` gives them.

    :param record: with ``row``.
    :raises RecordError: it cannot be one.
    """
    given = record["input"]
    kind = given["kind"]
    value = given[inputs.FIELDS[kind]] if kind in inputs.KINDS[card.input] else None
    if value is None:
        raise inputs.wrong(kind, card.input)
    data = inputs.read(value) if "uri" in inputs.KINDS[card.input] else value.encode()
    tensors = [Tensor(card.input, "BYTES", _objects([data]))]
    if card.runtime.framework == "python":
        known = {name: value for name, value in record.items() if name not in _BASE and name != "row"}
        features = {name: value for name, value in known.items() if value is not None or name not in REQUIREMENTS}
        if features:
            tensors.append(Tensor(FEATURES, "BYTES", _objects([orjson.dumps(features)])))
    return tensors


def from_results(card: ModelCard, found: pa.Table) -> dict[str, npt.NDArray[Any]]:
    """A model's results (``tables.RESULT``) as the arrays of a response, ``error`` among them."""
    columns = {name: found.column(name).to_pylist() for name in found.column_names}
    failed = [one is not None for one in columns["error"]]
    texts = [b"" if one is None else orjson.dumps(one) for one in columns["error"]]
    return {**_answers(card, columns, failed), ERRORS: _objects(texts)}


def _answers(card: ModelCard, columns: Mapping[str, list[Any]], failed: list[bool]) -> dict[str, npt.NDArray[Any]]:
    output = card.output
    if output.value is not None:
        return {"value": _floats(columns["value"])}
    if output.embedding is not None:
        none = [0.0] * output.embedding
        vectors = [none if bad else orjson.loads(text) for bad, text in zip(failed, columns["output"], strict=True)]
        return {"embedding": np.array(vectors, np.float32).reshape(len(failed), output.embedding)}
    if output.fields is not None:
        return {"output": _objects([(text or "").encode() for text in columns["output"]])}
    scores = [
        b"" if one is None else orjson.dumps({pair["label"]: pair["p"] for pair in one}) for one in columns["scores"]
    ]
    labels = [(label or "").encode() for label in columns["label"]]
    return {"label": _objects(labels), "score": _floats(columns["score"]), "scores": _objects(scores)}


def to_results(card: ModelCard, given: Arrays, rows: int) -> pa.Table:
    """A response's arrays as ``tables.RESULT``, one row a record that was sent.

    :raises ProtocolError: an output that the card promises is missing, or has another number of rows.
    """
    _complete(card, given, rows)
    try:
        return _results(given, rows)
    except (ValueError, TypeError, KeyError, AttributeError, pa.ArrowException) as problem:
        raise ProtocolError(
            f"the server of model {card.name!r} gave an answer that cannot be read: {type(problem).__name__}: {problem}"
        ) from None


def _results(given: Arrays, rows: int) -> pa.Table:
    errors = [orjson.loads(text) if text else None for text in given[ERRORS].tolist()]
    bad = np.array([one is not None for one in errors], bool)
    columns: dict[str, Any] = {"error": pa.array([_error(one) for one in errors], ERROR)}
    for name in _ANSWER & given.keys():
        column = "output" if name == "embedding" else name
        columns[column] = _without(_column(name, given[name]), bad)
    return results(rows, **columns)


def to_result(card: ModelCard, given: Arrays) -> dict[str, Any]:
    """The one row of :func:`to_results`, without Arrow.

    :raises ProtocolError: an output that the card promises is missing, or has another number of rows.
    :raises ValueError: and others, it cannot be read.
    """
    _complete(card, given, 1)
    found: dict[str, Any] = dict.fromkeys(RESULT.names)
    failed = given[ERRORS].item(0)
    if failed:
        return {**found, "error": _error(orjson.loads(failed))}
    for name in _ANSWER & given.keys():
        array = given[name]
        if name == "embedding":
            found["output"] = json_lists(array.astype(np.float32, copy=False))[0].as_py()
        elif array.dtype.kind == "f":
            number = float(array.item(0))
            found[name] = None if math.isnan(number) else number
        else:
            text = array.item(0)
            found[name] = _pairs(text) if name == "scores" else text.decode()
    return found


def _complete(card: ModelCard, given: Arrays, rows: int) -> None:
    for spec in (*output_specs(card), ERROR_SPEC):
        array = given.get(spec.name)
        wanted = (rows, *spec.shape[1:])
        if array is None or array.dtype != DTYPES[spec.datatype] or array.shape != wanted:
            found = "none" if array is None else f"{array.dtype} of shape {list(array.shape)}"
            raise ProtocolError(
                f"the server of model {card.name!r} must give {spec.name!r} as {spec.datatype} of shape "
                f"{list(wanted)}, found {found}"
            )


def _pairs(text: bytes) -> list[dict[str, Any]] | None:
    if not text:
        return None
    return [{"label": label, "p": None if p is None else float(p)} for label, p in orjson.loads(text).items()]


def _column(name: str, array: npt.NDArray[Any]) -> pa.Array:
    if name == "embedding":
        return json_lists(array)
    if name == "scores":
        return pa.array([_pairs(text) for text in array.tolist()], SCORES)
    if array.dtype.kind == "f":
        return pa.array(array, pa.float64(), mask=np.isnan(array))
    return pa.array([text.decode() for text in array.tolist()], pa.string())


def _without(column: pa.Array, bad: npt.NDArray[np.bool_]) -> pa.Array:
    """``column`` with null where the record has no answer."""
    return column.take(pa.array(np.arange(len(column)), mask=bad)) if bad.any() else column


def _error(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return error(str(found["code"]), str(found["message"]), retryable=bool(found["retryable"]))


def _floats(values: list[float | None]) -> npt.NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _objects(values: list[bytes]) -> npt.NDArray[Any]:
    found = np.empty(len(values), object)
    found[:] = values
    return found
