"""A run whose shards a gateway answers, each as one job: handed in, taken back, committed like those of a worker.

A job's key says the run, the shard and what is asked of it. Whoever tries again finds the job that was handed in
before, and its answers; only where that one has failed, or a model was lost in it, is another one handed in.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic.artifacts.digests import digest
from airflow_agentic.coordinator.batch import can_be_better
from airflow_agentic.coordinator.coordinator import Coordinator
from airflow_agentic.coordinator.shard_request import answers_of, shard_request
from airflow_agentic.exceptions import ModelUnavailableError, PlanMismatchError, ServiceRefusedError
from airflow_agentic.openinference.gateway import OPEN
from airflow_agentic.plan.ir import Publish

if TYPE_CHECKING:
    from airflow_agentic.execution import Run
    from airflow_agentic.execution.batch import ShardFile
    from airflow_agentic.openinference.gateway import GatewayClient

TOO_LARGE: Final = 413
_PASSING: Final = frozenset({429, 500, 503, 504})
"""Statuses of failures that another job may not meet."""

log = logging.getLogger(__name__)


class GatewayRun:
    """Hands in the shards of ``run`` and commits the answers.

    :param name: of the run, not shared with any other run of the gateway's client.
    :param seconds: that a job may take; without it the gateway's limit counts.
    :param last_try: commit also shards in which a model was lost, without it.
    """

    def __init__(
        self,
        run: Run,
        client: GatewayClient,
        *,
        name: str,
        seconds: float | None = None,
        last_try: bool = True,
        allowed_handlers: Sequence[str] = (),
    ) -> None:
        self.run = run
        self.client = client
        self.name = name
        self.seconds = seconds
        self.last_try = last_try
        self.allowed_handlers = allowed_handlers
        self.jobs: list[str] = []
        """All that were handed in or found, for whoever ends them."""

    async def check(self) -> None:
        """Look whether the gateway would answer as this run's plan says.

        :raises PlanMismatchError: it would not.
        """
        plan = self.run.plan
        theirs = await self.client.plan(plan.workflow)
        ours = {node.id: self.run.digests[node.id] for node in plan.nodes if not isinstance(node, Publish)}
        told = {node["id"]: node.get("digest") for node in theirs.get("nodes", []) if node["kind"] != "publish"}
        different = sorted(node for node in ours.keys() | told.keys() if ours.get(node) != told.get(node))
        if different:
            raise PlanMismatchError(
                f"the gateway {self.client.url} answers {plan.workflow!r} by another plan than this run's: "
                f"{', '.join(different)} differ; start it anew with the same workflow, model cards, files and profiles "
                "(files that only one of both has must be pinned: sha256), or remove gateway from the workflow"
            )

    async def submit(self, but: Collection[int] = ()) -> dict[int, str]:
        """Hand in shards that have no answers yet, at most as many as the gateway is to be asked for at once.

        :param but: shards that wait for another try.
        :returns: the jobs by shard; none: nothing is left.
        """
        jobs: dict[int, str] = {}
        for shard in self.run.shards:
            if len(jobs) == self.client.service.concurrency:
                break
            if shard.number in but or self.run.answered(shard) is not None:
                continue
            records = self.run.records(shard)
            if records.column("error").null_count == 0:
                self.run.commit_answers(shard, await self._without_models(records))
                continue
            try:
                jobs[shard.number] = await self._job(shard, records)
            except ModelUnavailableError as error:
                if not jobs:
                    raise
                log.info("%d jobs are enough for now: %s", len(jobs), error)
                break
        return jobs

    async def collect(self, jobs: Mapping[int, str]) -> list[int]:
        """Commit the answers of the jobs that have them.

        :returns: the shards that wait for another try, as a model was lost in them.
        :raises ModelUnavailableError: a job failed or is gone, and another try may do better; the others are committed.
        :raises ServiceRefusedError: a job failed, and would again.
        """
        waiting: list[int] = []
        failures: list[ModelUnavailableError | ServiceRefusedError] = []
        for number, job_id in jobs.items():
            shard = self.run.shards[number]
            try:
                if self.run.answered(shard) is None and not await self._commit(shard, job_id):
                    waiting.append(number)
            except (ModelUnavailableError, ServiceRefusedError) as error:
                failures.append(error)
        if failures:
            raise next((error for error in failures if not error.retryable), failures[0])
        return waiting

    async def _job(self, shard: ShardFile, records: pa.Table) -> str:
        """The job that answers a shard: one that is there, unless it brought nothing."""
        good = records.filter(pc.is_null(records.column("error")))
        request = shard_request(self.run.plan.workflow, good)
        key = digest(
            {"run": self.name, "shard": shard.number, "asked": self.run.whole(shard), "request": request.decode()}
        )
        for turn in itertools.count():
            try:
                job = await self.client.submit(request, key=f"{key}-{turn}", seconds=self.seconds)
            except ServiceRefusedError as error:
                raise _explained(shard, error) from error
            if job["state"] in OPEN or (job["state"] == "completed" and not _lost(job)):
                break
            log.info("shard %d: an earlier job %s ended as %s", shard.number, job["id"], job["state"])
        self.jobs.append(job["id"])
        log.info("shard %d: job %s, %s", shard.number, job["id"], job["state"])
        return str(job["id"])

    async def _commit(self, shard: ShardFile, job_id: str) -> bool:
        """Commit a job's answers; whether the shard need not wait for another try.

        An open job is found again by the next :meth:`submit`. So is a canceled one replaced: whoever clears an Airflow
        task that waits has its jobs canceled, perhaps after the new try has found them.
        """
        try:
            job = await self.client.job(job_id)
        except ServiceRefusedError as error:
            if error.status != 404:
                raise
            raise ModelUnavailableError(
                f"the gateway {self.client.url} knows no job {job_id} of shard {shard.number} any more: it kept its "
                "jobs in memory and was restarted (give it --jobs URL), or the job expired; a retry hands it in anew"
            ) from error
        if job["state"] in OPEN or job["state"] == "canceled":
            log.info("shard %d: job %s is %s", shard.number, job_id, job["state"])
            return True
        if job["state"] != "completed":
            raise _failure(shard, job)
        records = self.run.records(shard)
        good = pc.is_null(records.column("error"))
        answers = answers_of(job.get("result"), records.filter(good), f"the job {job_id} of shard {shard.number}")
        if not self.last_try and (_lost(job) or can_be_better(answers)):
            return False
        if len(answers) < len(records):
            answers = _in_order(answers, await self._without_models(records.filter(pc.invert(good))), good)
        self.run.commit_answers(shard, answers)
        return True

    async def _without_models(self, bad: pa.Table) -> pa.Table:
        """The answers of records that are errors: no model sees them."""
        coordinator = Coordinator(self.run.plan, allowed_handlers=self.allowed_handlers, frozen=True)
        try:
            answers, _ = await coordinator.answer_prepared(bad)
        finally:
            await coordinator.pool.close()
        return answers


def _in_order(answers: pa.Table, bad: pa.Table, good: pa.Array) -> pa.Table:
    """The answers of good and bad records in the order of the records."""
    first, second = itertools.count(), itertools.count(len(answers))
    places = [next(first if one else second) for one in good.to_pylist()]
    return pa.concat_tables([answers, bad]).take(places)


def _lost(job: Mapping[str, Any]) -> bool:
    """Whether a completed job lost a model, or has an error that another try may not meet."""
    result = job.get("result") or {}
    errors = [answer.get("error") or {} for answer in result.get("answers", ())]
    return bool(result.get("lost")) or any(error.get("retryable") for error in errors)


def _failure(shard: ShardFile, job: Mapping[str, Any]) -> ModelUnavailableError | ServiceRefusedError:
    """Why a job has no answers."""
    which = f"the job {job['id']} of shard {shard.number}"
    problem = job.get("error") or {}
    status, said = int(problem.get("status", 0)), f"{problem.get('title', job['state'])}: {problem.get('detail', '')}"
    if status in _PASSING:
        way_out = "allow it more: execution_timeout of the Airflow task, or --limit job_seconds=… of the gateway"
        hint = way_out if status == 504 else "a retry hands it in anew"
        return ModelUnavailableError(f"{which} failed: {said}; {hint}")
    return _explained(shard, ServiceRefusedError(f"{which} failed: {said}", status))


def _explained(shard: ShardFile, error: ServiceRefusedError) -> ServiceRefusedError:
    """The error, with what to set where the shard is too large."""
    if error.status != TOO_LARGE:
        return error
    message = f"{error}; cut smaller shards: shard: {{rows: {max(1, shard.data.rows // 2)}}}, or bytes"
    return ServiceRefusedError(message, error.status)
