"""Jobs in SQLite or PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_agentic.serving.jobs.base import Closed, Closure, Job, Lease, NewJob, Submission


def utc_now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)


class SqlJobs:
    """A :class:`JobStore` by SQLAlchemy: SQLite embedded, PostgreSQL for several gateways."""

    @classmethod
    def open(
        cls,
        url: str,
        *,
        retention: timedelta = timedelta(days=1),
        clock: Callable[[], datetime] = utc_now,
        wait: float = 5.0,
    ) -> SqlJobs:
        """The store at ``url``; its tables are made where they are missing.

        :param url: SQLAlchemy's: ``sqlite:////state/jobs.db`` (its folder is made, readable by nobody else),
            ``sqlite://`` (in memory) or ``postgresql+psycopg2://…``.
        :param retention: how long a closed job, and its key, are kept.
        :param wait: seconds that a call waits for a database that others write to.
        :raises JobStoreError: it cannot be reached or written, or has another schema.
        """
        raise NotImplementedError

    def submit(self, new: NewJob, *, key: str | None = None, lease: Lease | None = None) -> Submission:
        raise NotImplementedError

    def job(self, job_id: str) -> Job:
        raise NotImplementedError

    def claim(self, job_id: str, lease: Lease) -> Job | None:
        raise NotImplementedError

    def claim_free(self, lease: Lease, *, limit: int) -> list[Job]:
        raise NotImplementedError

    def renew(self, job_id: str, epoch: int, seconds: float) -> Job:
        raise NotImplementedError

    def note(
        self,
        job_id: str,
        epoch: int,
        *,
        state: Literal["working", "input-required"] | None = None,
        dag_run: str | None = None,
    ) -> Job:
        raise NotImplementedError

    def close(self, job_id: str, closure: Closure, *, epoch: int) -> Closed:
        raise NotImplementedError

    def cancel(self, job_id: str) -> Closed:
        raise NotImplementedError

    def sweep(self) -> int:
        raise NotImplementedError

    def check(self) -> None:
        raise NotImplementedError

    def dispose(self) -> None:
        raise NotImplementedError
