"""One model over one unit: the work of an Airflow task, and of whatever runs a model elsewhere.

A unit is resumed after its last committed shard. How its model is started is the caller's: a child process of the
worker, or the process itself in a container of its own. Who calls decides about retries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from airflow_agentic.artifacts import Marker
from airflow_agentic.exceptions import ModelUnavailableError
from airflow_agentic.execution.batch import Run, ShardFile, Unit
from airflow_agentic.execution.freeze import node_card
from airflow_agentic.plan.ir import Infer
from airflow_agentic.runtime import Predictor, predict_records
from airflow_agentic.spec.model import ModelCard

Start = Callable[[ModelCard], Predictor]
"""Gives the loaded predictor of a card; whoever gets it closes it."""

OnShard = Callable[[ShardFile, Marker], None]
"""Called after each shard that is committed."""


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
    shards = run.unit_shards(node, unit)
    if not shards:
        return None
    pending = [shard for shard in shards if run.marker(node.id, shard) is None]
    if pending:
        try:
            _predict(run, node, pending, start, on_shard)
        except ModelUnavailableError as error:
            raise ModelUnavailableError(_lost(run, node, unit, shards, error)) from error
    markers = [marker for shard in shards if (marker := run.marker(node.id, shard)) is not None]
    return UnitSummary(
        model=node.model,
        unit=unit.number,
        predictions=sum(marker.counts.get("predictions", 0) for marker in markers),
        errors=sum(marker.counts.get("errors", 0) for marker in markers),
        resumed_shards=len(shards) - len(pending),
    )


def _predict(run: Run, node: Infer, pending: Sequence[ShardFile], start: Start, on_shard: OnShard) -> None:
    card = node_card(run.plan, node)
    predictor = start(card)
    try:
        for shard in pending:
            on_shard(shard, run.infer(node, shard, lambda records: predict_records(predictor, card, records)))
    finally:
        predictor.close()


def _lost(run: Run, node: Infer, unit: Unit, shards: Sequence[ShardFile], error: ModelUnavailableError) -> str:
    missing = [shard for shard in shards if run.marker(node.id, shard) is None]
    records = sum(run.selected(node, shard) for shard in missing)
    numbers = f"{missing[0].number}" if len(missing) == 1 else f"{missing[0].number} to {missing[-1].number}"
    kept = len(shards) - len(missing)
    said = f"; {kept} of its shards stay committed" if kept else ""
    return (
        f"{node.model!r} lost unit {unit.number + 1} of {len(run.units())} "
        f"(shard{'' if len(missing) == 1 else 's'} {numbers}, {records:,} record{'' if records == 1 else 's'}{said}): "
        f"{error}"
    )
