"""What can happen to Airflow and its way to the cluster while pods run: nothing is lost, nothing is doubled."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from breaking import Way, way_to_the_api_server
from cluster import eventually
from stage import ROUTE, Stage, expected, inbox, slow
from stories import Story, in_state, started, under_way, unit

from scripts.faults.victims import at_work

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

EARLY: Final = 50
"""Pods that end before their trigger looks at them for the first time."""
AWAY_SECONDS: Final = 8.0
ONE: Final = ROUTE.replace("inbox", "many").replace("parallelism: 2", "parallelism: 1")
WAYS: Final[dict[str, Way]] = {}


@pytest.fixture(scope="module")
def project(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Dag for each story."""
    configs = tmp_path_factory.mktemp("configs")
    kubeconfig = Path(os.environ["KUBECONFIG"])
    with ExitStack() as stack:
        for name in ("away", "away-deferred"):
            WAYS[name] = stack.enter_context(way_to_the_api_server(kubeconfig, configs / name))
        workflows = {
            **{
                name: stage.workflow(
                    name,
                    route=ONE.replace("retries: 1", "retries: 3"),
                    deferrable=name == "away-deferred",
                    config_file=str(configs / name),
                )
                for name in WAYS
            },
            "worker": stage.workflow("worker", route=ONE.replace("first", "slower")),
            "triggerer": stage.workflow("triggerer", route=ONE, deferrable=True),
            "early": stage.workflow(
                "early",
                route=ROUTE.replace("inbox", "early").replace("first", "quick").replace("2", str(EARLY)),
                deferrable=True,
            ),
        }
        models = {
            "first": slow("first", seconds=1.5),
            "quick": slow("quick").replace("cpu: 50m", "cpu: 1m"),
            "slower": slow("slower", seconds=4),
        }
        yield stage.project("airflow", models=models, workflows=workflows, many=inbox(12), early=inbox(EARLY))


def api_server_away(dag_id: str) -> Story:
    """The API server breaks all connections and answers none for a while."""

    def told(stage: Stage, project: Path) -> None:
        run_id = stage.start(dag_id)
        pod = started(stage, dag_id, shards=1)
        WAYS[dag_id].cut(AWAY_SECONDS)

        assert WAYS[dag_id].turned_away
        assert stage.succeeded(dag_id, run_id) == expected(project / "workflows" / f"{dag_id}.yaml")
        assert pods_named(stage.logs(dag_id, run_id), pod.metadata.name) == {pod.metadata.name}
        stage.no_pod_left(dag_id)

    return told


def pods_named(log: str, name: str) -> set[str]:
    """The pods of the same model that the log names."""
    begin, _, _ = name.rpartition("-")
    return {word.strip("'\".,:") for word in log.replace("/", " ").split() if word.strip("'\"").startswith(begin)}


def worker_killed(stage: Stage, project: Path) -> None:
    run_id = stage.start("worker")
    pod = started(stage, "worker", shards=1)
    work = next(each for each in at_work(stage.server) if each.instance == unit(stage, "worker", run_id)["id"])
    for process in (work.supervisor, work.task):
        process.send(signal.SIGKILL)

    assert stage.succeeded("worker", run_id) == expected(project / "workflows" / "worker.yaml")
    assert stage.tries("worker", run_id) == [2]
    assert f"Reusing existing pod '{pod.metadata.name}'" in stage.logs("worker", run_id)
    stage.no_pod_left("worker")


def triggerer_killed(stage: Stage, project: Path) -> None:
    run_id = stage.start("triggerer")
    pod = started(stage, "triggerer", shards=1)
    in_state(stage, "triggerer", run_id, "deferred")
    stage.server.kill_triggerer()
    stage.server.start_triggerer()

    assert stage.succeeded("triggerer", run_id) == expected(project / "workflows" / "triggerer.yaml")
    assert stage.tries("triggerer", run_id) == [1]
    assert pods_named(stage.logs("triggerer", run_id), pod.metadata.name) == {pod.metadata.name}

    stage.server.kill_triggerer()
    run_id = stage.start("early")
    eventually(lambda: ended(stage, "early") == EARLY, what=f"{EARLY} pods ended", patience=400)
    stage.server.start_triggerer()

    assert stage.succeeded("early", run_id) == expected(project / "workflows" / "early.yaml")
    assert stage.tries("early", run_id) == [1] * EARLY
    for dag_id in ("triggerer", "early"):
        stage.no_pod_left(dag_id)


def ended(stage: Stage, dag_id: str) -> int:
    """How many pods of the Dag have ended."""
    return sum(pod.status.phase in {"Succeeded", "Failed"} for pod in stage.pods_of(dag_id))


def waiting_in_the_triggerer(stage: Stage, project: Path) -> None:
    """One after the other: who is killed sees no API server that is away."""
    api_server_away("away-deferred")(stage, project)
    triggerer_killed(stage, project)


STORIES: Final[dict[str, Story]] = {
    "api server away": api_server_away("away"),
    "worker killed": worker_killed,
    "deferred: api server away, triggerer killed": waiting_in_the_triggerer,
}


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest, stage: Stage, project: Path) -> Iterator[dict[str, Future[None]]]:
    with under_way(request, STORIES, stage, project) as stories:
        yield stories


@pytest.mark.parametrize("name", STORIES)
def test_nothing_is_lost_and_nothing_doubled(told: dict[str, Future[None]], name: str) -> None:
    told[name].result()
