"""What a user's row means: rows of any input as tables of ``tables.RECORD`` and feature columns.

A row is text, bytes, a file, or an object. An object may give

* ``record_id`` (or ``id``), ``task``, ``language``, ``max_latency_ms``, ``max_cost``, ``min_quality``;
* its input as one of ``text``, ``uri``, ``bytes`` (base64 where it is text) or ``input`` (text; an object is a struct,
  a list of numbers a tensor, bytes are bytes);
* other scalar fields: feature columns; without any input they *are* the input, as a struct, and no features.

A row that cannot be used becomes a record with an ``error``; what it named validly (its id) stays.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from airflow_agentic import tables
from airflow_agentic.exceptions import InputError, RecordError
from airflow_agentic.pipeline.features import FeatureColumns, Scalar, describe, scalar, unicode_text
from airflow_agentic.pipeline.identity import SeenIds, derive
from airflow_agentic.pipeline.plain import PlainRecords
from airflow_agentic.pipeline.uris import AllowedUris, resolve

CHUNK_ROWS: Final = 8192
CHUNK_BYTES: Final = 16 * 2**20

MAX_INPUT: Final = 64 * 2**20
"""Bytes of what a record itself holds. It is held whole, more than once: what is larger is named by ``uri``."""
MAX_ID: Final = 1024
"""Characters of a record's id: it stands in every table, and in messages."""
INPUT_FIELDS: Final = ("text", "uri", "bytes", "input")
TEXT_FIELDS: Final = frozenset({"record_id", "id", "task", "language", "text", "uri", "bytes"})
"""Fields that are text whatever they look like: the id ``007`` is no number."""
_IS_NUMBER: Final = {name: kind == pa.float64() for name, kind in tables.REQUIREMENTS.items()}
"""The fields of a record's requirements, and whether each is a number."""
_NO_INPUT: Final[dict[str, Any]] = dict.fromkeys(field.name for field in tables.INPUT)
_RESERVED: Final = frozenset({"position", "error", "row"})


@dataclass(frozen=True)
class FileRef:
    """A file that is a record's input, named by who starts the run, not by the data: ``allowed_uris`` is not asked."""

    uri: str
    """Absolute."""
    name: str
    """What its record's id is derived from: the path below the input, the same on every machine."""


class Row(NamedTuple):
    """One row of an input, as it was read."""

    value: object
    where: str
    """``file:line``, for messages."""
    folder: str | None
    """Where its relative URIs start."""
    size: int
    """Bytes, about; chunks are cut by it."""
    error: str | RecordError | None = None
    """Why it could not be read; ``value`` is then what is left of it. A text is a ``bad_record``."""


@dataclass(slots=True)
class _Draft:
    where: str
    record_id: str | None = None
    content: bytes = b""
    input: dict[str, Any] | None = None
    requirements: dict[str, Scalar] = field(default_factory=dict)
    features: dict[str, Scalar] = field(default_factory=dict)
    error: dict[str, Any] | None = None

    def fail(self, error: RecordError) -> None:
        self.error = tables.error(error.code, f"{self.where}: {error}")


@dataclass(frozen=True, kw_only=True)
class RowRules:
    """How the rows of one input are read."""

    allowed: AllowedUris
    columns: Mapping[str, str] = field(default_factory=dict)
    """A user's column → the field it means."""
    task: str | None = None
    """Of records that name none."""
    features: Mapping[str, pa.DataType] = field(default_factory=dict)
    """Feature columns that exist in every case, and their types."""
    hints: Mapping[str, pa.DataType] = field(default_factory=dict)
    """Types of feature columns that the input itself states; it may fill up while the first rows are read."""


def normalise(
    rows: Iterable[Row],
    rules: RowRules,
    *,
    chunk_rows: int = CHUNK_ROWS,
    chunk_bytes: int = CHUNK_BYTES,
    start: int = 0,
) -> Iterator[pa.Table]:
    """Tables of ``tables.RECORD`` and feature columns, all of one schema; memory is bounded by a chunk.

    :param start: the first row's position in the whole input.
    :raises InputError: a record id stands twice.
    """
    features, seen = FeatureColumns(rules.features, rules.hints), SeenIds()
    for chunk in _chunks(rows, chunk_rows, chunk_bytes):
        drafts = [_draft(row, rules) for row in chunk]
        types = features.decide(draft.features for draft in drafts if draft.error is None)
        for draft in drafts:
            _fit(draft, features)
        ids = [draft.record_id or derive(draft.content, start + index) for index, draft in enumerate(drafts)]
        twice = seen.add(ids, start)
        if twice is not None:
            raise InputError(_twice(ids, drafts, start, *twice))
        yield _table(ids, drafts, start, types)
        start += len(drafts)


