"""One unit of a Dag run, in a container."""

from __future__ import annotations

import logging
from collections.abc import Callable

from airflow_agentic.artifacts import Marker, Store
from airflow_agentic.container.reference import UnitReference
from airflow_agentic.container.stop import Stop
from airflow_agentic.execution import ShardFile, Start, UnitSummary, infer_unit
from airflow_agentic.runtime import Predictor, start
from airflow_agentic.spec.model import ModelCard

log = logging.getLogger(__name__)


def run_unit(
    reference: UnitReference,
    stop: Stop,
    load: Start | None = None,
    on_commit: Callable[[Store, Marker], None] = lambda store, marker: None,
) -> UnitSummary | None:
    """Work through a unit, resuming after its last committed shard.

    :param load: gives the loaded model; by default in a child process, as its card says.
    :param on_commit: called after each shard that is committed, with the run's store.
    :returns: ``None`` where no record is for the model.
    """
    run, node, unit = reference.open()
    last = run.shards[unit.last]

    def started(card: ModelCard) -> Predictor:
        stop.check()
        predictor = load(card) if load else start(card, allowed_handlers=reference.allowed_handlers)
        stop.watch(predictor)
        log.info("model %s %s is loaded", card.name, card.version)
        return predictor

    def committed(shard: ShardFile, marker: Marker) -> None:
        counts = ", ".join(f"{name}: {count:,}" for name, count in marker.counts.items())
        log.info("shard %d: %s", shard.number, counts)
        on_commit(run.folder.store, marker)
        if run.marker(node.id, last) is None:
            stop.check()

    try:
        summary = infer_unit(run, node, unit, started, on_shard=committed)
    finally:
        stop.close()
    if summary is None:
        log.info("no record of unit %d is for %r", unit.number, node.model)
    return summary
