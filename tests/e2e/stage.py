"""Where the tests on a cluster play: one Airflow, one namespace, one bucket, and the projects they add.

A project is a folder with models and workflows and a Dag file of its own: an Airflow task reads no other.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest
import slow_models
from cluster import eventually
from kubernetes import client

from airflow_agentic import Workflow, __version__
from airflow_agentic.artifacts import Store
from airflow_agentic.coordinator import Coordinator
from airflow_agentic.pipeline.inputs import Input, read_records
from scripts.s3 import s3_options

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.airflow_parts import AirflowParts

BUCKET: Final = "runs"
SECRET: Final = "artifacts"
"""In the namespace, with the bucket's credentials."""
HANDLERS: Final = "handlers"
"""ConfigMap in the namespace, with the code of slow_models."""
PYTHON: Final = f"airflow-agentic/python:{__version__}"
TENSORFLOW: Final = f"airflow-agentic/tensorflow:{__version__}"
TORCH: Final = f"airflow-agentic/torch:{__version__}"
PACKAGES: Final = "airflow-agentic/python:mixed-inbox"
"""Images of docker/, which ``make e2e`` builds and loads into the cluster."""
TEXTS: Final = ("a good day", "a bad day", "good, good and bad", "neither")
TOLERANCE: Final = 1e-4
"""Between scores of one model in two processes: threads and batches may differ in the last bits."""

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
SLOW: Final = """\
apiVersion: airflow-agentic/v1
kind: Model
name: {name}
version: "1"
task: text-classification
input: text
output: {{classes: [negative, positive], score_kind: other}}
runtime:
  framework: python
  handler: slow_models:Slow
  args: {args}
isolation: {isolation}
resources: {{cpu: 50m, memory: 256Mi}}
image: {image}
kubernetes:
  env_vars: {{PYTHONPATH: "/opt/airflow-agentic:/handlers"}}
  volumes: [{{name: handlers, configMap: {{name: {handlers}}}}}]
  volume_mounts: [{{name: handlers, mountPath: /handlers}}]
"""
WORKFLOW: Final = """\
apiVersion: airflow-agentic/v1
kind: Workflow
name: {name}
runner: kubernetes
kubernetes:
{kubernetes}
{route}
publish: {{uri: answers/, format: jsonl}}
"""
ROUTE: Final = """\
input: ../inbox.jsonl
parallelism: 2
shard: {rows: 1}
task: {retries: 1, retry_delay: 1s}
routes:
  - use: first
"""
DAGS: Final = '''\
"""Workflows to Dags (airflow)."""
from airflow_agentic import load_workflows

load_workflows("workflows")
'''


def card(name: str, image: str = PYTHON) -> str:
    """A model that counts words."""
    return CARD.format(name=name, image=image)


def slow(name: str, *, isolation: str = "inline", **arguments: float) -> str:
    """A model of slow_models; ``arguments`` are its own."""
    args = json.dumps({"positive": ["good"], "negative": ["bad"], **arguments})
    return SLOW.format(name=name, args=args, isolation=isolation, image=PYTHON, handlers=HANDLERS)


