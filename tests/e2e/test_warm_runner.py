"""Units in warm pods of the chart, and units in pods that share no storage: the answers are the worker's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from cluster import eventually
from services import require
from stage import PYTHON, ROUTE, SECRET, Stage, card, expected, inbox

if TYPE_CHECKING:
    from collections.abc import Iterator

try:
    import helm_python as helm
except ImportError:  # a platform without a wheel
    helm = None

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

CHART: Final = Path(__file__).resolve().parents[2] / "charts" / "airflow-agentic"
MANY: Final = ROUTE.replace("inbox", "many")
RETRIED: Final = "retries: 4, retry_delay: 3s"
"""A pod that takes the place of another is ready in a few seconds."""


@pytest.fixture(scope="module")
def project(stage: Stage) -> Path:
    warm = {"warm": True}
    many = MANY.replace("retries: 1, retry_delay: 1s", RETRIED)
    return stage.project(
        "warm",
        models={"first": card("first"), "absent": card("absent")},
        workflows={
            "warm-units": stage.workflow("warm-units", **warm),
            "warm-cancelled": stage.workflow("warm-cancelled", route=MANY, **warm),
            "warm-lost": stage.workflow("warm-lost", route=many, **warm),
            "warm-absent": stage.workflow(
                "warm-absent", route=ROUTE.replace("first", "absent").replace("retries: 1", "retries: 0"), **warm
            ),
            "no-storage": stage.workflow("no-storage", shared_storage=False, env_from=[]),
        },
        many=inbox(200),
    )


@pytest.fixture(scope="module")
def servers(stage: Stage) -> Iterator[None]:
    """Two warm pods of the model ``first``."""
    require(helm is not None, "needs Helm as a library: pip install helm-python-sdk")
    values: dict[str, Any] = {
        "project": {"cards": {"first.yaml": card("first")}},
        "modelServerDefaults": {
            "image": PYTHON,
            "replicas": 2,
            "envFrom": [{"secretRef": {"name": SECRET}}],
            "probes": {"startup": {"periodSeconds": 1}},
        },
        "modelServers": [{"name": "first", "card": "first.yaml"}],
    }
    with helm.Config(kubeconfig_path=os.environ["KUBECONFIG"], namespace=stage.space) as releases:
        releases.install(CHART, "agentic", values, wait="watcher", timeout=180)
        yield
        releases.uninstall("agentic", wait="watcher", timeout=180)


def warm_pods(stage: Stage) -> list[str]:
    selector = "app.kubernetes.io/component=model-server"
    return [pod.metadata.name for pod in stage.pods.list_namespaced_pod(stage.space, label_selector=selector).items]


def log(stage: Stage, pod: str) -> str:
    return str(stage.pods.read_namespaced_pod_log(pod, stage.space))


@pytest.mark.usefixtures("servers")
def test_warm_pods_answer_as_the_worker_does(stage: Stage, project: Path) -> None:
    run_id = stage.start("warm-units")

    assert stage.succeeded("warm-units", run_id) == expected(project / "workflows" / "warm-units.yaml")
    assert stage.pods_of("warm-units") == []
    assert "INFO airflow_agentic.container.unit  shard 0: predictions: 1, errors: 0" in stage.logs("warm-units", run_id)
    logs = [log(stage, pod) for pod in warm_pods(stage)]
    assert [text.count("was loaded") for text in logs] == [1, 1]
    assert [text.count("shard ") for text in logs] == [2, 2]


@pytest.mark.usefixtures("servers")
def test_a_cancelled_run_stops_its_units_and_keeps_the_pods(stage: Stage, project: Path) -> None:
    before = {pod: log(stage, pod).count("shard ") for pod in warm_pods(stage)}
    run_id = stage.start("warm-cancelled")
    eventually(
        lambda: all(log(stage, pod).count("shard ") > count for pod, count in before.items()), what="units at work"
    )
    stage.server.request("PATCH", f"/api/v2/dags/warm-cancelled/dagRuns/{run_id}", body={"state": "failed"})
    gone = "whoever handed it over is gone"
    eventually(lambda: all(gone in log(stage, pod) for pod in before), what="units that were stopped")

    assert warm_pods(stage) == list(before)
    assert all(log(stage, pod).count("shard ") < 100 for pod in before)


@pytest.mark.usefixtures("servers")
def test_a_warm_pod_that_is_lost_loses_nothing(stage: Stage, project: Path) -> None:
    (first, *_) = before = warm_pods(stage)
    count = log(stage, first).count("shard ")
    run_id = stage.start("warm-lost")
    eventually(lambda: log(stage, first).count("shard ") > count, what="a unit at work")
    stage.pods.delete_namespaced_pod(first, stage.space, grace_period_seconds=0)

    assert stage.succeeded("warm-lost", run_id) == expected(project / "workflows" / "warm-lost.yaml")
    assert max(stage.tries("warm-lost", run_id)) > 1
    eventually(lambda: len(set(warm_pods(stage)) - set(before)) == 1, what="a new warm pod")


@pytest.mark.usefixtures("servers", "project")
def test_a_model_that_is_not_warm_is_told(stage: Stage) -> None:
    run_id = stage.start("warm-absent")
    stage.server.wait_run("warm-absent", run_id)  # whose records have no answer, so it does not fail itself
    said = stage.logs("warm-absent", run_id)

    assert f"no warm pod of model 'absent' version 1 is ready in namespace '{stage.space}'" in said
    assert "list the card under modelServers of the chart" in said


def test_pods_without_shared_storage_answer_as_the_worker_does(stage: Stage, project: Path) -> None:
    run_id = stage.start("no-storage")

    assert stage.succeeded("no-storage", run_id) == expected(project / "workflows" / "no-storage.yaml")
    assert "answers in " in stage.logs("no-storage", run_id)
    stage.no_pod_left("no-storage")
