"""Jobs in SQLite or PostgreSQL.

Every change of a job is one ``UPDATE`` whose condition holds what must be true of it (its state, its epoch, its lease):
of several at once the database lets one through, and the others find no row.
"""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from sqlalchemy import and_, delete, or_, select, update

from airflow_agentic.exceptions import JobKeyError, JobStoreError, KeyReusedError, LostJobError, UnknownJobError
from airflow_agentic.serving.jobs.base import (
    MAX_KEY,
    SCHEMA_VERSION,
    TERMINAL,
    Closed,
    Closure,
    Job,
    Lease,
    NewJob,
    Submission,
)
from airflow_agentic.serving.jobs.database import Database
from airflow_agentic.serving.jobs.schema import jobs, schemas, to_job, to_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import ColumnElement, Connection

COMPONENT: Final = "jobs"
TRIES: Final = 5
"""How often a key is looked for that others release at the same moment."""
SWEPT_AT_ONCE: Final = 1000

_KEY: Final = re.compile(rf"[\x21-\x7e](?:[\x20-\x7e]{{0,{MAX_KEY - 2}}}[\x21-\x7e])?")
_ID: Final = re.compile(r"[0-9a-f]{32}")
_OPEN: Final = jobs.c.state.not_in(TERMINAL)


def utc_now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)


