"""One model over one unit, in the worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_agentic.compat import AirflowSkipException
from airflow_agentic.execution import Run, Unit, node_card
from airflow_agentic.hooks.store import settings_list
from airflow_agentic.operators.node import failing_fast, node_of, open_run
from airflow_agentic.plan.ir import Infer
from airflow_agentic.runtime import ModelProcess, Predictor, predict_records, start

if TYPE_CHECKING:
    from airflow.sdk import Context


class LocalInferenceOperator(BaseOperator):
    """Run a node's model over a unit, shard by shard, resuming after the last committed one.

    The model is loaded once, in a process of its own unless its card says ``isolation: inline``. A unit for which
    nothing was selected is skipped before anything starts. Returns counts.

    :param node: the infer node's id in the plan.
    :param topology: digest of the Dag's topology.
    :param unit: one of the units that PreprocessOperator returned.
    """

    template_fields: Sequence[str] = ("unit",)
    ui_color = "#e6e4f7"

    def __init__(self, *, node: str, topology: str, unit: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.node = node
        self.topology = topology
        self.unit = unit
        self._predictor: Predictor | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Predict every shard of the unit that is not committed yet."""
        with failing_fast():
            unit = Unit.from_json(self.unit)
            run = open_run(context, unit.manifest, self.topology)
            node = node_of(run, self.node, Infer)
            shards = run.unit_shards(node, unit)
            if not shards:
                raise AirflowSkipException(f"no record of unit {unit.number} is for {node.model!r}")
            pending = [shard for shard in shards if run.marker(node.id, shard) is None]
            if pending:
                self._predict(run, node, pending)
            return _summary(run, node, unit, resumed=len(shards) - len(pending))

    def _predict(self, run: Run, node: Infer, pending: Sequence[Any]) -> None:
        card = node_card(run.plan, node)
        predictor = self._predictor = start(card, allowed_handlers=settings_list("allowed_handlers"))
        try:
            for shard in pending:
                marker = run.infer(node, shard, lambda records: predict_records(predictor, card, records))
                self.log.info("shard %d: %s", shard.number, marker.counts)
        finally:
            self._predictor = None
            predictor.close()

    def on_kill(self) -> None:
        """End the model's process; what is committed stays."""
        if isinstance(self._predictor, ModelProcess):
            self._predictor.kill()


def _summary(run: Run, node: Infer, unit: Unit, *, resumed: int) -> dict[str, Any]:
    counts: Mapping[str, int]
    total = {"predictions": 0, "errors": 0}
    for shard in run.unit_shards(node, unit):
        marker = run.marker(node.id, shard)
        for name in total if marker is not None else ():
            total[name] += marker.counts.get(name, 0) if marker is not None else 0
    counts = total
    return {"model": node.model, "unit": unit.number, **counts, "resumed_shards": resumed}
