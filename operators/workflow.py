"""A whole workflow in one Airflow task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_agentic.hooks.store import settings_list
from airflow_agentic.operators.answering import Answering
from airflow_agentic.operators.node import failing_fast
from airflow_agentic.operators.publish import publish_answers
from airflow_agentic.operators.start import StartOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class WorkflowOperator(StartOperator):
    """Run the plan in the worker, shard by shard, and publish the answers; returns their URI and counts.

    Shards that are answered already are not computed again by a retry.
    """

    ui_color = "#e6e4f7"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._answering = Answering()

    def execute(self, context: Context) -> dict[str, Any]:
        """Freeze, answer, publish."""

        with failing_fast():
            run = self.start(context)
            self._answering.answer(run, context, settings_list("allowed_handlers"))
            return publish_answers(run, context, self.outlets)

    def on_kill(self) -> None:
        """End the models; answered shards stay."""
        self._answering.stop()
