"""Answers and predictions of a run, page by page: for readers that must not hold a run in memory.

A page costs at most so many markers, data files and bytes, whatever is asked for: it may end early, even without a
row, and names where the next one begins.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic.artifacts.erased import redirect_of
from airflow_agentic.exceptions import InputError
from airflow_agentic.pipeline.document import answer_document
from airflow_agentic.plan.ir import Aggregate, Infer

if TYPE_CHECKING:
    from airflow_agentic.artifacts import Marker
    from airflow_agentic.execution.batch import Run, ShardFile

MOST_ROWS: Final = 1000
MOST_SHARDS: Final = 100
"""That a page looks at."""
MOST_BYTES: Final = 64 * 2**20
"""Of data files, after which a page ends; also the largest file that is read at all."""

_CURSOR: Final = re.compile(r"([0-9a-f]{8})\.([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})")
_PREDICTION: Final = {
    "record_id": "record_id",
    "model": "model",
    "model_version": "version",
    "score_kind": "score_kind",
    "label": "label",
    "score": "score",
    "scores": "scores",
    "value": "value",
    "output": "output",
    "error": "error",
    "latency_ms": "latency_ms",
    "cost": "cost",
    "reason": "reason",
    "attempt": "attempt",
}
"""Column → member of the document."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which rows; what is ``None`` asks nothing."""

    record_id: str | None = None
    model: str | None = None
    error: str | None = None
    """A code, or ``*`` for every error."""
    node: str | None = None
    """Of predictions: the infer node that made them."""

    @property
    def columns(self) -> dict[str, str]:
        """The text columns that must have one value."""
        stated = {"record_id": self.record_id, "model": self.model}
        return {name: value for name, value in stated.items() if value is not None}


@dataclass(frozen=True, kw_only=True, order=True)
class Place:
    """Where a page begins: a row of a table of a shard."""

    shard: int = 0
    table: int = 0
    row: int = 0

    def cursor(self, run: Run) -> str:
        """For whoever asks for the next page."""
        return f"{run.manifest[:8]}.{self.shard}.{self.table}.{self.row}"

    @classmethod
    def of(cls, run: Run, cursor: str | None) -> Place:
        """The place that a cursor of this run names; the beginning without one.

        :raises InputError: it is none, or one of before the run was computed anew.
        """
        if cursor is None:
            return cls()
        found = _CURSOR.fullmatch(cursor)
        if found is None:
            raise InputError(f"{cursor[:60]!r} is no cursor; give 'next' of the page before, or none for the first")
        if found[1] != run.manifest[:8]:
            raise InputError(
                f"the cursor {cursor!r} is of an earlier state of the run, which was computed anew; begin without one"
            )
        shard, table, row = (int(part) for part in found.groups()[1:])
        return cls(shard=shard, table=table, row=row)


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some rows, as documents, and the cursor of the next ones; ``None``: these were the last."""

    rows: list[dict[str, Any]]
    next: str | None


def answers(run: Run, wanted: Wanted, *, cursor: str | None = None, limit: int = 100) -> Page:
    """Answers, in the order of the records; those that are not committed yet are left out.

    :raises InputError: ``cursor`` is none of this run's.
    """
    return _page(run, wanted, cursor, limit, (run.plan.of(Aggregate)[0].id,))


def predictions(run: Run, wanted: Wanted, *, cursor: str | None = None, limit: int = 100) -> Page:
    """Predictions, by shard, node and row. A compact run has none but those that its answers name.

    :raises InputError: ``cursor`` is none of this run's, or there is no such infer node.
    """
    nodes = [node.id for node in run.plan.of(Infer)]
    if wanted.node is not None and wanted.node not in nodes:
        raise InputError(f"{wanted.node[:80]!r} is no infer node of this run; there are: {', '.join(nodes)}")
    return _page(run, wanted, cursor, limit, [node for node in nodes if wanted.node in (None, node)])


def marker_of(run: Run, node: str, shard: ShardFile) -> Marker | None:
    """What a node has committed for a shard; of Aggregate also what one process answered as a whole."""
    whole = run.answered(shard) if node == run.plan.of(Aggregate)[0].id else None
    return whole or run.marker(node, shard)


def read(run: Run, marker: Marker) -> pa.Table:
    """The committed table.

    :raises InputError: it is larger than what is read here.
    """
    if marker.data.bytes > MOST_BYTES:
        raise InputError(
            f"shard {marker.shard} of {marker.node!r} has {marker.data.bytes:,} bytes, more than the {MOST_BYTES:,} "
            "that are read here; read the published answers instead"
        )
    return run.markers.read(marker)


def answer(row: Mapping[str, Any], shard: int) -> dict[str, Any]:
    """A row of ``tables.ANSWER`` as a document that is JSON."""
    document: dict[str, Any] = finite({"shard": shard, **answer_document(row)})
    return document


def prediction(row: Mapping[str, Any], shard: int, node: str) -> dict[str, Any]:
    """A row of ``tables.PREDICTION`` as a document that is JSON; what it has not is left out."""
    said = {**row, "output": None if row["output"] is None else json.loads(row["output"])}
    members = {shown: said[name] for name, shown in _PREDICTION.items() if said[name] is not None}
    document: dict[str, Any] = finite({"shard": shard, "row": row["row"], "node": node, **members})
    return document


def finite(value: Any) -> Any:
    """The value with null for what JSON has not: NaN and the infinities."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list) else value


