"""How a request is answered: at once, later, by a Dag run; and never twice under one key."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from airflow_agentic.serving.gateway.answering import Answering, Terms
from airflow_agentic.serving.gateway.documents import PredictRequest, invalid, parse_request
from airflow_agentic.serving.gateway.jobs import Jobs, job_document, new_job, replayed
from airflow_agentic.serving.gateway.problems import CONFLICT, DEADLINE, FieldError, ProblemError, Response

if TYPE_CHECKING:
    from airflow_agentic.serving.access import Client
    from airflow_agentic.serving.gateway.catalog import Catalog, Served
    from airflow_agentic.serving.gateway.dags import DagRuns
    from airflow_agentic.serving.gateway.exchange import Exchange
    from airflow_agentic.serving.gateway.settings import Limits
    from airflow_agentic.serving.jobs import Job, JobStore

KEY: Final = b"idempotency-key"
REPLAYED: Final = ("idempotency-replayed", "true")


class Modes:
    """Answers well-formed requests.

    :param store: of jobs and idempotency keys.
    :param dags: ``None``: there is no Airflow, and ``mode: dag`` is refused.
    """

    def __init__(
        self, catalog: Catalog, answering: Answering, store: JobStore, limits: Limits, *, dags: DagRuns | None = None
    ) -> None:
        self.catalog = catalog
        self.answering = answering
        self.limits = limits
        self.dags = dags
        self.jobs = Jobs(store, self.work, limits)

    async def answer(
        self,
        exchange: Exchange,
        client: Client,
        request: PredictRequest,
        served: Served,
        *,
        document: Any,
        asked: float | None,
    ) -> Response:
        """Answer a request.

        :param document: what it was made of.
        :param asked: seconds that its header leaves.
        :raises ProblemError: it has no answer.
        """
        key = exchange.header(KEY)
        if request.mode == "sync" and key is None:
            until = self.answering.until(served, asked, request.deadline)
            answer = await exchange.while_connected(self.answered(request, served, Terms(request.task, until)))
            return Response(200, orjson.dumps(answer))
        if request.mode == "dag" and self.dags is None:
            detail = "'dag' needs an Airflow, and this gateway has none; use 'async', or start it with --airflow-url"
            raise invalid([FieldError("/mode", detail)])
        if request.mode == "dag":
            self.answering.check_uris(request)
        usual = self.limits.seconds if request.mode == "sync" else self.limits.job_seconds
        seconds = min((one for one in (asked, request.deadline) if one is not None), default=usual)
        new = new_job(document, client=client, workflow=served.name, mode=request.mode, seconds=seconds)
        submission = await self.jobs.register(new, key=key, own=request.mode != "async")
        replay = () if submission.created else (REPLAYED,)
        job = submission.job
        if request.mode == "async":
            return _accepted(job, replay)
        if submission.owned:
            task = self.jobs.run(job)
            wait = seconds if request.mode == "sync" else min(seconds, self.limits.seconds)
            await exchange.while_connected(_ended(task, wait))
            job = await self.jobs.job(job.id, client)
        if job.closed:
            return Response(200, orjson.dumps(replayed(job)), headers=replay)
        if request.mode == "dag":
            return _accepted(job, replay)
        detail = f"the first request with this key is still being answered, as job {job.id}; ask again"
        raise ProblemError(CONFLICT, detail, retry_after=1)

    async def answered(self, request: PredictRequest, served: Served, terms: Terms) -> dict[str, Any]:
        """The document that answers a request."""
        if request.single:
            document = await self.answering.one(request.record, served, terms)
            return {**document, "workflow": served.name}
        if request.prepared:
            rows, lost = await self.answering.prepared(request.records, served, terms)
            return {**many_document(served.name, rows), "lost": sorted(lost)}
        return many_document(served.name, await self.answering.many(request.records, served, terms))

    async def work(self, job: Job) -> Any:
        """Answer a job, whoever took its request."""
        if job.workflow not in self.catalog.served:
            raise ProblemError(CONFLICT, f"the workflow {job.workflow!r} is not served any more; send the request anew")
        request = parse_request(job.request, most=self.limits.records)
        seconds = self.limits.job_seconds if job.deadline is None else _left(job.deadline)
        if seconds <= 0:
            raise ProblemError(DEADLINE, "the job's time was over before anybody could work on it")
        if job.mode != "dag" or self.dags is None:
            served = self.catalog.served[job.workflow]
            until = self.answering.clock() + seconds
            return await self.answered(request, served, Terms(request.task, until, patient=job.mode != "sync"))

        async def note(dag_run: str) -> None:
            await self.jobs.note(job, dag_run=dag_run)

        answers = await self.dags.answer(job, request, seconds=seconds, note=note)
        return {**answers[0], "workflow": job.workflow} if request.single else many_document(job.workflow, answers)

    async def cancel(self, job_id: str, client: Client) -> Job:
        """End a job, and its Dag run.

        :raises ProblemError: there is none of that client.
        """
        job = await self.jobs.cancel(job_id, client)
        if job.state == "canceled" and job.dag_run is not None and self.dags is not None:
            await self.dags.cancel(job.dag_run)
        return job

    async def stop(self) -> None:
        """Leave the jobs to others, and give back what it holds."""
        await self.jobs.stop()
        if self.dags is not None:
            await self.dags.api.close()


def many_document(workflow: str, answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The answers to several records as one document."""
    failed = sum(answer.get("error") is not None for answer in answers)
    return {"workflow": workflow, "answers": answers, "records": len(answers), "failed": failed}


def _accepted(job: Job, headers: Sequence[tuple[str, str]]) -> Response:
    place = ("location", f"/jobs/{job.id}")
    return Response(202, orjson.dumps(job_document(job)), headers=[place, *headers])


async def _ended(task: asyncio.Task[None], seconds: float) -> None:
    await asyncio.wait({task}, timeout=seconds)


def _left(deadline: datetime) -> float:
    return (deadline - datetime.now(UTC)).total_seconds()
