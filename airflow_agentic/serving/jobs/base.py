"""The job store's contract: what a job is, and what may become of it.

Must never import a web framework or a database: the message ledger grows from this.

Invariants, of every implementation:

1. A job has exactly one closure. The first one wins; a closed job (:data:`TERMINAL`) never changes again.
2. Whoever works on a job holds its ``owner_epoch``, issued by compare-and-set: of several that ask at once, one gets
   it. An epoch never comes twice, and a later owner's is higher.
3. An owner whose lease has ended may lose the job to another. Its :meth:`JobStore.renew` and :meth:`JobStore.note` are
   then refused, and so is its word that the job failed. Its *answer* is taken if it is the first: it is an answer to
   the same fingerprint.
4. An idempotency key of a client stands for one fingerprint: another one is refused until the key has expired or was
   released.
5. What a call has returned is durable (but for a store in memory). A call that raised :class:`JobStoreError` has
   changed nothing, or, where the connection was lost while it committed, all of it: asking again with the same key or
   epoch is safe.
6. The request is kept until the job is closed, and only then: another owner needs it to take the job over.

Clocks: leases compare the clocks of those who share a store. A clock that is wrong takes a job over too early or too
late; it never makes two closures.

Calls block; an event loop makes them by ``asyncio.to_thread``. A store may be used by several threads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

SCHEMA_VERSION: Final = 1
"""Of what is stored; a store of another version is refused."""

MAX_JSON: Final = 4 * 2**20
"""Bytes of a request, a result or an error as JSON. What is larger lies elsewhere and is named by ``result_uri``."""
MAX_KEY: Final = 255
"""Characters of an idempotency key, which are printable ASCII."""

Mode = Literal["sync", "async", "dag"]
JobState = Literal["submitted", "working", "input-required", "completed", "failed", "canceled", "rejected"]
"""The states of an A2A task. ``submitted``: nobody works on it yet."""
TERMINAL: Final[frozenset[JobState]] = frozenset({"completed", "failed", "canceled", "rejected"})


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """What a client asks."""

    client: str
    """Its name, at most 255 characters: nobody else finds the job's key."""
    workflow: str
    fingerprint: str
    """Digest of the request: two requests with the same one are the same."""
    mode: Mode
    request: Any = None
    """JSON that another owner needs to take the job over. A job without one can only be closed."""
    deadline: datetime | None = None
    """With a time zone; who works on it gives up then. The store does nothing about it."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as it is in the store. All times have the time zone UTC."""

    id: str
    """128 random bits, as 32 hexadecimal digits: whoever does not know it cannot guess it."""
    client: str
    workflow: str
    fingerprint: str
    mode: Mode
    state: JobState
    created: datetime
    updated: datetime
    expires: datetime
    """When :meth:`JobStore.sweep` may remove it: its retention after the closure, or after it was last worked on."""
    deadline: datetime | None = None
    request: Any = field(default=None, repr=False)
    """``None`` once the job is closed."""
    result: Any = field(default=None, repr=False)
    """JSON."""
    result_uri: str | None = None
    """Where the result lies, if it is not here."""
    error: Mapping[str, Any] | None = None
    """Problem details (RFC 9457), of a job that failed or was rejected."""
    dag_run: str | None = None
    """The Dag run that answers it: ``{dag_id}/{run_id}``."""
    owner: str | None = None
    """Who works on it, or was the last to."""
    owner_epoch: int = 0
    """How many owners it has had."""
    leased_until: datetime | None = None

    @property
    def closed(self) -> bool:
        """Whether its state is final."""
        return self.state in TERMINAL


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A claim to work on jobs."""

    owner: str
    """A name of this process that no other one has, as ``host:pid:random``."""
    seconds: float
    """How long it holds without :meth:`JobStore.renew`."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What became of a request."""

    job: Job
    created: bool
    """Whether the job is new; else the key stood for it already."""
    owned: bool
    """Whether the caller has to work on it now, under ``job.owner_epoch``: it is new, or its last owner's lease ended.

    Not created and not owned: if ``job.closed`` its answer is the answer, else the first request is still working.
    """


@dataclass(frozen=True, kw_only=True)
class Closure:
    """The end of a job."""

    state: Literal["completed", "failed", "rejected"]
    result: Any = None
    """JSON, at most :data:`MAX_JSON` bytes."""
    result_uri: str | None = None
    error: Mapping[str, Any] | None = None
    """Problem details; of ``failed`` and ``rejected`` only, and always."""
    release_key: bool = False
    """Whether the same idempotency key may ask anew: for failures that a later try may not meet."""


@dataclass(frozen=True, kw_only=True)
class Closed:
    """A closed job."""

    job: Job
    """As it was closed, by whomever."""
    won: bool
    """Whether by this call."""


class JobStore(Protocol):
    """A store of jobs. Every method may raise :class:`JobStoreError`, which says what is wrong with the store."""

    def submit(self, new: NewJob, *, key: str | None = None, lease: Lease | None = None) -> Submission:
        """Register a job, or find the one that the key stands for.

        :param key: the client's idempotency key.
        :param lease: the caller works on it at once: the job is ``working``. Without, it is ``submitted``.
        :raises JobKeyError: the key is longer than :data:`MAX_KEY` or not printable ASCII.
        :raises KeyReusedError: the key stands for another fingerprint.
        :raises JobTooLargeError: the request is.
        """

    def job(self, job_id: str) -> Job:
        """The job.

        :raises UnknownJobError: there is none, or it has been swept.
        """

    def claim(self, job_id: str, lease: Lease) -> Job | None:
        """Work on the job; ``None`` if somebody else does, or it is closed.

        :raises UnknownJobError: there is none.
        """

    def claim_free(self, lease: Lease, *, limit: int) -> list[Job]:
        """Work on up to ``limit`` jobs that nobody works on: submitted ones, and ones whose owner's lease has ended.

        Oldest first. Jobs with ``mode: sync`` are left out: their caller is gone or asks again. A caller closes a job
        as failed that has had too many owners.
        """

    def renew(self, job_id: str, epoch: int, seconds: float) -> Job:
        """Hold the job for ``seconds`` more. To be called at least three times a lease.

        :raises LostJobError: another owner has it, or it is closed (canceled, above all): stop working on it.
        :raises UnknownJobError: there is none.
        """

    def note(
        self,
        job_id: str,
        epoch: int,
        *,
        state: Literal["working", "input-required"] | None = None,
        dag_run: str | None = None,
    ) -> Job:
        """Write down how far the job is; what is ``None`` stays.

        :raises LostJobError: another owner has it, or it is closed.
        :raises UnknownJobError: there is none.
        """

    def close(self, job_id: str, closure: Closure, *, epoch: int) -> Closed:
        """End the job, unless that has been done.

        ``completed`` is taken from every owner that the job has had, other states only from the one that has it.

        :raises LostJobError: another owner has it, and this one has no answer.
        :raises UnknownJobError: there is none.
        :raises JobTooLargeError: the result is too large.
        """

    def cancel(self, job_id: str) -> Closed:
        """End the job as ``canceled``, whoever works on it; its owner hears of it from :meth:`renew`.

        :raises UnknownJobError: there is none.
        """

    def sweep(self) -> int:
        """Remove what has expired; returns how many jobs. Several may sweep at once."""

    def check(self) -> None:
        """Look whether the store answers and can be written, for readiness."""

    def dispose(self) -> None:
        """Give its connections back. The store can be used no more."""
