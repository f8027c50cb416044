"""``mode: dag``: the request is answered by a run of the workflow's Dag, in Airflow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from airflow_agentic.artifacts import Store
from airflow_agentic.exceptions import AgenticError, AirflowApiError, InputError
from airflow_agentic.pipeline.document import answer_document
from airflow_agentic.serving.airflow_api import conf_of, run_id_of
from airflow_agentic.serving.dag_answers import dag_answers
from airflow_agentic.serving.gateway.documents import PredictRequest, Refused, invalid
from airflow_agentic.serving.gateway.failures import airflow_problem
from airflow_agentic.serving.gateway.problems import AIRFLOW_FAILED, DEADLINE, FieldError, ProblemError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    import pyarrow as pa

    from airflow_agentic.serving.airflow_api import DagRun
    from airflow_agentic.serving.jobs import Job

WAIT_SECONDS: Final = 30.0
"""Of one question; between two, nothing is lost."""


Read = Callable[[Store, str, str, str], "pa.Table"]


class Runs(Protocol):
    """What is asked of Airflow's API."""

    async def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> DagRun:
        """Start a run, or find the one of that id."""

    async def wait(self, dag_id: str, run_id: str, *, timeout: float) -> DagRun:
        """The run once it has ended, or as it is after ``timeout`` seconds."""

    async def cancel(self, dag_id: str, run_id: str) -> DagRun:
        """End the run as failed."""

    async def failed_tasks(self, dag_id: str, run_id: str) -> list[str]:
        """The ids of the Airflow tasks that failed."""

    async def close(self) -> None:
        """Give its connections back."""


class DagRuns:
    """Answers requests by Dag runs.

    :param base: Airflow's artifact store.
    :param deployment: the first folder below it.
    :param read: gives the answers of a run (tests replace it).
    """

    def __init__(self, api: Runs, base: Store, deployment: str, *, read: Read = dag_answers) -> None:
        self.api = api
        self.read = read
        self.base = base
        self.deployment = deployment

    async def answer(
        self, job: Job, request: PredictRequest, *, seconds: float, note: Callable[[str], Awaitable[None]]
    ) -> list[dict[str, Any]]:
        """Trigger the run that answers ``job``, or find it, and wait for its answers.

        :param seconds: to wait.
        :param note: is told ``{dag_id}/{run_id}`` once the run is there.
        :raises ProblemError: Airflow refuses it or is away, the run committed no answers, or the time is over.
        """
        dag_id, run_id = job.workflow, run_id_of(job.id)
        try:
            async with asyncio.timeout(seconds):
                run = await self.api.trigger(dag_id, run_id, conf_of(_records(request), task=request.task))
                await note(f"{dag_id}/{run_id}")
                while not run.finished:
                    run = await self.api.wait(dag_id, run_id, timeout=WAIT_SECONDS)
            return await self._answers(run)
        except AirflowApiError as error:
            raise airflow_problem(error) from error
        except InputError as error:
            raise invalid([FieldError("/records", str(error))]) from error
        except TimeoutError:
            detail = (
                f"the run {run_id!r} of the Dag {dag_id!r} did not end within {seconds:.3g} s; it goes on in Airflow"
            )
            raise ProblemError(DEADLINE, detail) from None

    async def cancel(self, dag_run: str) -> None:
        """End a run; what Airflow has against it is said as a problem.

        :param dag_run: ``{dag_id}/{run_id}``.
        """
        dag_id, _, run_id = dag_run.partition("/")
        try:
            await self.api.cancel(dag_id, run_id)
        except AirflowApiError as error:
            raise airflow_problem(error) from error

    async def _answers(self, run: DagRun) -> list[dict[str, Any]]:
        try:
            table: pa.Table = await asyncio.to_thread(self.read, self.base, self.deployment, run.dag_id, run.run_id)
        except AgenticError as error:
            failed = await self.api.failed_tasks(run.dag_id, run.run_id) if run.state == "failed" else []
            tasks = f" Airflow tasks that failed: {', '.join(failed)}." if failed else ""
            raise ProblemError(AIRFLOW_FAILED, f"{error}.{tasks} See {run.url}") from error
        return [answer_document(answer) for answer in table.to_pylist()]


def _records(request: PredictRequest) -> list[Mapping[str, Any]]:
    for position, record in enumerate(request.records):
        if isinstance(record, Refused):
            raise invalid([FieldError(f"/records/{position}", str(record))])
    return cast("list[Mapping[str, Any]]", list(request.records))
