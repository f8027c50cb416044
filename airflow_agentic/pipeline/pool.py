"""All predictions of a shard in one pool; a slot is an index into it for every row.

Combining predictions mostly means choosing one: then only indices are made, no prediction is copied. A combined
prediction (a vote, a mean) is appended to the pool as a new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic import tables

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ShardPredictions:
    """What has happened to a shard so far.

    ``predictions`` holds the committed table of each infer node (absent: the unit was lost); ``assigned`` the rows each
    infer node was given, ascending; ``accepted`` the verdict of each gate on every row.
    """

    records: pa.Table
    predictions: Mapping[str, pa.Table]
    assigned: Mapping[str, Ints]
    accepted: Mapping[str, Bools]

    def __len__(self) -> int:
        return int(self.records.num_rows)


@dataclass(frozen=True)
class Slot:
    """One prediction for each row of the shard.

    ``index`` points into the pool, -1 where nobody was asked; ``used`` says on which leaves each row's prediction rests.
    """

    index: Ints
    degraded: Bools
    used: Mapping[str, Bools] = field(default_factory=dict)

    @property
    def present(self) -> Bools:
        """Rows for which somebody was asked."""
        return self.index >= 0


class Pool:
    """The predictions of one shard, growing."""

    def __init__(self) -> None:
        self._parts: list[pa.Table] = []
        self._size = 0
        self._whole: pa.Table | None = None

    def add(self, predictions: pa.Table) -> int:
        """Append predictions (``tables.PREDICTION``); returns the index of the first."""
        start = self._size
        self._parts.append(_plain(predictions))
        self._size += predictions.num_rows
        self._whole = None
        return start

    @property
    def table(self) -> pa.Table:
        """All of them; names are plain strings here."""
        if self._whole is None:
            empty = _plain(tables.PREDICTION.empty_table())
            self._whole = pa.concat_tables(self._parts).combine_chunks() if self._parts else empty
        return self._whole

    def take(self, index: Ints, columns: list[str] | None = None) -> pa.Table:
        """The predictions at ``index``; -1 gives nulls."""
        chosen = self.table if columns is None else self.table.select(columns)
        if self._size == 0:
            return pa.table({field.name: pa.nulls(len(index), field.type) for field in chosen.schema})
        return chosen.take(pa.array(index, mask=index < 0))

    def valid(self, index: Ints) -> Bools:
        """Where ``index`` points to a prediction that is no error."""
        return (index >= 0) & ~self.flags("error")[index] if self._size else index >= 0

    def flags(self, column: str) -> Bools:
        """Which of all predictions have a value in ``column``."""
        return np.asarray(pc.is_valid(self.table.column(column)), dtype=bool)

    def numbers(self, column: str, index: Ints) -> Floats:
        """A numeric column at ``index``; NaN where null or -1."""
        if not self._size:
            return np.full(len(index), np.nan)
        values = self.table.column(column).to_numpy().astype(np.float64)
        return np.where(index >= 0, values[index], np.nan)

    def label_codes(self, index: Ints) -> tuple[Ints, list[str]]:
        """The label at ``index`` as a code into the returned list; -1 where there is none."""
        if not self._size:
            return np.full(len(index), -1, dtype=np.int64), []
        encoded = self.table.column("label").combine_chunks().dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        return np.where(index >= 0, codes[index], -1), encoded.dictionary.to_pylist()


def unavailable(rows: Ints, records: pa.Table, model: str) -> pa.Table:
    """Error predictions for rows whose model gave no answer at all."""
    count = len(rows)
    failure = tables.error("model_unavailable", f"{model!r} did not answer: its unit failed", retryable=True)
    columns = {
        "row": pa.array(rows.astype(np.int32)),
        "record_id": records.column("record_id").take(pa.array(rows)).combine_chunks(),
        "model": pa.array([model] * count, pa.string()),
        "error": pa.array([failure] * count, tables.ERROR),
    }
    return computed(count, columns)


def computed(count: int, columns: Mapping[str, pa.Array]) -> pa.Table:
    """A prediction table of ``count`` rows from some of its columns; the others are null."""
    schema = pa.schema([_plain_field(field) for field in tables.PREDICTION])
    return pa.table([columns.get(f.name, pa.nulls(count, f.type)) for f in schema], schema=schema)


def _plain_field(field_: pa.Field) -> pa.Field:
    plain = pa.string() if pa.types.is_dictionary(field_.type) else field_.type
    return pa.field(field_.name, plain)


def _plain(predictions: pa.Table) -> pa.Table:
    columns = []
    for field_ in tables.PREDICTION:
        column = predictions.column(field_.name)
        columns.append(column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column)
    return pa.table(columns, schema=pa.schema([_plain_field(field_) for field_ in tables.PREDICTION]))
