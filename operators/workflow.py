"""A whole workflow in one Airflow task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_agentic.execution import snapshot
from airflow_agentic.execution.publish import publish
from airflow_agentic.hooks.store import ArtifactStoreHook, settings_list
from airflow_agentic.operators.inputs import run_input, run_options, salt_of
from airflow_agentic.operators.node import failing_fast, folder
from airflow_agentic.operators.pooled import PooledOperator
from airflow_agentic.plan.ir import Plan
from airflow_agentic.spec.workflow import InputSpec

if TYPE_CHECKING:
    from airflow.sdk import Context


class WorkflowOperator(PooledOperator):
    """Run the plan in the worker, shard by shard, and publish the answers; returns their URI and counts.

    Shards that are answered already are not computed again by a retry.

    :param plan: the compiled plan.
    :param input: the workflow's input; a run's parameters ``text`` and ``uri`` take its place.
    :param base: the folder that relative inputs start from.
    """

    template_fields: Sequence[str] = ()
    ui_color = "#e6e4f7"

    def __init__(self, *, plan: Plan, input: InputSpec | None, base: str, **kwargs: Any) -> None:  # noqa: A002  # the spec's word
        super().__init__(**kwargs)
        self.plan = plan
        self.input = input
        self.base = base

    def execute(self, context: Context) -> dict[str, Any]:
        """Freeze, answer, publish."""
        with failing_fast():
            params = dict(context["params"])
            handlers = settings_list("allowed_handlers")
            source = run_input(self.input, Path(self.base), context, settings_list("allowed_uris"))
            plan = run_options(snapshot(self.plan), params)
            salt = salt_of(context)
            run = folder(context).start(plan, source.chunks(), source.fingerprint(), params=params, salt=salt)
            self.answer(run, context, handlers)
            summary = publish(run, context["dag_run"].run_id, ArtifactStoreHook().open)
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra.update(summary)
        return summary
