"""The tables of jobs, one schema for SQLite and PostgreSQL."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Column, DateTime, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.types import TypeDecorator

from airflow_agentic.exceptions import JobTooLargeError
from airflow_agentic.serving.jobs.base import MAX_JSON, Job

if TYPE_CHECKING:
    from sqlalchemy import Dialect, Row


class Utc(TypeDecorator[datetime]):
    """A time with the time zone UTC; SQLite itself keeps none."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database."""
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata: Final = MetaData()

schemas: Final = Table(
    "agentic_schemas",
    metadata,
    Column("component", String(64), primary_key=True),
    Column("version", Integer, nullable=False),
)

jobs: Final = Table(
    "agentic_jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("client", Text, nullable=False),
    Column("idempotency_key", Text),
    Column("workflow", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("mode", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("created", Utc, nullable=False),
    Column("updated", Utc, nullable=False),
    Column("expires", Utc, nullable=False),
    Column("deadline", Utc),
    Column("request", Text),
    Column("result", Text),
    Column("result_uri", Text),
    Column("error", Text),
    Column("dag_run", Text),
    Column("owner", Text),
    Column("owner_epoch", Integer, nullable=False),
    Column("leased_until", Utc),
    Index("agentic_jobs_key", "client", "idempotency_key", unique=True),
    Index("agentic_jobs_state", "state", "created"),
    Index("agentic_jobs_expires", "expires"),
)

_JSON: Final = ("request", "result", "error")


def to_text(what: str, value: Any) -> str | None:
    """A value as JSON.

    :param what: what it is, for the message.
    :raises JobTooLargeError: it has more than ``MAX_JSON`` bytes.
    """
    if value is None:
        return None
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    if len(text) > MAX_JSON:
        raise JobTooLargeError(
            f"the job's {what} has {len(text):,} bytes as JSON, and the job store keeps at most {MAX_JSON:,}: "
            "write it to a file or an object, and give its URI"
        )
    return text


def to_job(row: Row[Any]) -> Job:
    """A row as a job."""
    values = dict(row._mapping)
    del values["idempotency_key"]
    for name in _JSON:
        values[name] = None if values[name] is None else json.loads(values[name])
    return Job(**values)
