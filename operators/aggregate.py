"""Predictions → one answer a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_agentic.operators.node import NodeOperator, failing_fast, shown
from airflow_agentic.plan.ir import Aggregate

if TYPE_CHECKING:
    from airflow.sdk import Context


class AggregateOperator(NodeOperator):
    """Combine the predictions of every record into its answer; returns counts.

    Runs whatever became of the models (trigger rule ``all_done``) and decides from markers: without Route's it fails,
    a lost model's records take the pattern's next step or become errors.
    """

    ui_color = "#dcf1f3"

    def execute(self, context: Context) -> dict[str, int]:
        """Answer every shard that is not committed yet."""
        with failing_fast():
            run = self.run_of(context)
            counts = run.aggregate(run.node(self.node, Aggregate))
        self.log.info("%s", shown(counts))
        return counts
