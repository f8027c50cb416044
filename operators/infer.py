"""One model over one unit, in the worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_agentic.compat import AirflowSkipException
from airflow_agentic.hooks.store import settings_list
from airflow_agentic.operators.node import failing_fast, shown, work_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_agentic.artifacts import Marker
    from airflow_agentic.execution import ShardFile
    from airflow_agentic.runtime import Predictor
    from airflow_agentic.spec.model import ModelCard


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
        from airflow_agentic.execution import infer_unit

        with failing_fast():
            run, node, unit = work_of(context, self.unit, self.node, self.topology)
            summary = infer_unit(run, node, unit, self._start, on_shard=self._log_shard)
        if summary is None:
            raise AirflowSkipException(f"no record of unit {unit.number} is for {node.model!r}")
        return summary.to_json()

    def _start(self, card: ModelCard) -> Predictor:
        from airflow_agentic.runtime import start

        self._predictor = start(card, allowed_handlers=settings_list("allowed_handlers"))
        return self._predictor

    def _log_shard(self, shard: ShardFile, marker: Marker) -> None:
        self.log.info("shard %d: %s", shard.number, shown(marker.counts))

    def on_kill(self) -> None:
        """End the model's process; what is committed stays."""
        from airflow_agentic.runtime import ModelProcess

        if isinstance(self._predictor, ModelProcess):
            self._predictor.kill()
