"""What the operators that start a run share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_agentic.hooks.store import settings_list
from airflow_agentic.operators.node import folder
from airflow_agentic.plan.ir import Plan
from airflow_agentic.spec.workflow import InputSpec

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_agentic.execution import Run


class StartOperator(BaseOperator):
    """Base of Preprocess and of the compact layout's one task: a run starts here.

    :param plan: the compiled plan.
    :param input: the workflow's input; a run's parameters ``text``, ``records`` and ``uri`` take its place.
    :param base: the folder that relative inputs start from.
    """

    template_fields: Sequence[str] = ()

    def __init__(self, *, plan: Plan, input: InputSpec | None, base: str, **kwargs: Any) -> None:  # noqa: A002  # the spec's word
        super().__init__(**kwargs)
        self.plan = plan
        self.input = input
        self.base = base

    def start(self, context: Context, *, elsewhere: bool = False) -> Run:
        """Freeze the plan, read and validate the input, commit the shards; the same input and plan give the same.

        :param elsewhere: the models do not run here, so that their health here does not matter.
        """
        from airflow_agentic.execution import snapshot
        from airflow_agentic.operators.inputs import kept_params, run_input, run_options, salt_of

        params = dict(context["params"])
        source = run_input(self.input, Path(self.base), context, settings_list("allowed_uris"))
        plan = run_options(snapshot(self.plan, elsewhere=elsewhere), params)
        salt = salt_of(context)
        run = folder(context).start(plan, source.chunks(), source.fingerprint(), params=kept_params(params), salt=salt)
        self.log.info("records: %d, shards: %d", run.rows, len(run.shards))
        for name, info in plan.models.items():
            if not info.healthy:
                self.log.warning("model %r gets no records: %s", name, info.why_unhealthy)
        return run
