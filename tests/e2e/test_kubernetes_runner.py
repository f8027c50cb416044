"""``runner: kubernetes`` on a real cluster, by a real Airflow, with an S3 store: the answers are those of the worker.

Images ``airflow-agentic/python`` and ``airflow-agentic/tensorflow`` must be in the cluster: ``make e2e`` builds and
loads them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from cluster import cluster, eventually, namespace
from kubernetes import client
from stored import s3_options, s3_server

from airflow_agentic import Workflow, __version__
from airflow_agentic.artifacts import Store
from airflow_agentic.coordinator import Coordinator
from airflow_agentic.pipeline.inputs import Input, read_records
from scripts.airflow_server import AirflowServer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

EXAMPLES: Final = Path(__file__).resolve().parents[2] / "dags"
PYTHON: Final = f"airflow-agentic/python:{__version__}"
TENSORFLOW: Final = f"airflow-agentic/tensorflow:{__version__}"
BUCKET: Final = "runs"
TEXTS: Final = ["a good day", "a bad day", "good, good and bad", "neither"]

CARD: Final = """\
apiVersion: airflow-agentic/v1
kind: Model
name: {name}
version: "1"
task: text-classification
input: text
output: {{classes: [negative, positive], score_kind: other}}
runtime:
  framework: python
  handler: airflow_agentic.contrib.rules:KeywordSentiment
  args: {{positive: [good], negative: [bad]}}
resources: {{cpu: 50m, memory: 256Mi}}
image: {image}
"""
WORKFLOW: Final = """\
apiVersion: airflow-agentic/v1
kind: Workflow
name: {name}
runner: kubernetes
kubernetes:
  namespace: {space}
  artifacts: s3://{bucket}/airflow
  deferrable: {deferrable}
  env_from: [{{secretRef: {{name: artifacts}}}}]
  startup_check_interval_seconds: 1
input: ../inbox.jsonl
parallelism: 2
shard: {{rows: 1}}
task: {{retries: 1, retry_delay: 1s}}
routes:
  - use: {{cascade: [first, second]}}
    accept: prediction.score > 0.9
publish: {{uri: answers/, format: jsonl}}
"""
FAULTS: Final = {
    "deleted": ("first", ""),
    "no-image": ("first", "  image: airflow-agentic/none:0\n  startup_timeout_seconds: 20\n"),
    "no-node": ("first", "  container_resources: {requests: {cpu: '999'}}\n  schedule_timeout_seconds: 15\n"),
    "no-memory": ("first", "  container_resources: {limits: {memory: 16Mi}}\n"),
    "no-store": ("first", ""),
}
"""By workflow: its model, and what is said of its pods."""
DAGS: Final = '''\
"""Workflows to Dags (airflow)."""
from airflow_agentic import load_workflows

load_workflows("workflows")
'''


@pytest.fixture(scope="module")
def api() -> Iterator[client.ApiClient]:
    with cluster() as found:
        yield found


@pytest.fixture(scope="module")
def space(api: client.ApiClient, endpoint: str) -> Iterator[str]:
    with namespace(api, "inference") as name:
        secret = {f"AWS_{key.upper()}": value for key, value in s3_options(endpoint).items()}
        body = {"metadata": {"name": "artifacts"}, "stringData": {**secret, "AWS_ALLOW_HTTP": "true"}}
        client.CoreV1Api(api).create_namespaced_secret(name, body)
        yield name


@pytest.fixture(scope="module")
def endpoint(api: client.ApiClient) -> Iterator[str]:
    """An S3 server on this machine, where the cluster's pods reach it."""
    (node, *_) = client.CoreV1Api(api).list_node().items
    address = next(one.address for one in node.status.addresses if one.type == "InternalIP")
    with s3_server(os.environ.get("HOST_ADDRESS", address), BUCKET) as found:
        yield found


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory, space: str) -> Path:
    folder = tmp_path_factory.mktemp("dags")
    for name in ("models", "workflows"):
        (folder / name).mkdir()
    (folder / "agentic.py").write_text(DAGS)
    (folder / ".airflowignore").write_text("models/\nworkflows/\n")
    lines = [f'{{"id": "r{number}", "text": "{text}"}}\n' for number, text in enumerate(TEXTS)]
    (folder / "inbox.jsonl").write_text("".join(lines))
    for name in ("first", "second"):
        (folder / "models" / f"{name}.yaml").write_text(CARD.format(name=name, image=PYTHON))
    for name, deferrable in (("sync", "false"), ("deferred", "true")):
        text = WORKFLOW.format(name=name, space=space, bucket=BUCKET, deferrable=deferrable)
        (folder / "workflows" / f"{name}.yaml").write_text(text)
    (folder / "workflows" / "fetched.yaml").write_text(
        WORKFLOW.format(name="fetched", space=space, bucket=BUCKET, deferrable="false")
        .replace("{cascade: [first, second]}", "words-keras")
        .replace("    accept: prediction.score > 0.9\n", "")
    )
    (folder / "models" / "words-keras.yaml").write_text(
        f"{(EXAMPLES / 'models' / 'words-keras.yaml').read_text()}\nimage: {TENSORFLOW}\nkubernetes: {{fetch: true}}\n"
    )
    for name, (first, settings) in FAULTS.items():
        text = WORKFLOW.format(name=name, space=space, bucket=BUCKET, deferrable="false")
        text = text.replace("{cascade: [first, second]}", first).replace("    accept: prediction.score > 0.9\n", "")
        if name == "no-store":
            text = text.replace(f"s3://{BUCKET}/airflow", "s3://no-such-bucket/airflow")
        text = text.replace("retries: 1", f"retries: {int(name == 'deleted')}")
        (folder / "workflows" / f"{name}.yaml").write_text(text.replace("kubernetes:\n", f"kubernetes:\n{settings}"))
    many = [f'{{"id": "r{number}", "text": "{TEXTS[number % 4]}"}}\n' for number in range(160)]
    (folder / "many.jsonl").write_text("".join(many))
    deleted = folder / "workflows" / "deleted.yaml"
    deleted.write_text(deleted.read_text().replace("inbox.jsonl", "many.jsonl"))
    (folder / "built").mkdir()
    shutil.copy(EXAMPLES / "built" / "words.keras", folder / "built")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, dags: Path, endpoint: str) -> Iterator[AirflowServer]:
    options = s3_options(endpoint)
    settings = {
        "KUBECONFIG": os.environ["KUBECONFIG"],
        "AIRFLOW__AGENTIC__ARTIFACTS": f"s3://{BUCKET}/airflow",
        "AIRFLOW_CONN_KUBERNETES_DEFAULT": '{"conn_type": "kubernetes"}',
        "AWS_ALLOW_HTTP": "true",
        **{f"AWS_{key.upper()}": value for key, value in options.items()},
    }
    with AirflowServer(home=tmp_path_factory.mktemp("airflow") / "home", dags=dags, settings=settings) as found:
        yield found


