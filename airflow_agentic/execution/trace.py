"""How one record went through a run: who decided what, what each model said, what the answer is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic.artifacts.erased import read_columns
from airflow_agentic.execution import pages
from airflow_agentic.execution.pages import Place
from airflow_agentic.plan.ir import Aggregate, Gate, Infer, Route

if TYPE_CHECKING:
    from airflow_agentic.execution.batch import Run, ShardFile
    from airflow_agentic.plan.ir import AnyNode

MOST_SHARDS: Final = 200
"""In which a record is looked for at once."""

_SAID: Final = ("target", "outcome", "rule", "reason")


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A record that was found, or where to go on looking for it."""

    document: dict[str, Any] | None
    """``shard``, ``row``, ``record_id``, ``routing`` (each decision on it, in order), ``predictions``, ``answer``;
    never what the record holds."""
    next: str | None = None
    """A cursor; ``None``: all shards were looked at."""


def trace(run: Run, record_id: str, *, cursor: str | None = None) -> Trace:
    """Look for a record, and say how it was routed. Of what is not committed yet there is nothing.

    :raises InputError: ``cursor`` is none of this run's.
    """
    start = Place.of(run, cursor).shard
    for number in range(start, min(start + MOST_SHARDS, len(run.shards))):
        shard = run.shards[number]
        row = _row(run, shard, record_id)
        if row is not None:
            return Trace(document=_document(run, shard, row, record_id))
    more = start + MOST_SHARDS
    return Trace(document=None, next=Place(shard=more).cursor(run) if more < len(run.shards) else None)


def _row(run: Run, shard: ShardFile, record_id: str) -> int | None:
    """The record's row in the shard; only its column of ids is fetched."""
    ids = read_columns(run.folder.store, shard.data, ["record_id"]).column("record_id")
    place: int = pc.index(ids, pa.scalar(record_id, ids.type)).as_py()
    return None if place < 0 else place


def _document(run: Run, shard: ShardFile, row: int, record_id: str) -> dict[str, Any]:
    routing: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    answer = None
    for node in run.plan.nodes:
        for found in _found(run, node, shard, row):
            if isinstance(node, Infer):
                predictions.append(pages.prediction(found, shard.number, node.id))
            elif isinstance(node, Aggregate):
                answer = pages.answer(found, shard.number)
            else:
                said = {name: found[name] for name in _SAID if found[name] is not None}
                routing.append({"node": node.id, **said})
    return {
        "shard": shard.number,
        "row": row,
        "record_id": record_id,
        "routing": routing,
        "predictions": predictions,
        "answer": answer,
    }


def _found(run: Run, node: AnyNode, shard: ShardFile, row: int) -> Iterator[dict[str, Any]]:
    """The rows of the record in what the node has committed."""
    if not isinstance(node, Route | Gate | Infer | Aggregate):
        return
    marker = pages.marker_of(run, node.id, shard)
    if marker is None:
        return
    table = pages.read(run, marker)
    if isinstance(node, Aggregate):  # it has one row a record, in order
        yield from table.slice(row, 1).to_pylist()
    else:
        yield from table.filter(pc.equal(table.column("row"), row)).to_pylist()
