"""Route the whole batch, and skip the models that get nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_agentic.compat import BaseBranchOperator
from airflow_agentic.operators.node import failing_fast, folder, manifest_of, shown
from airflow_agentic.plan.ir import Gate, Route

if TYPE_CHECKING:
    from airflow.sdk import Context


class ControlOperator(BaseBranchOperator):
    """Base of Route and Gate: decides for every shard, then which Airflow tasks have something to do.

    :param node: the node's id in the plan.
    :param topology: digest of the Dag's topology.
    """

    template_fields: Sequence[str] = ()
    kind: ClassVar[type[Route] | type[Gate]]

    def __init__(self, *, node: str, topology: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.node = node
        self.topology = topology

    def choose_branch(self, context: Context) -> list[str]:
        """Every downstream task but the models that no later control can send rows to and that got none."""
        with failing_fast():
            run = folder(context).open(manifest_of(context), topology=self.topology)
            node = run.node(self.node, self.kind)
            counts = run.control(node)
            decided = run.plan.decided_by(node)
            empty = {one for one in decided if not run.selects_any(one)}
        context["ti"].xcom_push("summary", counts)
        self.log.info("%s", shown(counts))
        return sorted(task for task in self.downstream_task_ids if task not in empty)


class RouteOperator(ControlOperator):
    """Which records go to which models first."""

    kind = Route
    ui_color = "#fbf3dc"
