"""Few records as plain Python values, for code in which an Arrow call would cost more than the record does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class PlainRecords:
    """Few records, as ``to_pylist`` gives them, and the schema of their table.

    :param tables: makes tables of this schema, where somebody has one already.
    """

    rows: Sequence[Mapping[str, Any]]
    schema: pa.Schema
    tables: PlainTables | None = None

    @classmethod
    def of(cls, records: pa.Table) -> PlainRecords:
        """The records of a table."""
        return cls(records.to_pylist(), records.schema)

    @cached_property
    def table(self) -> pa.Table:
        """The records as a table."""
        return (self.tables or PlainTables(self.schema)).table(self.rows)


class PlainTables:
    """Makes tables of one schema from plain rows; what is the same for all of them is made once."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._fields = [(field.name, field.type) for field in schema]
        self._nulls: dict[int, list[pa.Array]] = {}

    def table(self, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        """``rows``, which have every column, as a table."""
        count = len(rows)
        if count not in self._nulls:
            self._nulls[count] = [pa.nulls(count, kind) for _, kind in self._fields]
        columns = list(self._nulls[count])  # most columns of few records are null, and arrays may be shared
        for place, (name, kind) in enumerate(self._fields):
            values = [row[name] for row in rows]
            if any(value is not None for value in values):
                columns[place] = pa.array(values, kind)
        return pa.Table.from_arrays(columns, schema=self.schema)


def plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a table in plain values; most columns of few rows are null."""
    if table.num_rows != 1:
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows
    columns = zip(table.column_names, table.columns, strict=True)
    return [{name: None if column.null_count else column[0].as_py() for name, column in columns}]
