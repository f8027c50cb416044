"""What ``POST /predict`` takes, read by hand: no model is built of a request, and every wrong field is named at once.

::

    {"task": "text-analysis", "input": "This is a test sentence."}
    {"workflow": "mixed-inbox", "task": "image-classification", "uri": "s3://photos/1.jpg", "max_cost": 0.02}
    {"task": "text-analysis", "records": ["one text", {"record_id": "b", "text": "another"}]}
    {"workflow": "mixed-inbox", "prepared": true, "records": [{"record_id": "c", "text": "…", "features": {…}}]}

A record's input is one of ``input``, ``text``, ``uri`` and ``bytes`` (base64). Under ``input`` a text is a text, lists
of numbers are a tensor, ``{"uri": …}``, ``{"bytes": …}`` and ``{"text": …}`` (alone) are what they say, and every other
object is a structure. Of prepared records an object under ``input`` is always a structure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast, get_args

from airflow_agentic import tables
from airflow_agentic.pipeline.features import describe
from airflow_agentic.serving.gateway.problems import INVALID_REQUEST, FieldError, ProblemError
from airflow_agentic.spec.base import nearest

Mode = Literal["sync", "async", "dag"]

INPUTS: Final = ("input", "text", "uri", "bytes")
LIMITS: Final = ("max_latency_ms", "max_cost", "min_quality")
_RECORD: Final = frozenset({*INPUTS, *LIMITS, "record_id", "task", "language", "features"})
_REQUEST: Final = frozenset({"task", "workflow", "mode"})
_RESERVED: Final = frozenset({*tables.RECORD.names, *INPUTS, "id", "row"})
_SHOWN: Final = 60

RecordFields = Mapping[str, Any]
"""A record as the core's rows have it: input, requirements and features side by side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """A record of a batch that is wrong: it becomes an answer with this error."""

    record_id: str | None
    errors: tuple[FieldError, ...]

    def __str__(self) -> str:
        return "; ".join(f"{error.pointer}: {error.detail}" if error.pointer else error.detail for error in self.errors)


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictRequest:
    """One request, well formed."""

    records: Sequence[RecordFields | Refused]
    single: bool
    """Whether it is about one record, and answered with one answer or a problem."""
    task: str | None = None
    """Of records that name none."""
    workflow: str | None = None
    mode: Mode = "sync"
    deadline: float | None = None
    """Seconds from when it came."""
    prepared: bool = False
    """Whether the records are preprocessed already, as a run's shards are; the answers are then whole rows."""

    @property
    def record(self) -> RecordFields:
        """Of a single one: it is well formed, else the request would not be."""
        return cast("RecordFields", self.records[0])


@dataclass(slots=True)
class _Errors:
    """What is wrong so far."""

    found: list[FieldError] = field(default_factory=list)

    def add(self, pointer: str, detail: str) -> None:
        self.found.append(FieldError(pointer, detail))


def parse_request(document: object, *, most: int) -> PredictRequest:
    """A request from its JSON value.

    :param most: records that one request may have.
    :raises ProblemError: ``invalid-request``, with all fields that are wrong.
    """
    if not isinstance(document, dict):
        raise invalid([FieldError("", f"a request is an object, found {describe(document)}; {_EXAMPLE}")])
    errors = _Errors()
    task, workflow = _text(document, "task", errors), _text(document, "workflow", errors)
    mode = _mode(document, errors)
    if "records" in document:
        prepared = _prepared(document, mode, errors)
        records = _records(document, most, errors, prepared=prepared)
        request = PredictRequest(
            records=records, single=False, task=task, workflow=workflow, mode=mode, prepared=prepared
        )
    else:
        own = {name: value for name, value in document.items() if name not in _REQUEST}
        record = _record(own, "", errors, known={*_RECORD, *_REQUEST, "records"})
        request = PredictRequest(
            records=[record], single=True, task=task, workflow=workflow, mode=mode, deadline=_deadline(record)
        )
    if errors.found:
        raise invalid(errors.found)
    return request


def parse_record(value: object, pointer: str, *, prepared: bool = False) -> RecordFields | Refused:
    """A record of a batch: an object, or a text that is its input."""
    errors = _Errors()
    if isinstance(value, str):
        return {"text": value}
    if not isinstance(value, dict):
        errors.add(pointer, f"a record is an object or a text, found {describe(value)}")
        return Refused(record_id=None, errors=tuple(errors.found))
    record = _record(value, pointer, errors, prepared=prepared)
    if not errors.found:
        return record
    given = value.get("record_id")
    return Refused(record_id=given if isinstance(given, str) else None, errors=tuple(errors.found))


def invalid(errors: Sequence[FieldError]) -> ProblemError:
    """The problem of fields that are wrong."""
    first = f"{errors[0].pointer}: {errors[0].detail}" if errors[0].pointer else errors[0].detail
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return ProblemError(INVALID_REQUEST, first + more, errors=errors)


_EXAMPLE: Final = 'write {"task": "text-analysis", "input": "This is a test sentence."}'


