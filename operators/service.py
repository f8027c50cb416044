"""One model over one unit, asked at its service from the worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_agentic.compat import AirflowSkipException
from airflow_agentic.operators.node import failing_fast, shown, work_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_agentic.artifacts import Marker
    from airflow_agentic.coordinator.service_pool import ServicePool
    from airflow_agentic.execution import Run, ShardFile


class ServiceInferenceOperator(BaseOperator):
    """Ask a node's model for a unit, shard by shard, resuming after the committed ones.

    Requests are sent from the worker, several at once; the service needs no access to the artifact store. A unit for
    which nothing was selected is skipped. Returns counts.

    :param node: the infer node's id in the plan.
    :param topology: digest of the Dag's topology.
    :param unit: one of the units that PreprocessOperator returned.
    :param service: where the model is served, as a workflow's ``service``, over what the run's plan says.
    """

    template_fields: Sequence[str] = ("unit", "service")
    ui_color = "#e6e4f7"

    def __init__(
        self, *, node: str, topology: str, unit: Any, service: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.node = node
        self.topology = topology
        self.unit = unit
        self.service = service
        self._pool: ServicePool | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Ask for every shard of the unit that is not committed yet."""
        with failing_fast():
            from airflow_agentic.coordinator.served_unit import ask_unit

            run, node, unit = work_of(context, self.unit, self.node, self.topology)
            pool = self._pool = self._services(run, node.model)
            summary = ask_unit(run, node, unit, pool, on_shard=self._log_shard)
        if summary is None:
            raise AirflowSkipException(f"no record of unit {unit.number} is for {node.model!r}")
        return summary.to_json()

    def on_kill(self) -> None:
        """Cancel the requests under way; what is committed stays."""
        if self._pool is not None:
            self._pool.kill()

    def _services(self, run: Run, model: str) -> ServicePool:
        from airflow_agentic.coordinator.service_pool import ServicePool
        from airflow_agentic.execution import card_of
        from airflow_agentic.hooks.service import connect
        from airflow_agentic.spec.service import ServiceSpec, layered

        said = [run.plan.options.services.get(model), self.service]
        layers = [ServiceSpec.model_validate(one) for one in said if one]
        return ServicePool({model: layered(card_of(run.plan, model).service, *layers)}, connect=connect)

    def _log_shard(self, shard: ShardFile, marker: Marker) -> None:
        self.log.info("shard %d: %s", shard.number, shown(marker.counts))
