"""A whole workflow in one Airflow task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_agentic.compat import AirflowException, AirflowFailException
from airflow_agentic.exceptions import ModelUnavailableError
from airflow_agentic.hooks.store import settings_list
from airflow_agentic.operators.answering import Answering
from airflow_agentic.operators.asking_gateway import AskingGateway
from airflow_agentic.operators.node import failing_fast, folder
from airflow_agentic.operators.publish import publish_answers
from airflow_agentic.operators.start import StartOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_agentic.execution import Run


class WorkflowOperator(StartOperator):
    """Run the plan in the worker or at a gateway, shard by shard; publish the answers; return their URI and counts.

    Shards that are answered already are not computed again by a retry. Jobs that a gateway was given are waited for in
    the triggerer; a retry finds them.

    :param gateway: the gateway that answers in place of the worker, as a workflow's ``gateway``.
    """

    ui_color = "#e6e4f7"

    def __init__(self, *, gateway: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gateway = gateway
        self._answering = Answering()
        self._asking = None if gateway is None else AskingGateway(gateway)

    def execute(self, context: Context) -> dict[str, Any]:
        """Freeze, answer, publish."""

        with failing_fast():
            run = self.start(context, elsewhere=self._asking is not None)
            if self._asking is None:
                self._answering.answer(run, context, settings_list("allowed_handlers"))
            else:
                self._ask(self._asking, run, context, jobs={}, waiting=[])
            return publish_answers(run, context, self.outlets)

    def execute_complete(
        self,
        context: Context,
        event: Mapping[str, Any] | None,
        *,
        manifest: str,
        jobs: dict[str, str],
        waiting: list[int],
    ) -> dict[str, Any]:
        """Back from the triggerer: take back the answers, hand in what is left, publish.

        :param manifest: of the run.
        :param jobs: by shard.
        :param waiting: shards that wait for another try.
        :raises AirflowFailException: the gateway cannot be asked as it is described.
        """
        if event is None:
            raise AirflowException("the trigger ended without saying anything")
        if "why" in event:
            raise (AirflowException if event["again"] else AirflowFailException)(str(event["why"]))
        with failing_fast():
            run = folder(context).open(manifest)
            if self._asking is not None:
                closed = {int(shard): job for shard, job in jobs.items()}
                self._ask(self._asking, run, context, jobs=closed, waiting=waiting)
            return publish_answers(run, context, self.outlets)

    def on_kill(self) -> None:
        """End the models, or the gateway's jobs; answered shards stay."""
        self._answering.stop()
        if self._asking is not None:
            self._asking.stop()

    def _ask(
        self, asking: AskingGateway, run: Run, context: Context, *, jobs: dict[int, str], waiting: list[int]
    ) -> None:
        """Go on until the gateway has answered every shard; where it is to be waited for, in the triggerer."""
        limit = self.execution_timeout
        while True:
            jobs, waiting = asking.step(
                run,
                context,
                jobs=jobs,
                waiting=waiting,
                seconds=None if limit is None else limit.total_seconds(),
                allowed_handlers=settings_list("allowed_handlers"),
            )
            if not jobs:
                break
            if asking.deferrable:
                self._defer(asking, run, jobs, waiting)
            asking.wait(list(jobs.values()))
        if waiting:
            raise ModelUnavailableError(
                f"a model was unavailable in {len(waiting)} of {len(run.shards)} shards (first: {waiting[0]}); "
                "the others are committed and will not run again"
            )

    def _defer(self, asking: AskingGateway, run: Run, jobs: Mapping[int, str], waiting: list[int]) -> None:
        from airflow_agentic.triggers.gateway import GatewayJobsTrigger

        self.log.info("waiting in the triggerer for %d jobs", len(jobs))
        self.defer(
            trigger=GatewayJobsTrigger(service=asking.service.stated, jobs=list(jobs.values())),
            method_name="execute_complete",
            kwargs={
                "manifest": run.manifest,
                "jobs": {str(shard): job for shard, job in jobs.items()},
                "waiting": waiting,
            },
            timeout=self.execution_timeout,
        )