def _records(document: dict[str, Any], most: int, errors: _Errors, *, prepared: bool) -> list[RecordFields | Refused]:
    for name in document:
        if name in _RECORD and name != "task":
            errors.add(f"/{name}", f"{name!r} stands beside 'records'; put it into each record")
        elif name not in _REQUEST and name not in {"records", "task", "prepared"}:
            errors.add(_pointer("", name), _unknown(name, {*_REQUEST, "records"}))
    given = document["records"]
    if not isinstance(given, list) or not given:
        errors.add("/records", f"expected a list of at least one record, found {_short(given)}")
        return []
    if len(given) > most:
        errors.add("/records", f"{len(given):,} records are more than the {most:,} of one request; send NDJSON")
        return []
    return [parse_record(value, f"/records/{index}", prepared=prepared) for index, value in enumerate(given)]


def _prepared(document: Mapping[str, Any], mode: Mode, errors: _Errors) -> bool:
    value = document.get("prepared", False)
    if not isinstance(value, bool):
        errors.add("/prepared", f"expected true or false, found {_short(value)}")
    elif value and mode == "dag":
        errors.add("/prepared", "a Dag run prepares its records itself; leave it out, or use another mode")
    return value is True


def _record(
    document: Mapping[str, Any], pointer: str, errors: _Errors, known: Set[str] = _RECORD, *, prepared: bool = False
) -> dict[str, Any]:
    """A record as a row of the core; what is wrong is in ``errors``.

    :param known: names that a misspelt one may have meant.
    """
    row: dict[str, Any] = {}
    for name, value in document.items():
        if name == "position" and prepared:
            row[name] = _position(value, pointer, errors)
        elif name not in _RECORD:
            errors.add(
                _pointer(pointer, name), _unknown(name, _RECORD if pointer else {*_RECORD, *_REQUEST, "records"})
            )
        elif value is None or name in INPUTS or name == "features":
            continue
        elif name in LIMITS:
            row[name] = _number(value, f"{pointer}/{name}", errors)
        elif isinstance(value, str) or (name == "record_id" and type(value) is int):
            row[name] = str(value)
        else:
            errors.add(f"{pointer}/{name}", f"expected a text, found {_short(value)}")
    _input(document, pointer, row, errors, prepared=prepared)
    _features(document.get("features"), f"{pointer}/features", row, errors)
    return row


def _input(document: Mapping[str, Any], pointer: str, row: dict[str, Any], errors: _Errors, *, prepared: bool) -> None:
    given = [name for name in INPUTS if document.get(name) is not None]
    if len(given) != 1:
        found = " and ".join(map(repr, given)) or "none of them"
        errors.add(f"{pointer}/{given[1] if given else 'input'}", f"expected one of {', '.join(INPUTS)}, found {found}")
        return
    (name,) = given
    value = document[name]
    short = name == "input" and not prepared and isinstance(value, dict) and len(value) == 1
    if short and (only := next(iter(value))) in INPUTS[1:]:
        name, value, pointer = only, value[only], f"{pointer}/input"
    if name == "input":
        if not isinstance(value, str | dict | list):
            errors.add(f"{pointer}/input", f"expected a text, an object or lists of numbers, found {_short(value)}")
    elif not isinstance(value, str) and not (name == "bytes" and isinstance(value, bytes)):  # a form brings bytes
        errors.add(f"{pointer}/{name}", f"expected a text, found {_short(value)}")
    row[name] = value


def _features(features: Any, pointer: str, row: dict[str, Any], errors: _Errors) -> None:
    if features is None:
        return
    if not isinstance(features, dict):
        errors.add(pointer, f"expected an object of columns, found {_short(features)}")
        return
    for name, value in features.items():
        if name in _RESERVED:
            errors.add(_pointer(pointer, name), f"{name!r} is a column of every record; give yours another name")
        elif isinstance(value, dict | list):
            errors.add(_pointer(pointer, name), f"expected text, a number, true/false or null, found {_short(value)}")
        else:
            row[name] = value


def _deadline(record: Mapping[str, Any]) -> float | None:
    milliseconds = record.get("max_latency_ms")
    return None if milliseconds is None else milliseconds / 1000.0


def _text(document: Mapping[str, Any], name: str, errors: _Errors) -> str | None:
    value = document.get(name)
    if value is None or isinstance(value, str):
        return value
    errors.add(f"/{name}", f"expected a text, found {_short(value)}")
    return None


def _mode(document: Mapping[str, Any], errors: _Errors) -> Mode:
    value = document.get("mode", "sync")
    modes = get_args(Mode)
    if value not in modes:
        near = nearest(value, modes) if isinstance(value, str) else None
        hint = f"did you mean {near!r}?" if near else f"one of: {', '.join(modes)}"
        errors.add("/mode", f"{_short(value)} is no mode; {hint}")
        return "sync"
    return value  # type: ignore[no-any-return]  # just compared with the modes


def _number(value: Any, pointer: str, errors: _Errors) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        errors.add(pointer, f"expected a number from 0, found {_short(value)}")
        return 0.0
    return float(value)


def _position(value: Any, pointer: str, errors: _Errors) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        errors.add(f"{pointer}/position", f"expected a whole number from 0, found {_short(value)}")
        return 0
    return value


def _unknown(name: str, known: Set[str]) -> str:
    near = nearest(name, known)
    hint = f"did you mean {near!r}?" if near else "columns of your own stand under 'features'"
    return f"{_short(name)} is no field; {hint}"


def _pointer(parent: str, name: str) -> str:
    return f"{parent}/{name[:_SHOWN].replace('~', '~0').replace('/', '~1')}"


def _short(value: object) -> str:
    """A value in a message: a short scalar as it is, of all else only what it is."""
    short = isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= _SHOWN)
    return repr(value) if short else describe(value)
