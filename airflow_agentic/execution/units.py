"""One model over one unit: the work of an Airflow task, and of whatever runs a model elsewhere.

A unit is resumed after its last committed shard. How its model is started is the caller's: a child process of the
worker, or the process itself in a container of its own. Who calls decides about retries.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from airflow_agentic.artifacts import Marker
from airflow_agentic.exceptions import AgenticError, ModelUnavailableError
from airflow_agentic.execution.batch import Run, ShardFile, Unit
from airflow_agentic.execution.freeze import node_card
from airflow_agentic.execution.progress import Reporter
from airflow_agentic.plan.ir import Infer
from airflow_agentic.runtime import Predictor, predict_records
from airflow_agentic.spec.model import ModelCard

log = logging.getLogger(__name__)

Start = Callable[[ModelCard], Predictor]
"""Gives the loaded predictor of a card; whoever gets it closes it."""

OnShard = Callable[[ShardFile, Marker], None]
"""Called after each shard that is committed."""

Work = Callable[[Sequence[ShardFile], OnShard], None]
"""Commits these shards, and tells of each."""


@dataclass(frozen=True, kw_only=True)
class UnitSummary:
    """What became of a unit."""

    model: str
    unit: int
    predictions: int
    errors: int
    resumed_shards: int
    """How many of its shards an earlier try had committed."""

    def to_json(self) -> dict[str, Any]:
        """For XCom."""
        return asdict(self)


def infer_unit(
    run: Run, node: Infer, unit: Unit, start: Start, *, on_shard: OnShard = lambda shard, marker: None
) -> UnitSummary | None:
    """Predict every shard of ``unit`` that is not committed yet; the model is loaded once, and only if one is left.

    :returns: ``None`` where no record of the unit is for this model.
    :raises ModelUnavailableError: the model was lost; says what the unit still lacks. What is committed stays.
    :raises ModelError: the model cannot be loaded, or cannot answer at all.
    """
    return work_unit(
        run, node, unit, lambda pending, committed: _predict(run, node, pending, start, committed), on_shard
    )


def work_unit(run: Run, node: Infer, unit: Unit, work: Work, on_shard: OnShard) -> UnitSummary | None:
    """:func:`infer_unit` with another way to work: ``work`` commits the shards that it is given."""
    shards = run.unit_shards(node, unit)
    if not shards:
        return None
    pending = [shard for shard in shards if run.marker(node.id, shard) is None]
    if pending:
        log.info("unit %d of %d for %r: %s", unit.number + 1, len(run.units()), node.model, _held(run, node, pending))
        reporter = Reporter(run.folder.store, node.id, node.model, unit.number, len(shards))
        for shard in shards:
            if shard not in pending:
                reporter.committed(run.committed(node, shard))
        try:
            reporter.say("loading")
            work(pending, _both(reporter.committed, on_shard))
        except AgenticError as error:
            reporter.say("lost")
            if isinstance(error, ModelUnavailableError):
                raise type(error)(_lost(run, node, unit, shards, error)) from error
            raise
        reporter.say("done")
    return _summary(run, node, unit, shards, resumed=len(shards) - len(pending))


def collect_unit(run: Run, node: Infer, unit: Unit) -> UnitSummary | None:
    """What became of ``unit`` elsewhere, by its markers; their data is read and compared with what they pin.

    :returns: ``None`` where no record of the unit is for this model.
    :raises ModelUnavailableError: shards are not committed; says which.
    :raises ChecksumError: bytes or number of rows are not those of a marker.
    :raises NotFoundError: a committed data file is gone.
    """
    shards = run.unit_shards(node, unit)
    if not shards:
        return None
    for shard in shards:
        marker = run.marker(node.id, shard)
        if marker is None:
            raise ModelUnavailableError(_lost(run, node, unit, shards, "it ended without committing them"))
        run.markers.read(marker)
    return _summary(run, node, unit, shards, resumed=0)


def _summary(run: Run, node: Infer, unit: Unit, shards: Sequence[ShardFile], *, resumed: int) -> UnitSummary:
    counts = [run.committed(node, shard).counts for shard in shards]
    return UnitSummary(
        model=node.model,
        unit=unit.number,
        predictions=sum(count.get("predictions", 0) for count in counts),
        errors=sum(count.get("errors", 0) for count in counts),
        resumed_shards=resumed,
    )


def _predict(run: Run, node: Infer, pending: Sequence[ShardFile], start: Start, committed: OnShard) -> None:
    card = node_card(run.plan, node)
    predictor = start(card)
    try:
        for shard in pending:
            committed(shard, run.infer(node, shard, lambda records: predict_records(predictor, card, records)))
    finally:
        predictor.close()


def _both(report: Callable[[Marker], None], on_shard: OnShard) -> OnShard:
    def committed(shard: ShardFile, marker: Marker) -> None:
        report(marker)
        on_shard(shard, marker)

    return committed


def _lost(run: Run, node: Infer, unit: Unit, shards: Sequence[ShardFile], why: object) -> str:
    missing = [shard for shard in shards if run.marker(node.id, shard) is None]
    kept = len(shards) - len(missing)
    said = f"; {kept} of its shards stay committed" if kept else ""
    held = _held(run, node, missing)
    return f"{node.model!r} lost unit {unit.number + 1} of {len(run.units())} ({held}{said}): {why}"


def _held(run: Run, node: Infer, shards: Sequence[ShardFile]) -> str:
    """Which records of some shards are the node's: ``shards 1 to 2, 6 of the records 'r5' to 'r13'``."""
    first, last = shards[0], shards[-1]
    numbers = f"shard {first.number}" if first is last else f"shards {first.number} to {last.number}"
    count = sum(run.selected(node, shard) for shard in shards)
    try:
        begin = run.records(first).column("record_id")
        end = begin if first is last else run.records(last).column("record_id")
    except AgenticError:  # of what is wrong with the store something else tells
        return f"{numbers}, {count:,} records"
    return f"{numbers}, {count:,} of the records {begin[0].as_py()!r} to {end[-1].as_py()!r}"