def inbox(records: int = len(TEXTS)) -> str:
    """So many records as JSON lines."""
    lines = ({"id": f"r{number}", "text": TEXTS[number % len(TEXTS)]} for number in range(records))
    return "".join(f"{json.dumps(line)}\n" for line in lines)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One Airflow, whose tasks run pods in ``space`` and keep their artifacts in a bucket at ``endpoint``."""

    api: client.ApiClient
    space: str
    endpoint: str
    projects: Path
    """The Dags folder."""
    server: AirflowParts

    @property
    def pods(self) -> client.CoreV1Api:
        """What is asked about pods."""
        return client.CoreV1Api(self.api)

    def workflow(self, name: str, *, route: str = ROUTE, **kubernetes: Any) -> str:
        """A workflow whose models run in pods here; ``kubernetes`` goes on with its ``kubernetes``."""
        settings = {
            "namespace": self.space,
            "artifacts": f"s3://{BUCKET}/airflow",
            "env_from": [{"secretRef": {"name": SECRET}}],
            "startup_check_interval_seconds": 1,
            **kubernetes,
        }
        lines = "\n".join(f"  {key}: {json.dumps(value)}" for key, value in settings.items())
        return WORKFLOW.format(name=name, kubernetes=lines, route=route)

    def project(self, name: str, *, models: dict[str, str], workflows: dict[str, str], **files: str) -> Path:
        """Add a project, whose Dags Airflow then finds; ``files`` lie beside its folders, as JSON lines."""
        folder = self.projects / name
        for kind, texts in (("models", models), ("workflows", workflows)):
            (folder / kind).mkdir(parents=True)
            for each, text in texts.items():
                (folder / kind / f"{each}.yaml").write_text(text)
        for each, text in {"inbox": inbox(), **files}.items():
            (folder / f"{each}.jsonl").write_text(text)
        (folder / f"{name}_dags.py").write_text(DAGS)
        return folder

    def start(self, dag_id: str) -> str:
        """Start a run; returns its id."""
        self.server.wait_dag(dag_id)
        return self.server.trigger(dag_id)

    def logs(self, dag_id: str, run_id: str) -> str:
        """Of every try of every Airflow task of the run."""
        return "\n".join(
            self.server.task_log(dag_id, run_id, each["task_id"], try_number=number, map_index=each["map_index"])
            for each in self.server.tasks(dag_id, run_id)
            for number in range(1, each["try_number"] + 1)
        )

    def succeeded(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Wait for a run that succeeds; returns its answers, by :func:`compared`."""
        found = self.server.wait_run(dag_id, run_id)
        assert found["state"] == "success", self.logs(dag_id, run_id)
        return self.published(dag_id, run_id)

    def failed(self, dag_id: str, run_id: str) -> str:
        """Wait for a run whose model fails; returns the log of its Airflow task.

        The run goes on: each of the records is published, with an error.
        """
        self.server.wait_run(dag_id, run_id)
        each = next((each for each in self.server.tasks(dag_id, run_id) if each["state"] == "failed"), None)
        assert each is not None, self.logs(dag_id, run_id)
        return self.server.task_log(
            dag_id, run_id, each["task_id"], try_number=each["try_number"], map_index=each["map_index"]
        )

    def published(self, dag_id: str, run_id: str, task: str = "publish") -> list[dict[str, Any]]:
        """The answers of a run, which its Airflow task ``task`` published, by :func:`compared`."""
        uri = self.server.xcom(dag_id, run_id, task)["uri"]
        store = Store.open(uri, options=s3_options(self.endpoint))
        lines = [line for name in store.list() if name.endswith(".jsonl") for line in store.read(name).splitlines()]
        return compared([json.loads(line) for line in lines])

    def tries(self, dag_id: str, run_id: str) -> list[int]:
        """How often each unit was tried, sorted."""
        return sorted(each["try_number"] for each in self.server.tasks(dag_id, run_id) if each["map_index"] >= 0)

    def pods_of(self, dag_id: str) -> list[client.V1Pod]:
        """The pods of a Dag's runs that are there now."""
        found: list[client.V1Pod] = self.pods.list_namespaced_pod(self.space, label_selector=f"dag_id={dag_id}").items
        return found

    def pod(self, dag_id: str, phase: str | None = None) -> client.V1Pod:
        """A pod of the Dag, once there is one, in ``phase``."""
        return eventually(
            lambda: next((pod for pod in self.pods_of(dag_id) if phase in {None, pod.status.phase}), None),
            what=f"a pod of {dag_id} ({phase or 'any phase'})",
        )

    def no_pod_left(self, dag_id: str) -> None:
        """Nothing of the Dag runs on when it has ended."""
        eventually(lambda: not self.pods_of(dag_id), what=f"all pods of {dag_id} deleted")


def expected(path: Path) -> list[dict[str, Any]]:
    """The answers of a workflow's own input without Airflow and without pods; scores within :data:`TOLERANCE`."""
    found = Workflow.load(path)
    assert found.spec.input is not None
    (table,) = read_records(Input(uri=found.spec.input.uri, base=path.parent))
    rows = compared(Coordinator(found.plan, allowed_handlers=[slow_models.__name__]).run(table).to_pylist())
    return [{**row, "score": row["score"] and pytest.approx(row["score"], abs=TOLERANCE)} for row in rows]


def compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each answer what does not depend on who gave it, by record; a record that is there twice is there twice."""
    keep = ("record_id", "label", "score", "model", "error", "route", "calls")
    return sorted(({key: row[key] for key in keep} for row in rows), key=lambda row: str(row["record_id"]))
