"""One behaviour suite for every job store: SQLite in a file and in memory, PostgreSQL."""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from jobbing import Clock, closing, completed, new, worker
from jobs_alone import JobStoreContract
from services import require
from sqlalchemy import create_engine, text

from airflow_agentic.exceptions import JobStoreError
from airflow_agentic.serving.jobs import JobStore, Lease, SqlJobs
from scripts.postgres import PostgresServer, programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ME = Lease(owner="me", seconds=30)
YOU = Lease(owner="you", seconds=30)


class SharedJobStoreContract(JobStoreContract):
    """What stores do that several processes use."""

    def test_what_was_acknowledged_is_there_for_another(self, store: JobStore, url: str, clock: Clock) -> None:
        job = store.submit(new(), key="k", lease=ME).job
        closed = store.close(job.id, completed("answer"), epoch=1).job
        with closing(SqlJobs.open(url, clock=clock)) as other:
            assert other.job(job.id) == closed
            assert other.submit(new(), key="k").job == closed

    def test_of_two_processes_one_gets_the_job(self, store: JobStore, url: str) -> None:
        job = store.submit(new()).job
        with worker(url, "claim", job.id) as one, worker(url, "claim", job.id) as two:
            for each in (one, two):
                assert each.hears() == "ready"
            for each in (one, two):
                each.says("go")
            assert sorted(each.hears() for each in (one, two)) == ["1", "nothing"]

    def test_of_two_processes_one_makes_the_keys_job(self, store: JobStore, url: str) -> None:
        with worker(url, "submit", "k") as one, worker(url, "submit", "k") as two:
            for each in (one, two):
                assert each.hears() == "ready"
            for each in (one, two):
                each.says("go")
            said = sorted(each.hears().split() for each in (one, two))
        assert [answer[:2] for answer in said] == [["False", "False"], ["True", "True"]]
        assert said[0][2] == said[1][2]

    def test_a_job_outlives_its_killed_owner(self, store: JobStore, url: str) -> None:
        clock = Clock(datetime.now(UTC))  # the worker's is the machine's
        job = store.submit(new(request={"text": "a"})).job
        with worker(url, "hold", job.id) as holder:
            holder.says("go")
            assert [holder.hears(), holder.hears()] == ["ready", "1"]
            holder.kill()
        with closing(SqlJobs.open(url, clock=clock)) as mine:
            assert mine.claim(job.id, ME) is None
            clock.forward(120)
            (taken,) = mine.claim_free(ME, limit=9)
            assert (taken.id, taken.owner_epoch, taken.request) == (job.id, 2, {"text": "a"})
            assert mine.close(job.id, completed("answer"), epoch=2).won

    def test_a_process_killed_in_a_transaction_has_done_nothing(self, store: JobStore, url: str) -> None:
        job = store.submit(new(), lease=ME).job
        with worker(url, "torn", job.id) as torn:
            torn.says("go")
            assert [torn.hears(), torn.hears()] == ["ready", "changed"]
            torn.kill()
        assert store.job(job.id) == job
        assert store.close(job.id, completed(1), epoch=1).won

    def test_a_store_of_another_schema_is_refused(self, store: SqlJobs, url: str) -> None:
        with store._database.write() as connection:
            connection.exec_driver_sql("UPDATE agentic_schemas SET version = 7")
        with pytest.raises(JobStoreError) as caught:
            SqlJobs.open(url)
        assert str(caught.value) == (
            f"jobs in {store._database.place} have the schema 7, and this version of airflow-agentic writes 1: "
            "use the version that made them, or an empty database"
        )

    def test_several_that_open_it_first_make_one_schema(self, url: str) -> None:
        barrier = threading.Barrier(4)

        def opened(_: int) -> str:
            barrier.wait()
            with closing(SqlJobs.open(url)) as store:
                return store.submit(new(), key="k").job.id

        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(opened, range(4)))) == 1


class TestMemory(JobStoreContract):
    @pytest.fixture
    def url(self) -> str:
        return "sqlite://"


class TestSqliteFile(SharedJobStoreContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/state/jobs.db"


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    require(programs(), "needs PostgreSQL: apt-get install postgresql")
    with PostgresServer() as server:
        yield server


class TestPostgres(SharedJobStoreContract):
    @pytest.fixture
    def url(self, postgres: PostgresServer) -> str:
        """Of a database of its own."""
        name = f"jobs_{secrets.token_hex(4)}"
        engine = create_engine(postgres.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return f"{postgres.url.removesuffix('postgres')}{name}"

    def test_connections_that_the_server_ended_are_made_anew(self, store: SqlJobs, postgres: PostgresServer) -> None:
        job = store.submit(new()).job
        engine = create_engine(postgres.url)
        with engine.connect() as connection:
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"),
                {"name": store._database.place.rpartition("/")[2]},
            )
        engine.dispose()
        assert store.job(job.id) == job
