"""Few records as plain Python values, for code in which an Arrow call would cost more than the record does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class PlainRecords:
    """Few records, as ``to_pylist`` gives them, and the schema of their table."""

    rows: Sequence[Mapping[str, Any]]
    schema: pa.Schema

    @classmethod
    def of(cls, records: pa.Table) -> PlainRecords:
        """The records of a table."""
        return cls(records.to_pylist(), records.schema)

    def table(self) -> pa.Table:
        """The records as a table."""
        return plain_table(self.rows, self.schema)


def plain_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows that have every column of ``schema``, as a table."""
    columns = [_column([row[field.name] for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if all(value is None for value in values):
        return _nulls(len(values), kind)
    return pa.array(values, kind)


@lru_cache(maxsize=256)
def _nulls(count: int, kind: pa.DataType) -> pa.Array:
    """Arrays are immutable, so that equal ones may be shared."""
    return pa.nulls(count, kind)