def normalise_one(row: Row, rules: RowRules) -> PlainRecords:
    """What :func:`normalise` makes of one row, in plain values."""
    features = FeatureColumns(rules.features, rules.hints)
    draft = _draft(row, rules)
    types = features.decide([draft.features] if draft.error is None else [])
    _fit(draft, features)
    record = {
        "record_id": draft.record_id or derive(draft.content, 0),
        "position": 0,
        "input": None if draft.input is None else {**_NO_INPUT, **draft.input},
        **{name: draft.requirements.get(name) for name in tables.REQUIREMENTS},
        "error": draft.error,
        **{name: draft.features.get(name) for name in types},
    }
    return PlainRecords([record], _schema(types))


def _schema(types: Mapping[str, pa.DataType]) -> pa.Schema:
    return pa.schema([*tables.RECORD, *types.items()], metadata=tables.RECORD.metadata) if types else tables.RECORD


def _chunks(rows: Iterable[Row], most_rows: int, most_bytes: int) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    size = 0
    for row in rows:
        if chunk and (len(chunk) >= most_rows or size + row.size > most_bytes):
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += row.size
    if chunk:
        yield chunk


def _twice(ids: Sequence[str], drafts: Sequence[_Draft], start: int, first: int, second: int) -> str:
    def at(position: int) -> str:
        return f"position {position}" + (f" ({drafts[position - start].where})" if position >= start else "")

    return (
        f"the record_id {ids[second - start]!r} stands twice, at {at(first)} and at {at(second)}; "
        "give every record an id of its own, or none"
    )


def _fit(draft: _Draft, features: FeatureColumns) -> None:
    if draft.error is not None:
        draft.features = {}
        return
    try:
        draft.features = features.fit(draft.features)
    except RecordError as error:
        draft.fail(error)
        draft.features = {}


def _table(ids: Sequence[str], drafts: Sequence[_Draft], start: int, types: Mapping[str, pa.DataType]) -> pa.Table:
    columns: dict[str, Any] = {
        "record_id": pa.array(ids, pa.string()),
        "position": pa.array(np.arange(start, start + len(drafts), dtype=np.int64)),
        "input": pa.array([draft.input for draft in drafts], tables.INPUT),
        **{
            name: pa.array([draft.requirements.get(name) for draft in drafts], kind)
            for name, kind in tables.REQUIREMENTS.items()
        },
        "error": pa.array([draft.error for draft in drafts], tables.ERROR),
        **{name: pa.array([draft.features.get(name) for draft in drafts], kind) for name, kind in types.items()},
    }
    schema = _schema(types)
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def _draft(row: Row, rules: RowRules) -> _Draft:
    draft = _Draft(row.where, requirements={} if rules.task is None else {"task": rules.task})
    try:
        if isinstance(row.value, Mapping):
            _read_fields(draft, _renamed(row.value, rules.columns), row, rules)
        elif row.error is None:
            _set_input(draft, *_whole(row.value))
        if row.error is not None:
            raise row.error if isinstance(row.error, RecordError) else RecordError("bad_record", row.error)
    except RecordError as error:
        draft.fail(error)
        draft.content = _shown(row.value)
    return draft


def too_large(size: int) -> str:
    """What is wrong with a record that holds ``size`` bytes."""
    return f"the record holds {size:,} bytes; at most {MAX_INPUT:,} are taken: name large inputs by uri"


def _shown(value: object) -> bytes:
    """What identifies a row that cannot be used."""
    try:
        return repr(value).encode("utf-8", "backslashreplace")
    except RecursionError:
        return describe(value).encode()


def _whole(value: object) -> tuple[str, str | bytes, bytes]:
    """Kind, content and what identifies it, of a row that is no object."""
    if isinstance(value, str):
        return "text", unicode_text("text", value), value.encode()
    if isinstance(value, bytes):
        return "bytes", value, value
    if isinstance(value, FileRef):
        return "uri", value.uri, value.name.encode("utf-8", "surrogateescape")
    raise RecordError("bad_record", f"a record is text or an object, found {describe(value)}")


