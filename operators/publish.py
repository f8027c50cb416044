"""Answers → where the workflow wants them, and an event for the Dags that follow."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow_agentic.hooks.store import ArtifactStoreHook
from airflow_agentic.operators.node import NodeOperator, failing_fast, shown

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_agentic.execution import Run


class PublishOperator(NodeOperator):
    """Write the answers and emit the workflow's asset event; returns the answers' URI and counts.

    The asset is one of ``outlets``; its event's extra is what this task returns.
    """

    ui_color = "#e3f5e8"

    def execute(self, context: Context) -> dict[str, Any]:
        """Publish every shard."""
        with failing_fast():
            return publish_answers(self.run_of(context), context, self.outlets)


log = logging.getLogger(__name__)


def publish_answers(run: Run, context: Context, outlets: Iterable[Any]) -> dict[str, Any]:
    """Publish the run's answers; what is returned is also the extra of the outlets' events."""
    from airflow_agentic.execution.publish import publish

    summary = publish(run, context["dag_run"].run_id, ArtifactStoreHook().open)
    for outlet in outlets:
        context["outlet_events"][outlet].extra.update(summary)
    counts = {name: value for name, value in summary.items() if isinstance(value, int)}
    log.info("%s", shown(counts))
    log.info("published at %s", summary["uri"])
    return summary