def expected(path: Path) -> list[dict[str, Any]]:
    """The answers of the workflow without Airflow and without pods."""
    found = Workflow.load(path)
    assert found.spec.input is not None
    (table,) = read_records(Input(uri=found.spec.input.uri, base=path.parent))
    return compared(Coordinator(found.plan).run(table).to_pylist())


def compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    keep = ("record_id", "label", "score", "model", "error", "route", "calls")
    return sorted(({key: row[key] for key in keep} for row in rows), key=lambda row: row["record_id"])


def published(server: AirflowServer, endpoint: str, dag_id: str, run_id: str) -> list[dict[str, Any]]:
    uri = server.xcom(dag_id, run_id, "publish")["uri"]
    store = Store.open(uri, options=s3_options(endpoint))
    return [
        json.loads(line) for name in store.list() if name.endswith(".jsonl") for line in store.read(name).splitlines()
    ]


@pytest.mark.parametrize(("name", "model"), [("sync", "first"), ("deferred", "first"), ("fetched", "words-keras")])
def test_pods_answer_as_the_worker_does(
    server: AirflowServer, endpoint: str, dags: Path, api: client.ApiClient, space: str, name: str, model: str
) -> None:
    server.wait_dag(name)
    run_id = server.trigger(name)
    found = server.wait_run(name, run_id)

    logs = [
        server.task_log(name, run_id, each["task_id"], map_index=each["map_index"])
        for each in server.tasks(name, run_id)
    ]
    assert found["state"] == "success", "\n".join(logs)
    assert compared(published(server, endpoint, name, run_id)) == expected(dags / "workflows" / f"{name}.yaml")
    assert any(f"INFO airflow_agentic.container.unit  model {model} 1 is loaded" in log for log in logs), "\n".join(
        logs
    )
    pods = client.CoreV1Api(api)
    eventually(lambda: not pods.list_namespaced_pod(space).items, what="all pods deleted")


def failed_task(server: AirflowServer, dag_id: str, run_id: str) -> str:
    """The log of the first of the model's Airflow tasks that failed."""
    each = next(each for each in server.tasks(dag_id, run_id) if each["state"] == "failed")
    return server.task_log(dag_id, run_id, each["task_id"], map_index=each["map_index"])


def test_a_pod_that_is_deleted_loses_nothing(
    server: AirflowServer, endpoint: str, dags: Path, api: client.ApiClient, space: str
) -> None:
    server.wait_dag("deleted")
    run_id = server.trigger("deleted")
    pods = client.CoreV1Api(api)

    def running() -> str | None:
        found = pods.list_namespaced_pod(space, label_selector="dag_id=deleted").items
        return next((pod.metadata.name for pod in found if pod.status.phase == "Running"), None)

    name = eventually(running, what="a pod of the run")
    pods.delete_namespaced_pod(name, space, grace_period_seconds=0)
    found = server.wait_run("deleted", run_id)

    tries = [each["try_number"] for each in server.tasks("deleted", run_id) if each["map_index"] >= 0]
    assert (found["state"], sorted(tries)) == ("success", [1, 2])
    assert compared(published(server, endpoint, "deleted", run_id)) == expected(dags / "workflows" / "deleted.yaml")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no-image", ["Err", "check the card's image, that the cluster can pull it, and image_pull_secrets"]),
        ("no-node", ["nsufficient cpu", "no node fits: look at the card's resources, node_selector and tolerations"]),
        ("no-memory", ["137", "raise resources.memory in the model's card, or lower batch.rows"]),
        ("no-store", ["no-such-bucket"]),
    ],
)
def test_a_fault_says_cause_pod_and_next_step(server: AirflowServer, name: str, said: list[str]) -> None:
    server.wait_dag(name)
    run_id = server.trigger(name)
    server.wait_run(name, run_id)

    log = failed_task(server, name, run_id)
    assert re.search(r"'first' lost unit \d of 2 \(shards \d to \d, 2 records\): it ended without committing", log), log
    assert [text for text in ["pod text-classification-first-", *said] if text not in log] == [], log