def _renamed(value: Mapping[Any, object], columns: Mapping[str, str]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise RecordError("bad_record", f"a field's name is text, found {describe(key)} ({key!r})")
        name = columns.get(key, key)
        if name in fields:
            raise RecordError("bad_record", f"the field {name!r} is given twice, by {key!r} too; see columns")
        fields[name] = item
    return fields


def _read_fields(draft: _Draft, fields: dict[str, object], row: Row, rules: RowRules) -> None:
    draft.record_id = _record_id(fields)
    for name in [name for name in _IS_NUMBER if name in fields]:
        value = fields.pop(name)
        if value is not None:
            draft.requirements[name] = _requirement(name, value, number=_IS_NUMBER[name])
    given = {name: value for name in INPUT_FIELDS if (value := fields.pop(name, None)) is not None}
    if row.error is not None:
        return
    if len(given) > 1:
        raise RecordError("bad_record", f"the record gives {' and '.join(map(repr, given))}; keep one of them")
    rest = {unicode_text("name", name): scalar(name, value) for name, value in fields.items()}
    if not given:
        if not rest:
            raise RecordError("bad_record", "the record has no input; give one of text, uri, bytes, input, or fields")
        _set_input(draft, *_encoded("struct", rest))
        return
    for name in sorted(_RESERVED & rest.keys()):
        raise RecordError(
            "bad_record", f"the field {name!r} is a column of every record; rename yours with columns: {{{name}: …}}"
        )
    ((name, value),) = given.items()
    _set_input(draft, *_input(name, value, row, rules))
    draft.features = rest


def _record_id(fields: dict[str, object]) -> str | None:
    values = [value for name in ("record_id", "id") if (value := fields.pop(name, None)) is not None]
    if not values:
        return None
    if len(values) > 1:
        raise RecordError("bad_record", "the record gives 'record_id' and 'id'; keep one of them")
    value = values[0].item() if isinstance(values[0], np.generic) else values[0]
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise RecordError("bad_record", f"a record_id is text or a whole number, found {value!r}")
    if len(str(value)) > MAX_ID:
        raise RecordError("bad_record", f"a record_id has at most {MAX_ID:,} characters, found {len(str(value)):,}")
    return unicode_text("record_id", str(value))


def _requirement(name: str, value: object, *, number: bool) -> Scalar:
    if not number:
        if isinstance(value, str):
            return unicode_text(name, value)
        raise RecordError("bad_record", f"the field {name!r} is text, found {describe(value)}")
    value = scalar(name, value)
    if value is None:
        return None
    if isinstance(value, bool | str) or value < 0:
        raise RecordError("bad_record", f"the field {name!r} is a number from 0, found {value!r}")
    return float(value)


def _input(name: str, value: object, row: Row, rules: RowRules) -> tuple[str, str | bytes, bytes]:
    if name == "input":
        if isinstance(value, Mapping):
            return _encoded("struct", value)
        if isinstance(value, list | tuple | np.ndarray):
            tensor = value.tolist() if isinstance(value, np.ndarray) else value
            _shape(tensor)
            return _encoded("tensor", tensor)
    if isinstance(value, bytes) and name in {"input", "bytes"}:
        return "bytes", value, value
    if not isinstance(value, str):
        raise RecordError("bad_record", f"the field {name!r} is text, found {describe(value)}")
    unicode_text(name, value)
    if name == "uri":
        return "uri", rules.allowed.check(resolve(value, row.folder)), value.encode()
    if name == "bytes":
        try:
            data = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise RecordError("bad_record", f"the field 'bytes' is not base64 ({error})") from error
        return "bytes", data, data
    return "text", value, value.encode()


def _encoded(kind: str, value: object) -> tuple[str, str, bytes]:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return kind, text, text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordError("bad_record", f"the {kind} cannot be written as JSON ({error})") from error


def _shape(value: object) -> tuple[int, ...]:
    """The shape of nested lists of finite numbers.

    :raises RecordError: ragged, or something else inside.
    """
    if isinstance(value, list | tuple):
        try:
            shapes = {_shape(item) for item in value}
        except RecursionError as error:
            raise RecordError("bad_record", "the tensor under 'input' is nested too deeply") from error
        if len(shapes) > 1:
            raise RecordError("bad_record", "the tensor under 'input' is ragged; its rows must be of one length")
        return (len(value), *(shapes.pop() if shapes else ()))
    number = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    if isinstance(value, bool) or not number:
        raise RecordError(
            "bad_record", f"the tensor under 'input' holds {describe(value)} ({value!r}), not a finite number"
        )
    return ()


def _set_input(draft: _Draft, kind: str, content: str | bytes, identity: bytes) -> None:
    if len(identity) > MAX_INPUT:
        raise RecordError("bad_record", too_large(len(identity)))
    slot = {"bytes": "data", "uri": "uri"}.get(kind, "text")
    draft.input = {"kind": kind, slot: content}
    draft.content = kind.encode() + b"\x00" + identity
