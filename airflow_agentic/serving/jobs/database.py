"""A database by SQLAlchemy: transactions that either happen or say in our words why not.

SQLite: one writer at a time (``BEGIN IMMEDIATE``), readers beside it (WAL), each commit on the disk before it returns.
PostgreSQL: read committed; what must be decided once is one statement with its condition.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

from airflow_agentic.exceptions import InputError, JobStoreError
from airflow_agentic.serving.jobs.schema import metadata, schemas

if TYPE_CHECKING:
    from collections.abc import Iterator

_READ: Final = "agentic_read"
_SCHEMA_LOCK: Final = 0x61676A6F  # any number that is ours: of several that make the tables at once, one does
_WAYS_OUT: Final = (
    ("locked", "another process writes to it for long: end that, or use PostgreSQL for several gateways"),
    ("lock timeout", "another transaction holds the row for long: look at pg_stat_activity"),
    ("disk is full", "make room; what was acknowledged is there"),
    ("No space left", "make room; what was acknowledged is there"),
    ("readonly", "let this user write the file and its folder"),
    ("unable to open", "let this user write the file and its folder"),
)


class Database:
    """One database.

    :param url: SQLAlchemy's.
    :param wait: seconds that a call waits for others, or for a connection.
    :raises InputError: no such kind of database, or its driver is not installed.
    :raises JobStoreError: the folder of an SQLite file cannot be made.
    """

    def __init__(self, url: str, wait: float) -> None:
        parsed = _parsed(url)
        self.place: Final = parsed.render_as_string(hide_password=True)
        """Its URL, without the password."""
        if parsed.get_backend_name() == "sqlite":
            self._engine = self._sqlite(parsed, wait)
        else:
            self._engine = _postgresql(parsed, wait)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction; committed at the end of the context.

        :raises JobStoreError: the database failed.
        """
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that writes nothing.

        :raises JobStoreError: the database failed.
        """
        with self._translated(), self._engine.connect() as connection:
            yield connection.execution_options(**{_READ: True})

    def make_tables(self, component: str, version: int) -> None:
        """Make the tables that are missing, and look whether they are of this version.

        :raises JobStoreError: they are of another one.
        """
        with self.write() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _SCHEMA_LOCK})
            metadata.create_all(connection)
            found = connection.scalar(select(schemas.c.version).where(schemas.c.component == component))
            if found is None:
                connection.execute(schemas.insert().values(component=component, version=version))
            elif found != version:
                raise JobStoreError(
                    f"{component} in {self.place} have the schema {found}, and this version of airflow-agentic writes "
                    f"{version}: use the version that made them, or an empty database"
                )

    def dispose(self) -> None:
        """Close its connections."""
        self._engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, PoolTimeoutError) as error:
            cause = _cause(error)
            way_out = next((way for sign, way in _WAYS_OUT if sign in cause), "check that it runs and can be written")
            raise JobStoreError(f"the job store {self.place} failed: {cause}; {way_out}") from error

    def _sqlite(self, url: URL, wait: float) -> Engine:
        options: dict[str, Any] = {"connect_args": {"timeout": wait, "check_same_thread": False}, "pool_timeout": wait}
        in_memory = url.database in (None, "", ":memory:")
        if in_memory:  # it lives as long as its connection, which all threads therefore share
            options |= {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0}
        else:
            self._make_file(Path(str(url.database)))
        engine = create_engine(url, **options)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _make_file(self, path: Path) -> None:
        """Answers are nobody else's: SQLite gives its other files the mode of this one."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise JobStoreError(
                f"the job store {self.place} cannot be made: {error.strerror}; "
                "name a file in a folder that this user can write"
            ) from error


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InputError(
            "the URL of the job store is none; write for example sqlite:////var/lib/agentic/jobs.db "
            "or postgresql+psycopg2://user@host/database"
        ) from error
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise InputError(
            f"the job store is in {parsed.get_backend_name()!r}, which is not supported; "
            "use sqlite or postgresql+psycopg2"
        )
    return parsed


def _postgresql(url: URL, wait: float) -> Engine:
    milliseconds = int(wait * 1000)
    settings = f"-c lock_timeout={milliseconds} -c statement_timeout={2 * milliseconds}"
    limits = {"connect_timeout": max(2, int(wait)), "options": settings, "tcp_user_timeout": 4 * milliseconds}
    try:
        return create_engine(url, connect_args=limits, pool_pre_ping=True, pool_timeout=wait)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise InputError(
            f"the driver {url.drivername!r} of the job store is not installed; "
            "install it (pip install psycopg2-binary), or name another, as postgresql+psycopg"
        ) from error


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the module sqlite3 shall begin no transaction: _begin_sqlite does
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get(_READ, False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _cause(error: SQLAlchemyError) -> str:
    """The first line of what the driver says: SQLAlchemy adds the statement and its values, which are records."""
    origin = getattr(error, "orig", None) or error
    return next(iter(str(origin).splitlines()), type(origin).__name__).rstrip(" .:")
