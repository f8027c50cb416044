"""What the job store says of a database that fails: what was acknowledged stays."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
from jobbing import closing, completed, new

from airflow_agentic.exceptions import InputError, JobStoreError
from airflow_agentic.serving.jobs import Lease, SqlJobs
from scripts.airflow_server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ME = Lease(owner="me", seconds=30)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "jobs.db"


@pytest.fixture
def store(file: Path) -> Iterator[SqlJobs]:
    with closing(SqlJobs.open(f"sqlite:///{file}", wait=0.05)) as store:
        yield store


def test_nobody_else_reads_the_file(store: SqlJobs, file: Path) -> None:
    store.submit(new())
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in [file.parent, *file.parent.iterdir()]}
    assert modes == {"state": "0o700", "jobs.db": "0o600", "jobs.db-wal": "0o600", "jobs.db-shm": "0o600"}


def test_every_commit_is_on_the_disk(store: SqlJobs) -> None:
    with store._database.read() as connection:
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    assert found == ["wal", 2]


def test_a_locked_database_is_an_error_that_can_be_retried(store: SqlJobs, file: Path) -> None:
    job = store.submit(new(), lease=ME).job
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(JobStoreError) as caught:
        store.close(job.id, completed(1), epoch=1)
    assert str(caught.value) == (
        f"the job store sqlite:///{file} failed: database is locked; "
        "another process writes to it for long: end that, or use PostgreSQL for several gateways"
    )
    assert caught.value.retryable
    assert store.job(job.id) == job  # readers go on

    other.execute("ROLLBACK")
    other.close()
    assert store.close(job.id, completed(1), epoch=1).won


def test_a_full_disk_loses_nothing_that_was_acknowledged(store: SqlJobs, file: Path) -> None:
    job = store.submit(new(), key="k", lease=ME).job
    with store._database.read() as connection:  # the one connection of the pool keeps the limit
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(JobStoreError) as caught:
        store.close(job.id, completed("x" * 100_000), epoch=1)
    assert str(caught.value) == (
        f"the job store sqlite:///{file} failed: database or disk is full; make room; what was acknowledged is there"
    )
    assert store.job(job.id) == job
    with closing(SqlJobs.open(f"sqlite:///{file}")) as roomy:
        assert roomy.close(job.id, completed("x" * 100_000), epoch=1).won


def test_a_damaged_file_is_named(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"no database " * 1000)
    with pytest.raises(JobStoreError) as caught:
        SqlJobs.open(f"sqlite:///{file}")
    assert str(caught.value) == (
        f"the job store sqlite:///{file} failed: file is not a database; check that it runs and can be written"
    )


def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(JobStoreError) as caught:
        SqlJobs.open(f"sqlite:///{tmp_path}/state/jobs.db")
    assert str(caught.value) == (
        f"the job store sqlite:///{tmp_path}/state/jobs.db cannot be made: File exists; "
        "name a file in a folder that this user can write"
    )


def test_a_server_that_is_away_is_named_without_its_password() -> None:
    port = free_port()
    with pytest.raises(JobStoreError) as caught:
        SqlJobs.open(f"postgresql+psycopg2://me:s3cret@127.0.0.1:{port}/jobs", wait=2)
    assert str(caught.value) == (
        f"the job store postgresql+psycopg2://me:***@127.0.0.1:{port}/jobs failed: "
        f'connection to server at "127.0.0.1", port {port} failed: Connection refused; '
        "check that it runs and can be written"
    )


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "jobs.db",
            "the URL of the job store is none; write for example sqlite:////var/lib/agentic/jobs.db "
            "or postgresql+psycopg2://user@host/database",
        ),
        (
            "mysql://host/jobs",
            "the job store is in 'mysql', which is not supported; use sqlite or postgresql+psycopg2",
        ),
        (
            "postgresql+pg8000://host/jobs",
            "the driver 'postgresql+pg8000' of the job store is not installed; "
            "install it (pip install psycopg2-binary), or name another, as postgresql+psycopg",
        ),
    ],
)
def test_a_url_of_no_database_of_ours_is_refused(url: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        SqlJobs.open(url)
    assert str(caught.value) == message
