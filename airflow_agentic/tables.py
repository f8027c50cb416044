"""The public Arrow schemas: record, selection, prediction, answer.

Arrow in memory, Parquet at rest. A *row* is a record's index within its shard; a record never leaves its shard, so a
selection or a prediction names rows and needs no join by id.

Invariants:

* a prediction table has one row per selected row, ascending by ``row``;
* a prediction either carries an ``error`` or an answer (``label``/``score``, ``value`` or ``output``), never both;
* an answer table has exactly one row per row of its shard, in order.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import pyarrow as pa

SCHEMA_VERSION: Final = 1
MAX_MESSAGE: Final = 2000
"""Characters of an error's message."""

_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

NAME: Final = pa.dictionary(pa.int32(), pa.string())
"""Strings that repeat: node ids, model names, reasons."""

ERROR: Final = pa.struct([("code", pa.string()), ("message", pa.string()), ("retryable", pa.bool_())])
SCORES: Final = pa.list_(pa.struct([("label", pa.string()), ("p", pa.float64())]))
INPUT: Final = pa.struct([("kind", pa.string()), ("text", pa.string()), ("data", pa.binary()), ("uri", pa.string())])
"""``kind`` is one of ``text`` (in ``text``), ``bytes`` (in ``data``), ``uri`` (in ``uri``, absolute), ``struct`` or
``tensor`` (both JSON in ``text``)."""

REQUIREMENTS: Final[dict[str, pa.DataType]] = {
    "task": pa.string(),
    "language": pa.string(),
    "max_latency_ms": pa.float64(),
    "max_cost": pa.float64(),
    "min_quality": pa.float64(),
}
"""What a record may ask of the model that answers it; null asks nothing. ``max_cost``: of one call."""

RECORD: Final = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("position", pa.int64(), nullable=False),  # of the whole input, from 0
        pa.field("input", INPUT),
        *(pa.field(name, type_) for name, type_ in REQUIREMENTS.items()),
        pa.field("error", ERROR),  # set: the record itself is bad and reaches no model
    ],
    metadata={"schema": f"record/{SCHEMA_VERSION}"},
)
"""The leading columns of every shard; feature columns follow."""

SELECTION: Final = pa.schema(
    [
        pa.field("row", pa.int32(), nullable=False),
        pa.field("target", NAME),  # the infer node that gets the row, or null
        pa.field("outcome", NAME),  # why no model gets it (``no_route``, ``accepted``…), or null
        pa.field("rule", NAME),  # which rule of the workflow decided, as ``routes[1]``
        pa.field("reason", NAME),
    ],
    metadata={"schema": f"selection/{SCHEMA_VERSION}"},
)
"""What Route and Gate write for a shard: a row may stand more than once (ensembles), never twice with one target."""


class Selected(NamedTuple):
    """One row of a selection table, in plain values."""

    target: str | None
    outcome: str | None
    rule: str | None
    reason: str | None


RESULT_FIELDS: Final = [
    pa.field("label", pa.string()),
    pa.field("score", pa.float64()),
    pa.field("scores", SCORES),
    pa.field("value", pa.float64()),
    pa.field("output", pa.string()),  # JSON
    pa.field("error", ERROR),
]
RESULT: Final = pa.schema(RESULT_FIELDS)
"""What a predictor returns: one row per record it was given, in the same order."""

PREDICTION: Final = pa.schema(
    [
        pa.field("row", pa.int32(), nullable=False),
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("model", NAME),
        pa.field("model_version", NAME),
        pa.field("score_kind", NAME),
        *RESULT_FIELDS,
        pa.field("latency_ms", pa.float64()),  # this record's share of its batch
        pa.field("cost", pa.float64()),
        pa.field("reason", NAME),
        pa.field("attempt", pa.int32()),
    ],
    metadata={"schema": f"prediction/{SCHEMA_VERSION}"},
)

MEMBER: Final = pa.struct(
    [
        ("node", pa.string()),
        ("model", pa.string()),
        ("model_version", pa.string()),
        ("label", pa.string()),
        ("score", pa.float64()),
        ("value", pa.float64()),
        ("error", pa.string()),  # the code, or null
        ("used", pa.bool_()),  # whether the answer rests on it
    ]
)
ROUTE: Final = pa.struct([("rule", pa.string()), ("reason", pa.string())])

ANSWER: Final = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("task", pa.string()),
        pa.field("model", pa.string()),  # ``lite2-torch`` or ``ensemble(vader, minilm-torch)``
        pa.field("score_kind", pa.string()),
        *RESULT_FIELDS,
        pa.field("degraded", pa.bool_(), nullable=False),
        pa.field("cost", pa.float64(), nullable=False),  # of all calls, also of those not used
        pa.field("calls", pa.int32(), nullable=False),
        pa.field("latency_ms", pa.float64()),
        pa.field("route", ROUTE),
        pa.field("predictions", pa.list_(MEMBER)),
    ],
    metadata={"schema": f"answer/{SCHEMA_VERSION}"},
)


def error(code: str, message: str, *, retryable: bool = False) -> dict[str, Any]:
    """A value of the ``error`` column.

    A message may quote what a record or a model gave: it is cut to :data:`MAX_MESSAGE` characters, and what is no
    Unicode is escaped. A code that is no short word becomes ``model_error``: codes are counted, and shown as they are.
    """
    if _CODE.fullmatch(code) is None:
        code, message = "model_error", f"{code!r}: {message}"
    if len(message) > MAX_MESSAGE:
        head, tail = message[: MAX_MESSAGE * 2 // 3], message[-(MAX_MESSAGE // 4) :]
        message = f"{head} … ({len(message) - len(head) - len(tail):,} characters left out) … {tail}"
    if not message.isascii():
        message = message.encode("utf-8", "backslashreplace").decode()
    return {"code": code, "message": message, "retryable": retryable}


def table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table of ``schema``; absent keys are null."""
    return pa.Table.from_pylist(rows, schema=schema)