class SqlJobs:
    """A :class:`JobStore` by SQLAlchemy: SQLite embedded, PostgreSQL for several gateways."""

    def __init__(self, database: Database, retention: timedelta, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._retention = retention
        self._clock = clock

    @classmethod
    def open(
        cls,
        url: str,
        *,
        retention: timedelta = timedelta(days=1),
        clock: Callable[[], datetime] = utc_now,
        wait: float = 5.0,
    ) -> Self:
        """The store at ``url``; its tables are made where they are missing.

        :param url: SQLAlchemy's: ``sqlite:////state/jobs.db`` (its folder is made, readable by nobody else),
            ``sqlite://`` (in memory) or ``postgresql+psycopg2://…``.
        :param retention: how long a closed job, and its key, are kept.
        :param wait: seconds that a call waits for a database that others write to.
        :raises InputError: the URL names no database of these.
        :raises JobStoreError: it cannot be reached or written, or has another schema.
        """
        database = Database(url, wait)
        try:
            database.make_tables(COMPONENT, SCHEMA_VERSION)
        except BaseException:
            database.dispose()
            raise
        return cls(database, retention, clock)

    def submit(self, new: NewJob, *, key: str | None = None, lease: Lease | None = None) -> Submission:
        """See :class:`JobStore`."""
        if key is not None and _KEY.fullmatch(key) is None:
            raise JobKeyError(
                f"the idempotency key {key[:40]!r} has {len(key)} characters; give 1 to {MAX_KEY} printable ASCII "
                "characters without a space at either end, as a UUID"
            )
        values = self._values(new, key, lease)
        for _ in range(TRIES):
            with self._database.write() as connection:
                found = self._submitted(connection, values, key, lease)
            if found is not None:
                return found
        raise JobStoreError(f"the idempotency key {key!r} is registered and released all the time; retry")

    def _submitted(
        self, connection: Connection, values: dict[str, Any], key: str | None, lease: Lease | None
    ) -> Submission | None:
        """``None`` if somebody released the key between our two looks."""
        own = and_(jobs.c.client == values["client"], jobs.c.idempotency_key == key)
        if key is not None:
            over = and_(own, jobs.c.expires <= values["created"], jobs.c.state.in_(TERMINAL))
            connection.execute(update(jobs).where(over).values(idempotency_key=None))
        insert = (
            _insert(connection)
            .values(**values)
            .on_conflict_do_nothing(index_elements=[jobs.c.client, jobs.c.idempotency_key])
        )
        made = connection.execute(insert.returning(*jobs.c)).one_or_none()
        if made is not None:
            return Submission(job=to_job(made), created=True, owned=lease is not None)
        found = connection.execute(select(jobs).where(own)).one_or_none()
        if found is None:
            return None
        if found.fingerprint != values["fingerprint"]:
            raise KeyReusedError(
                f"the idempotency key {key!r} stands for another request, made at {found.created:%Y-%m-%dT%H:%M:%SZ}; "
                "repeat that one exactly, or use a new key"
            )
        taken = None if lease is None else self._claimed(connection, jobs.c.id == found.id, lease)
        if taken:
            return Submission(job=taken[0], created=False, owned=True)
        return Submission(job=to_job(found), created=False, owned=False)

    def _values(self, new: NewJob, key: str | None, lease: Lease | None) -> dict[str, Any]:
        now = self._clock()
        return {
            "id": secrets.token_hex(16),
            "client": new.client,
            "idempotency_key": key,
            "workflow": new.workflow,
            "fingerprint": new.fingerprint,
            "mode": new.mode,
            "state": "submitted" if lease is None else "working",
            "created": now,
            "updated": now,
            "expires": now + self._retention,
            "deadline": new.deadline,
            "request": to_text("request", new.request),
            "owner": None if lease is None else lease.owner,
            "owner_epoch": 0 if lease is None else 1,
            "leased_until": None if lease is None else now + timedelta(seconds=lease.seconds),
        }

    def job(self, job_id: str) -> Job:
        """See :class:`JobStore`."""
        with self._database.read() as connection:
            return _found(connection, job_id)

    def claim(self, job_id: str, lease: Lease) -> Job | None:
        """See :class:`JobStore`."""
        with self._database.write() as connection:
            taken = self._claimed(connection, _is(job_id), lease)
            if not taken:
                _found(connection, job_id)
        return taken[0] if taken else None

    def claim_free(self, lease: Lease, *, limit: int) -> list[Job]:
        """See :class:`JobStore`."""
        waiting = and_(jobs.c.state.in_(["submitted", "working"]), jobs.c.mode != "sync", self._free())
        oldest = (
            select(jobs.c.id).where(waiting).order_by(jobs.c.created).limit(limit).with_for_update(skip_locked=True)
        )
        with self._database.write() as connection:
            ids = connection.scalars(oldest).all()
            return self._claimed(connection, jobs.c.id.in_(ids), lease) if ids else []

    def _free(self) -> ColumnElement[bool]:
        """Nobody works on it."""
        return or_(jobs.c.leased_until.is_(None), jobs.c.leased_until <= self._clock())

    def _claimed(self, connection: Connection, which: ColumnElement[bool], lease: Lease) -> list[Job]:
        """Those of ``which`` that were open and free, now the caller's."""
        now = self._clock()
        change = (
            update(jobs)
            .where(which, _OPEN, self._free())
            .values(
                state="working",
                owner=lease.owner,
                owner_epoch=jobs.c.owner_epoch + 1,
                leased_until=now + timedelta(seconds=lease.seconds),
                updated=now,
                expires=now + self._retention,
            )
            .returning(*jobs.c)
        )
        return sorted(map(to_job, connection.execute(change)), key=lambda job: job.created)

    def renew(self, job_id: str, epoch: int, seconds: float) -> Job:
        """See :class:`JobStore`."""
        return self._by_owner(job_id, epoch, {"leased_until": self._clock() + timedelta(seconds=seconds)})

    def note(
        self,
        job_id: str,
        epoch: int,
        *,
        state: Literal["working", "input-required"] | None = None,
        dag_run: str | None = None,
    ) -> Job:
        """See :class:`JobStore`."""
        changed = {"state": state, "dag_run": dag_run}
        return self._by_owner(job_id, epoch, {name: value for name, value in changed.items() if value is not None})

    def _by_owner(self, job_id: str, epoch: int, values: dict[str, Any]) -> Job:
        """Change an open job, as the owner that has it."""
        now = self._clock()
        values |= {"updated": now, "expires": now + self._retention}
        with self._database.write() as connection:
            job = _changed(connection, and_(_is(job_id), jobs.c.owner_epoch == epoch, jobs.c.owner_epoch > 0), values)
            if job is None:
                raise _lost(_found(connection, job_id), epoch)
            return job

    def close(self, job_id: str, closure: Closure, *, epoch: int) -> Closed:
        """See :class:`JobStore`."""
        answers = closure.state == "completed" and epoch > 0
        by_owner = jobs.c.owner_epoch >= epoch if answers else jobs.c.owner_epoch == epoch
        values = {
            "state": closure.state,
            "result": to_text("result", closure.result),
            "result_uri": closure.result_uri,
            "error": to_text("error", None if closure.error is None else dict(closure.error)),
            **({"idempotency_key": None} if closure.release_key else {}),
        }
        closed = self._closed(job_id, by_owner, values)
        if not closed.job.closed:
            raise _lost(closed.job, epoch)
        return closed

    def cancel(self, job_id: str) -> Closed:
        """See :class:`JobStore`."""
        return self._closed(job_id, jobs.c.owner_epoch >= 0, {"state": "canceled"})

    def _closed(self, job_id: str, by: ColumnElement[bool], values: dict[str, Any]) -> Closed:
        now = self._clock()
        values |= {"updated": now, "expires": now + self._retention, "request": None, "leased_until": None}
        with self._database.write() as connection:
            job = _changed(connection, and_(_is(job_id), by), values)
            return Closed(job=job or _found(connection, job_id), won=job is not None)

    def sweep(self) -> int:
        """See :class:`JobStore`."""
        over = and_(jobs.c.expires <= self._clock(), or_(jobs.c.state.in_(TERMINAL), jobs.c.mode == "sync"))
        some = select(jobs.c.id).where(over).limit(SWEPT_AT_ONCE).with_for_update(skip_locked=True)
        removed = 0
        while True:
            with self._database.write() as connection:
                ids = connection.scalars(some).all()
                removed += connection.execute(delete(jobs).where(jobs.c.id.in_(ids), over)).rowcount if ids else 0
            if len(ids) < SWEPT_AT_ONCE:
                return removed

    def check(self) -> None:
        """See :class:`JobStore`."""
        with self._database.write() as connection:
            own = schemas.c.component == COMPONENT
            connection.execute(update(schemas).where(own).values(version=schemas.c.version))

    def dispose(self) -> None:
        """See :class:`JobStore`."""
        self._database.dispose()


def _insert(connection: Connection) -> Any:
    """``INSERT`` that can say ``ON CONFLICT``: SQLAlchemy has one a dialect."""
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as of_sqlite

        return of_sqlite(jobs)
    from sqlalchemy.dialects.postgresql import insert as of_postgresql

    return of_postgresql(jobs)


def _changed(connection: Connection, which: ColumnElement[bool], values: dict[str, Any]) -> Job | None:
    """The open job that ``which`` chooses, changed; ``None`` if there is none."""
    row = connection.execute(update(jobs).where(which, _OPEN).values(**values).returning(*jobs.c)).one_or_none()
    return None if row is None else to_job(row)


def _found(connection: Connection, job_id: str) -> Job:
    row = connection.execute(select(jobs).where(_is(job_id))).one_or_none()
    if row is None:
        raise _unknown(job_id)
    return to_job(row)


def _is(job_id: str) -> ColumnElement[bool]:
    """Which job; what cannot be an id is not asked for, because PostgreSQL refuses some texts."""
    if _ID.fullmatch(job_id) is None:
        raise _unknown(job_id)
    return jobs.c.id == job_id


def _unknown(job_id: str) -> UnknownJobError:
    return UnknownJobError(f"there is no job {job_id[:40]!r}; it never was, or it has expired")


def _lost(job: Job, epoch: int) -> LostJobError:
    if job.closed:
        return LostJobError(f"the job {job.id} is {job.state}; stop working on it")
    return LostJobError(
        f"the job {job.id} has the owner {job.owner!r} of epoch {job.owner_epoch}, and epoch {epoch} asks; "
        "stop working on it"
    )
