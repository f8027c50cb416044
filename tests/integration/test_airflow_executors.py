"""The example with all its frameworks on PostgreSQL, by LocalExecutor and by CeleryExecutor over Redis.

One Airflow has both executors; the workflow's ``task: {executor: …}`` chooses.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml
from example_project import copy_project
from services import require

from scripts.airflow_demo import read_answers
from scripts.airflow_server import AirflowServer
from scripts.postgres import PostgresServer, programs
from scripts.redis import PROGRAM, RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = [pytest.mark.airflow, pytest.mark.models, pytest.mark.timeout(900)]

WORKFLOW: Final = "mixed-inbox"
CELERY: Final = "mixed-inbox-celery"
EXECUTORS: Final = {WORKFLOW: "LocalExecutor", CELERY: "CeleryExecutor"}
RECORDS: Final = 24
"""Of the example's inbox."""


class ServerWithWorker(AirflowServer):
    """And a Celery worker beside its own parts."""

    def _launch(self) -> None:
        super()._launch()
        self._start_part("celery", "worker", "--concurrency", "2", "--skip-serve-logs")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowServer]:
    """On PostgreSQL, with both executors and one Celery worker."""
    require(programs(), "needs PostgreSQL: apt-get install postgresql")
    require(shutil.which(PROGRAM), "needs Redis: apt-get install redis-server")
    require(find_spec("celery"), "needs Celery: pip install apache-airflow-providers-celery")
    folder = tmp_path_factory.mktemp("executors")
    dags = copy_project(folder / "dags")
    for_celery(dags / "workflows")
    with PostgresServer() as postgres, RedisServer(home=folder / "redis") as redis:
        settings = {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres.url,
            "AIRFLOW__CORE__EXECUTOR": ",".join(EXECUTORS.values()),
            "AIRFLOW__CELERY__BROKER_URL": redis.url,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{postgres.url}",
        }
        with ServerWithWorker(home=folder / "home", dags=dags, settings=settings) as server:
            yield server


def for_celery(workflows: Path) -> None:
    """The example once more, whose Airflow tasks ask for the other executor."""
    text = (workflows / f"{WORKFLOW}.yaml").read_text()
    spec = {**yaml.safe_load(text), "name": CELERY, "task": {"executor": EXECUTORS[CELERY]}}
    (workflows / f"{CELERY}.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))


@pytest.fixture(scope="module")
def runs(server: AirflowServer) -> dict[str, str]:
    """The runs' ids by Dag; one after the other, because each loads all frameworks."""
    ids = {}
    for name in EXECUTORS:
        server.wait_dag(name)
        ids[name] = server.trigger(name)
        assert server.wait_run(name, ids[name], timeout=600)["state"] == "success"
    return ids


@pytest.fixture(scope="module")
def answers(server: AirflowServer, runs: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """The published answers by Dag."""
    return {name: read_answers(server.xcom(name, run_id, "publish")["uri"]) for name, run_id in runs.items()}


@pytest.mark.parametrize("name", EXECUTORS)
def test_its_airflow_tasks_ran_by_this_executor(server: AirflowServer, runs: dict[str, str], name: str) -> None:
    instances = server.tasks(name, runs[name])

    ran = [each for each in instances if each["state"] == "success" and each["hostname"]]
    assert {"preprocess", "route", "aggregate", "publish"} <= {each["task_id"] for each in ran}
    assert {each["executor"] for each in ran} == ({EXECUTORS[name]} if name == CELERY else {None})


@pytest.mark.parametrize("name", EXECUTORS)
def test_every_record_is_answered_once(answers: dict[str, list[dict[str, Any]]], name: str) -> None:
    found = [answer["record_id"] for answer in answers[name]]

    assert len(found) == len(set(found)) == RECORDS


def test_both_executors_give_the_same_answers(answers: dict[str, list[dict[str, Any]]]) -> None:
    local, celery = ([told(answer) for answer in answers[name]] for name in EXECUTORS)

    assert local == celery


def told(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What does not depend on the moment."""
    error = answer["error"] and answer["error"]["code"]
    return {**{name: answer[name] for name in ("record_id", "task", "model", "label", "degraded")}, "error": error}
