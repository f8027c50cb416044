"""Rows without their record: what erasure leaves in every table.

A row is never removed: selections and predictions name rows by their place in the shard. What is kept is named here,
all else becomes null, so that a column nobody thought of is erased rather than kept.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

from airflow_agentic import tables

CODE: Final = "erased"
ERROR: Final = tables.error(CODE, "the record was erased")

_KEPT: Final = frozenset(
    {
        *("position", "row"),  # which row it is
        *("target", "outcome", "rule"),  # selections: which models were asked decides who may answer
        *("node", "model", "model_version", "attempt", "used"),  # who was asked
        *("degraded", "cost", "calls", "latency_ms"),  # the run's sums
    }
)


def redact(table: pa.Table, rows: Collection[int], record_id: str) -> pa.Table:
    """The table with these rows redacted; the others are as they were.

    :param rows: places in the table.
    :param record_id: what the rows are called from now on.
    """
    chosen = np.array(sorted(rows), dtype=np.int64)
    left = [redacted_row(row, record_id) for row in table.take(pa.array(chosen)).to_pylist()]
    order = np.arange(len(table))
    order[chosen] = len(table) + np.arange(len(chosen))
    both = pa.concat_tables([table, pa.Table.from_pylist(left, schema=table.schema)]).unify_dictionaries()
    whole = both.take(pa.array(order)).combine_chunks()
    columns = [_used_only(whole.column(name)) for name in whole.column_names]
    return pa.Table.from_arrays(columns, schema=table.schema)


def _used_only(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """A dictionary column without the texts that no row has any more: they would be written into the file."""
    if not pa.types.is_dictionary(column.type):
        return column
    return column.cast(column.type.value_type).combine_chunks().dictionary_encode().cast(column.type)


def redacted_row(row: Mapping[str, Any], record_id: str) -> dict[str, Any]:
    """One row of any of our tables, as a mapping."""
    left: dict[str, Any] = {name: value if name in _KEPT else None for name, value in row.items()}
    if "record_id" in row:
        left["record_id"] = record_id
    if "error" in row:
        left["error"] = ERROR
    if "reason" in row:
        left["reason"] = CODE
    if row.get("route") is not None:
        left["route"] = {"rule": row["route"]["rule"], "reason": CODE}
    if row.get("predictions") is not None:
        left["predictions"] = [_member(member) for member in row["predictions"]]
    return left


def _member(member: Mapping[str, Any]) -> dict[str, Any]:
    return {**{name: value if name in _KEPT else None for name, value in member.items()}, "error": CODE}


def redact_lines(text: str, record_id: str, new_id: str) -> str | None:
    """JSON lines with the rows of ``record_id`` redacted, ``None`` if there is none. Other lines stay to the byte."""
    lines = text.split("\n")
    found = False
    for place, line in enumerate(lines):
        row = json.loads(line) if line else None
        if isinstance(row, dict) and row.get("record_id") == record_id:
            lines[place] = json.dumps(redacted_row(row, new_id), ensure_ascii=False)
            found = True
    return "\n".join(lines) if found else None
