"""Requests that are registered: those answered later (``async``, ``dag``), and those that must not be answered twice.

A job's work is the same whoever does it: the gateway that took the request, or another one of the same store whose
predecessor ended before it had answered.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from airflow_agentic.artifacts.digests import digest
from airflow_agentic.exceptions import JobError, JobStoreError, JobTooLargeError, LostJobError
from airflow_agentic.serving.gateway.failures import closed_problem, job_problem
from airflow_agentic.serving.gateway.problems import INTERNAL, NOT_FOUND, ProblemError
from airflow_agentic.serving.jobs import Closure, Job, JobStore, Lease, NewJob, Submission

if TYPE_CHECKING:
    from airflow_agentic.serving.access import Client
    from airflow_agentic.serving.gateway.settings import Limits

T = TypeVar("T")

LEASE_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 5.0
"""How often a gateway looks for jobs that nobody works on."""
SWEEP_SECONDS: Final = 300.0
OWNERS: Final = 3
"""A job that so many did not end is not tried again: it may be what ended them."""
THREADS: Final = 4

log = logging.getLogger("airflow_agentic.gateway")

Work = Callable[[Job], Awaitable[Any]]
"""Answers a job: its result as JSON. Raises :class:`ProblemError` where there is none."""


class Jobs:
    """Registers requests, works on them, and says what became of them.

    :param work: answers a job.
    """

    def __init__(self, store: JobStore, work: Work, limits: Limits) -> None:
        self.store = store
        self.work = work
        self.limits = limits
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="gateway-jobs")
        self._running: dict[str, asyncio.Task[None]] = {}
        self._wanted = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to take jobs."""
        self._loops = [asyncio.create_task(self._take()), asyncio.create_task(self._sweep())]

    async def stop(self) -> None:
        """Leave the jobs in hand to others, and give the store back."""
        tasks = [*self._loops, *self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=True)
        self.store.dispose()

    async def register(self, new: NewJob, *, key: str | None, own: bool) -> Submission:
        """Register a request; one that is not to be ``own``\\ ed is worked on as soon as there is a place.

        :raises ProblemError: the key stands for another request, the request is too large, or the store is away.
        """
        submission: Submission = await self._ask(self.store.submit, new, key=key, lease=self._lease() if own else None)
        self._wanted.set()
        return submission

    def run(self, job: Job) -> asyncio.Task[None]:
        """Work on a job that this gateway owns; ends when it is closed."""
        task = asyncio.create_task(self._run(job))
        self._running[job.id] = task
        task.add_done_callback(lambda _: self._ended(job.id))
        return task

    async def job(self, job_id: str, client: Client) -> Job:
        """A job of ``client``.

        :raises ProblemError: there is none.
        """
        try:
            job: Job = await self._ask(self.store.job, job_id)
        except ProblemError as error:
            raise _unknown(job_id) if error.kind is NOT_FOUND else error from error
        if job.client != client.name:
            raise _unknown(job_id)
        return job

    async def cancel(self, job_id: str, client: Client) -> Job:
        """End a job of ``client``; one that is closed stays as it is.

        :raises ProblemError: there is none.
        """
        await self.job(job_id, client)
        closed = await self._ask(self.store.cancel, job_id)
        if job_id in self._running:
            self._running[job_id].cancel()
        job: Job = closed.job
        return job

    async def note(self, job: Job, *, dag_run: str) -> None:
        """Write down which Dag run answers a job."""
        await self._ask(self.store.note, job.id, job.owner_epoch, dag_run=dag_run)

    async def check(self) -> str | None:
        """What is wrong with the store; ``None``: nothing."""
        try:
            await self._in_thread(self.store.check)
        except JobError as error:
            return str(error)
        return None

    def _ended(self, job_id: str) -> None:
        self._running.pop(job_id, None)
        self._wanted.set()

    async def _run(self, job: Job) -> None:
        """Answer a job and close it; hold it meanwhile."""
        holding = asyncio.create_task(self._hold(job))
        working = asyncio.ensure_future(self._closure(job))
        try:
            await asyncio.wait({holding, working}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await self._close(job, working.result())
        finally:
            for task in (holding, working):
                task.cancel()
            await asyncio.gather(holding, working, return_exceptions=True)

    async def _closure(self, job: Job) -> Closure:
        if job.owner_epoch > OWNERS:
            why = f"{OWNERS} gateways began it and ended before they had answered; it is not tried again"
            return _failed(job, ProblemError(INTERNAL, why))
        try:
            return Closure(state="completed", result=await self.work(job))
        except ProblemError as error:
            return _failed(job, error)
        except Exception:  # whatever it was, the job ends, and the log has it
            log.exception("job %s failed", job.id)
            return _failed(job, ProblemError(INTERNAL, "the gateway failed on this job; its log knows more, by the id"))

    async def _close(self, job: Job, closure: Closure) -> None:
        try:
            await self._in_thread(self.store.close, job.id, closure, epoch=job.owner_epoch)
        except JobTooLargeError as error:
            problem = job_problem(error)
            await self._in_thread(self.store.close, job.id, _failed(job, problem), epoch=job.owner_epoch)
        except LostJobError:
            log.info("job %s was closed by another", job.id)
        except JobStoreError as error:
            log.warning("job %s could not be closed, and will be answered again: %s", job.id, error)

    async def _hold(self, job: Job) -> None:
        """Renew the lease until it is lost."""
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            try:
                await self._in_thread(self.store.renew, job.id, job.owner_epoch, LEASE_SECONDS)
            except LostJobError:
                return
            except JobStoreError as error:
                log.warning("the lease of job %s could not be renewed: %s", job.id, error)

    async def _take(self) -> None:
        while True:
            self._wanted.clear()
            free = self.limits.jobs - len(self._running)
            if free > 0:
                try:
                    for job in await self._in_thread(self.store.claim_free, self._lease(), limit=free):
                        self.run(job)
                except JobStoreError as error:
                    log.warning("no jobs can be taken: %s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wanted.wait()

    async def _sweep(self) -> None:
        while True:
            try:
                await self._in_thread(self.store.sweep)
            except JobStoreError as error:
                log.warning("old jobs cannot be removed: %s", error)
            await asyncio.sleep(SWEEP_SECONDS)

    def _lease(self) -> Lease:
        return Lease(owner=self._owner, seconds=LEASE_SECONDS)

    async def _ask(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return await self._in_thread(call, *arguments, **options)
        except JobError as error:
            raise job_problem(error) from error

    async def _in_thread(self, call: Callable[..., T], *arguments: Any, **options: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: call(*arguments, **options))


def new_job(document: Any, *, client: Client, workflow: str, mode: Any, seconds: float) -> NewJob:
    """A request as a job.

    :param document: the request as it was sent; files in it become base64.
    :param seconds: until whoever works on it gives up.
    """
    plain = _plain(document)
    return NewJob(
        client=client.name,
        workflow=workflow,
        fingerprint=digest({"workflow": workflow, "request": plain}),
        mode=mode,
        request=plain,
        deadline=datetime.now(UTC) + timedelta(seconds=seconds),
    )


def job_document(job: Job, *, result: bool = True) -> dict[str, Any]:
    """A job as its client sees it.

    :param result: whether its answers are wanted, too.
    """
    document: dict[str, Any] = {
        "id": job.id,
        "state": job.state,
        "mode": job.mode,
        "workflow": job.workflow,
        "created": job.created.isoformat(),
        "updated": job.updated.isoformat(),
        "expires": job.expires.isoformat(),
    }
    document |= {} if job.dag_run is None else {"dag_run": job.dag_run}
    if result and job.result is not None:
        document["result"] = job.result
    return document if job.error is None else {**document, "error": dict(job.error)}


def replayed(job: Job) -> Any:
    """The result of a closed job.

    :raises ProblemError: that of its failure, or that it was canceled.
    """
    if job.state == "completed":
        return job.result
    raise closed_problem(job)


def _failed(job: Job, error: ProblemError) -> Closure:
    """A failure; one that a later try may not meet frees the key."""
    return Closure(state="failed", error=error.document(job.id), release_key=error.retry_after is not None)


def _unknown(job_id: str) -> ProblemError:
    return ProblemError(NOT_FOUND, f"there is no job {job_id[:80]!r} of yours, or it has expired")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
