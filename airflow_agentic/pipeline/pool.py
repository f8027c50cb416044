"""All predictions of a shard in one pool; a slot is an index into it for every row.

Combining predictions mostly means choosing one: then only indices are made, no prediction is copied. A combined
prediction (a vote, a mean) is appended to the pool as a new one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from airflow_agentic import tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ShardPredictions:
    """What has happened to a shard so far.

    ``predictions`` holds the committed table of each infer node (absent: the unit was lost); ``assigned`` the rows each
    infer node was given, ascending; ``accepted`` the verdict of each gate on every row; ``selections`` what Route and
    the gates decided, in the plan's order.
    """

    records: pa.Table
    predictions: Mapping[str, pa.Table]
    assigned: Mapping[str, Ints]
    accepted: Mapping[str, Bools]
    selections: Sequence[pa.Table] = ()

    def __len__(self) -> int:
        return int(self.records.num_rows)


@dataclass(frozen=True)
class Slot:
    """One prediction for each row of the shard.

    ``index`` points into the pool, -1 where nobody was asked; ``used`` says on which leaves each row's prediction
    rests.
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
        self._columns: dict[str, pa.Array] = {}
        self._views: dict[str, npt.NDArray[Any]] = {}
        self._labels: list[str] = []

    def add(self, predictions: pa.Table) -> int:
        """Append predictions (``tables.PREDICTION``); returns the index of the first."""
        start = self._size
        if predictions.num_rows:
            self._parts.append(predictions)
            self._size += predictions.num_rows
            self._columns.clear()
            self._views.clear()
        return start

    def column(self, name: str) -> pa.Array:
        """A column of all of them; names are plain strings here."""
        if name not in self._columns:
            plain = plain_field(tables.PREDICTION.field(name)).type
            chunks = [chunk.cast(plain) for part in self._parts for chunk in part.column(name).chunks]
            self._columns[name] = pa.concat_arrays(chunks) if chunks else pa.array([], plain)
        return self._columns[name]

    def take(self, index: Ints, columns: Sequence[str] = tuple(tables.PREDICTION.names)) -> pa.Table:
        """The predictions at ``index``; -1 gives nulls."""
        places = pa.array(index, mask=index < 0)
        return pa.table({name: self.column(name).take(places) for name in columns})

    def valid(self, index: Ints) -> Bools:
        """Where ``index`` points to a prediction that is no error."""
        valid: Bools = self._at(
            "error", index, missing=False, view=lambda error: np.asarray(error.is_null(), dtype=bool)
        )
        return valid

    def numbers(self, column: str, index: Ints) -> Floats:
        """A numeric column at ``index``; NaN where null or -1."""
        view: Floats = self._at(
            column, index, missing=np.nan, view=lambda values: values.to_numpy(zero_copy_only=False)
        )
        return view

    def label_codes(self, index: Ints) -> tuple[Ints, list[str]]:
        """The label at ``index`` as a code into the returned list; -1 where there is none."""
        codes: Ints = self._at("label", index, missing=-1, view=self._encoded)
        return codes, self._labels

    def _encoded(self, labels: pa.Array) -> Ints:
        encoded = labels.dictionary_encode()
        self._labels = encoded.dictionary.to_pylist()
        codes: Ints = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        return codes

    def _at(self, name: str, index: Ints, *, missing: float, view: Callable[[pa.Array], npt.NDArray[Any]]) -> Any:
        """``view`` of a column at ``index``, ``missing`` at -1, which is the last place of the array."""
        if name not in self._views:
            self._views[name] = np.append(view(self.column(name)), missing)
        return self._views[name][index]


def unavailable(rows: Ints, records: pa.Table, model: str) -> pa.Table:
    """Error predictions for rows whose model gave no answer at all."""
    failure = tables.error("model_unavailable", f"{model!r} did not answer: its unit failed", retryable=True)
    return failed(rows, records, pa.array([failure] * len(rows), tables.ERROR), model)


def failed(rows: Ints, records: pa.Table, errors: pa.StructArray, model: str | None = None) -> pa.Table:
    """Error predictions."""
    columns = {
        "row": pa.array(rows.astype(np.int32)),
        "record_id": records.column("record_id").take(pa.array(rows)).combine_chunks(),
        "model": pa.array([model] * len(rows), pa.string()),
        "error": errors,
    }
    return computed(len(rows), columns)


def computed(count: int, columns: Mapping[str, pa.Array]) -> pa.Table:
    """A prediction table of ``count`` rows from some of its columns; the others are null."""
    schema = pa.schema([plain_field(field) for field in tables.PREDICTION])
    return pa.table([columns.get(f.name, pa.nulls(count, f.type)) for f in schema], schema=schema)


def plain_field(field_: pa.Field) -> pa.Field:
    """A field of a prediction table whose names are plain strings."""
    plain = pa.string() if pa.types.is_dictionary(field_.type) else field_.type
    return pa.field(field_.name, plain)
