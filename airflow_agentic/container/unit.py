"""One unit of a Dag run, in a container."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Self

from airflow_agentic.artifacts import Marker, Store
from airflow_agentic.container.stop import Stop
from airflow_agentic.exceptions import InputError
from airflow_agentic.execution import Folder, Run, ShardFile, Start, Unit, UnitSummary, infer_unit
from airflow_agentic.plan.ir import Infer
from airflow_agentic.runtime import Predictor, start
from airflow_agentic.spec.model import ModelCard

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class UnitReference:
    """Which unit: all that a container needs to find its work."""

    store: str
    """URI of the run's folder, as the container reaches it."""
    manifest: str
    node: str
    unit: int
    allowed_handlers: tuple[str, ...] = ()

    def to_arguments(self) -> list[str]:
        """For the command line."""
        allowed = [f"--allow={handler}" for handler in self.allowed_handlers]
        named = {"store": self.store, "manifest": self.manifest, "node": self.node, "unit": self.unit}
        return [*(f"--{name}={value}" for name, value in named.items()), *allowed]

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """From what ``vars()`` gave."""
        return cls(**{**value, "allowed_handlers": tuple(value["allowed_handlers"])})

    def open(self) -> tuple[Run, Infer, Unit]:
        """The run, the node and the unit.

        :raises InputError: the run has no such unit.
        """
        run = Folder(Store.open(self.store), self.allowed_handlers).open(self.manifest)
        node = run.node(self.node, Infer)
        units = run.units()
        if not 0 <= self.unit < len(units):
            raise InputError(f"the run has {len(units)} units, counted from 0, and none numbered {self.unit}")
        return run, node, units[self.unit]


def run_unit(reference: UnitReference, stop: Stop, load: Start | None = None) -> UnitSummary | None:
    """Work through a unit, resuming after its last committed shard.

    :param load: gives the loaded model; by default in a child process, as its card says.
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
        if run.marker(node.id, last) is None:
            stop.check()

    try:
        summary = infer_unit(run, node, unit, started, on_shard=committed)
    finally:
        stop.close()
    if summary is None:
        log.info("no record of unit %d is for %r", unit.number, node.model)
    return summary