@dataclass
class _Budget:
    """What a page may still cost."""

    rows: int
    shards: int
    bytes: int
    found: list[dict[str, Any]] = field(default_factory=list)

    @property
    def spent(self) -> bool:
        return self.rows <= 0 or self.shards <= 0 or self.bytes <= 0


def _page(run: Run, wanted: Wanted, cursor: str | None, limit: int, nodes: Sequence[str]) -> Page:
    if not 1 <= limit <= MOST_ROWS:
        raise InputError(f"the limit is {limit!r}; give 1 to {MOST_ROWS}")
    start = Place.of(run, cursor)
    budget = _Budget(rows=limit, shards=MOST_SHARDS, bytes=MOST_BYTES)
    aggregate = run.plan.of(Aggregate)[0].id
    for place, shard, node in _places(run, start, nodes):
        if budget.spent:
            return Page(rows=budget.found, next=place.cursor(run))
        if place.table == 0 or place == start:
            budget.shards -= 1
        marker = marker_of(run, node, shard)
        if marker is None or not _may_have(run, marker, wanted):
            continue
        table = read(run, marker)
        budget.bytes -= marker.data.bytes
        rows = [row for row in _rows(table, wanted) if row >= place.row]
        taken = rows[: budget.rows]
        for row in table.take(pa.array(taken, pa.int64())).to_pylist():
            made = answer(row, shard.number) if node == aggregate else prediction(row, shard.number, node)
            budget.found.append(made)
        budget.rows -= len(taken)
        if len(rows) > len(taken):
            following = Place(shard=place.shard, table=place.table, row=rows[len(taken)])
            return Page(rows=budget.found, next=following.cursor(run))
    return Page(rows=budget.found, next=None)


def _places(run: Run, start: Place, nodes: Sequence[str]) -> Iterator[tuple[Place, ShardFile, str]]:
    """Every table from ``start`` on."""
    for number in range(start.shard, len(run.shards)):
        for table, node in enumerate(nodes):
            place = Place(shard=number, table=table)
            if (number, table) == (start.shard, start.table):
                place = start
            if place >= start:
                yield place, run.shards[number], node


def _may_have(run: Run, marker: Marker, wanted: Wanted) -> bool:
    """Whether the table can have such a row, as far as its counts say; they say nothing of what was erased later."""
    if wanted.error is None or marker.counts.get("errors", 1):
        return True
    return redirect_of(run.folder.store, marker.data.name) is not None


def _rows(table: pa.Table, wanted: Wanted) -> list[int]:
    """The places of the rows that are wanted."""
    hit = np.ones(len(table), dtype=bool)
    for name, value in wanted.columns.items():
        hit &= _equal(table.column(name).cast(pa.string()), value)
    if wanted.error is not None:
        codes = pc.struct_field(table.column("error"), "code")
        hit &= _array(pc.is_valid(codes)) if wanted.error == "*" else _equal(codes, wanted.error)
    found: list[int] = np.flatnonzero(hit).tolist()
    return found


def _equal(column: pa.ChunkedArray, value: str) -> Any:
    return _array(pc.fill_null(pc.equal(column, value), False))


def _array(mask: pa.ChunkedArray) -> Any:
    return mask.combine_chunks().to_numpy(zero_copy_only=False)
