"""What can happen to a pod: nothing is lost, nothing is doubled, or one message names cause, pod and next step."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import pytest
from breaking import FULL, READ_ONLY, store_that_refuses
from cluster import eventually
from stage import BUCKET, PYTHON, ROUTE, Stage, expected, inbox, slow
from stories import Story, asked_for, computed, in_state, started, under_way, unit

from airflow_agentic.artifacts import Store
from airflow_agentic.artifacts.digests import tree_digest
from scripts.cluster import host_address
from scripts.s3 import s3_options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from kubernetes import client

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

RECORDS: Final = 12
ONCE: Final = ROUTE.replace("retries: 1", "retries: 0").replace("parallelism: 2", "parallelism: 1")
MANY: Final = ROUTE.replace("inbox", "many").replace("parallelism: 2", "parallelism: 1")
TWICE: Final = ROUTE.replace("inbox", "many")
RESTRICTED: Final = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
WAITS: Final = {
    "name": "waits",
    "image": PYTHON,
    "command": ["python", "-c", "import time; time.sleep(5)"],
    "securityContext": RESTRICTED,
}
"""An init container that keeps a pod from its model for a while."""
FETCHED: Final = """\
apiVersion: airflow-agentic/v1
kind: Model
name: {name}
version: "1"
task: text-classification
input: text
output: {{classes: [negative, positive]}}
runtime: {{framework: onnx, artifact: ../{name}.onnx, text: {{tokenizer: ../{name}.onnx}}}}
image: {image}
kubernetes: {{fetch: true}}
"""


@pytest.fixture(scope="module")
def project(stage: Stage) -> Iterator[Path]:
    """A Dag for each story."""
    address = host_address(stage.api)
    with ExitStack() as stack:
        refusing = {
            name: {"env_vars": {"AWS_ENDPOINT": stack.enter_context(store_that_refuses(address, *how))}}
            for name, how in (("full", FULL), ("read-only", READ_ONLY))
        }
        workflows = {
            "starting": stage.workflow("starting", route=MANY, init_containers=[WAITS]),
            "predicting": stage.workflow("predicting", route=MANY),
            "committed": stage.workflow("committed", route=MANY.replace("first", "lingering")),
            "twice": stage.workflow("twice", route=TWICE),
            **{
                name: stage.workflow(
                    name, route=MANY.replace("first", "slowest"), deferrable=deferrable, termination_grace_period=2
                )
                for name, deferrable in (("cancelled", False), ("cancelled-deferred", True))
            },
            "no-image": stage.workflow(
                "no-image", route=ONCE, image="airflow-agentic/none:0", startup_timeout_seconds=20
            ),
            "no-node": stage.workflow(
                "no-node", route=ONCE, container_resources={"requests": {"cpu": "999"}}, schedule_timeout_seconds=15
            ),
            **{name: stage.workflow(name, route=ONCE.replace("first", name)) for name in ("hungry", "starving")},
            "no-store": stage.workflow("no-store", route=ONCE, artifacts="s3://no-such-bucket/airflow"),
            **{name: stage.workflow(name, route=ONCE, **how) for name, how in refusing.items()},
            **{name: stage.workflow(name, route=ONCE.replace("first", name)) for name in ("missing", "damaged")},
        }
        models = {
            "first": slow("first", seconds=0.5),
            "lingering": slow("lingering", linger=30),
            "slowest": slow("slowest", seconds=60),
            "hungry": slow("hungry", isolation="process", mebibytes=4000),
            "starving": slow("starving", mebibytes=4000),
            **{name: FETCHED.format(name=name, image=PYTHON) for name in ("missing", "damaged")},
        }
        folder = stage.project("pods", models=models, workflows=workflows, many=inbox(RECORDS))
        store = Store.open(f"s3://{BUCKET}/airflow/.models", options=s3_options(stage.endpoint))
        for name in ("missing", "damaged"):
            file = folder / f"{name}.onnx"
            file.write_bytes(name.encode())
            place = store.child(tree_digest(file))
            place.write("files.json", json.dumps({"name": file.name, "files": [file.name]}).encode())
            if name == "damaged":
                place.write(file.name, b"other bytes")
        yield folder


def delete(stage: Stage, pod: client.V1Pod) -> None:
    """As a node that is lost does it: at once."""
    stage.pods.delete_namespaced_pod(pod.metadata.name, stage.space, grace_period_seconds=0)


def starting(stage: Stage, project: Path) -> None:
    run_id = stage.start("starting")
    delete(stage, stage.pod("starting", "Pending"))

    assert stage.succeeded("starting", run_id) == expected(project / "workflows" / "starting.yaml")
    assert (stage.tries("starting", run_id), computed(stage, "starting", run_id)) == ([2], RECORDS)


def predicting(stage: Stage, project: Path) -> None:
    run_id = stage.start("predicting")
    delete(stage, started(stage, "predicting", shards=2))

    assert stage.succeeded("predicting", run_id) == expected(project / "workflows" / "predicting.yaml")
    assert stage.tries("predicting", run_id) == [2]
    assert 0 < computed(stage, "predicting", run_id) <= RECORDS - 2


def after_the_last_commit(stage: Stage, project: Path) -> None:
    run_id = stage.start("committed")
    delete(stage, started(stage, "committed", shards=RECORDS))

    assert stage.succeeded("committed", run_id) == expected(project / "workflows" / "committed.yaml")
    assert stage.tries("committed", run_id) == [1]
    assert "it ended badly, yet all of unit 0 is committed" in stage.logs("committed", run_id)


def two_runs_at_once(stage: Stage, project: Path) -> None:
    runs = [stage.start("twice"), stage.start("twice")]

    answers = expected(project / "workflows" / "twice.yaml")
    assert [stage.succeeded("twice", run_id) for run_id in runs] == [answers, answers]
    assert [stage.tries("twice", run_id) for run_id in runs] == [[1, 1], [1, 1]]
    assert len({stage.server.xcom("twice", run_id, "publish")["uri"] for run_id in runs}) == 2


def cancelled(dag_id: str, state: str) -> Story:
    """Somebody marks the run failed, in the UI or by the REST API, which are one."""

    def told(stage: Stage, project: Path) -> None:
        run_id = stage.start(dag_id)
        started(stage, dag_id)
        in_state(stage, dag_id, run_id, state)
        if state == "deferred":
            eventually(lambda: "Checking pod" in stage.logs(dag_id, run_id), what="a trigger that looks at the pod")
        stage.server.request("PATCH", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}", body={"state": "failed"})

        stage.no_pod_left(dag_id)
        assert unit(stage, dag_id, run_id)["state"] == "failed"

    return told


STORIES: Final[dict[str, Story]] = {
    "deleted while starting": starting,
    "deleted while predicting": predicting,
    "deleted after the last commit": after_the_last_commit,
    "two runs at once": two_runs_at_once,
    "cancelled": cancelled("cancelled", "running"),
    "cancelled, deferred": cancelled("cancelled-deferred", "deferred"),
}


MESSAGES: Final = {
    "no-image": ["Err", "check the card's image, that the cluster can pull it, and image_pull_secrets"],
    "no-node": ["nsufficient cpu", "no node fits: look at the card's resources, node_selector and tolerations"],
    "hungry": ["raise resources.memory in the model's card, or lower batch.rows"],
    "starving": ["137", "raise resources.memory in the model's card, or lower batch.rows"],
    "no-store": ["no-such-bucket"],
    "full": ["XMinioStorageFull", "not full"],
    "read-only": ["AccessDenied"],
    "missing": ["the artifact store lost a file of 'missing.onnx'", "files.json, then run the Airflow task again"],
    "damaged": ["the artifact store's copy of 'damaged.onnx' was changed", "files.json, then run the Airflow task"],
}
"""By workflow, what its message says beside the unit and the pod."""


@pytest.fixture(scope="module")
def failing(request: pytest.FixtureRequest, stage: Stage, project: Path) -> dict[str, str]:
    """The runs that fail, of those that are asked for."""
    return {name: stage.start(name) for name in MESSAGES if name in asked_for(request)}


@pytest.fixture(scope="module")
def told(
    request: pytest.FixtureRequest, stage: Stage, project: Path, failing: dict[str, str]
) -> Iterator[dict[str, Future[None]]]:
    """The stories, beside the runs that fail."""
    with under_way(request, STORIES, stage, project) as stories:
        yield stories


@pytest.mark.parametrize("name", STORIES)
def test_nothing_is_lost_and_nothing_doubled(told: dict[str, Future[None]], name: str) -> None:
    told[name].result()


@pytest.mark.parametrize("name", MESSAGES)
def test_a_fault_says_cause_pod_and_next_step(stage: Stage, failing: dict[str, str], name: str) -> None:
    log = stage.failed(name, failing[name])

    model = name if name in {"missing", "damaged", "hungry", "starving"} else "first"
    lost = f"{model!r} lost unit 1 of 1 (shards 0 to 3, 4 of the records 'r0' to 'r3'): it ended without committing"
    said = [lost, f"pod text-classification-{model}-", *MESSAGES[name]]
    assert [text for text in said if text not in log] == [], log
    assert "the pod was deleted from outside" not in log
    answers = stage.published(name, failing[name])
    assert [(row["record_id"], row["label"], row["error"]["code"]) for row in answers] == [
        (f"r{number}", None, "model_unavailable") for number in range(4)
    ]
    stage.no_pod_left(name)
