"""A model's units as pods, against pods by hand, and warm pods against cold ones; on a real Airflow and cluster.

The model is the TensorFlow one of the examples, baked into an image; a shard of 16 texts takes milliseconds, so that
the pods are what is measured. Records, answers and markers lie on an S3 server of this process.

Floor, one Airflow task: a KubernetesPodOperator by hand with the same image, the same command and the same pod; it
checks nothing. Floor, 64 shards: 64 such pods as mapped Airflow tasks, two at a time; the subject works through them in
two pods. Floor, warm: the subject of the row before; the warm pods are two, of the chart.

Runs take turns, one at a time. Time is Airflow's own: of one Airflow task, from its start to its end; of 64 shards,
from the first start of a unit to the last end.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import helm_python as helm
from kubernetes import client

from airflow_agentic import Workflow
from airflow_agentic.artifacts import Store, file_digest
from airflow_agentic.container.reference import UnitReference
from airflow_agentic.execution import Folder, Run, snapshot
from airflow_agentic.pipeline.inputs import inline_records
from airflow_agentic.plan.ir import Infer, Route
from benchmarks.base import ROOT, WORK, Pairs, Result
from scripts.airflow_parts import AirflowParts
from scripts.cluster import connected, host_address, namespace
from scripts.postgres import PostgresServer
from scripts.s3 import s3_environment, s3_options, s3_server

PAIRS: Final = 10
SHARDS: Final = 64
ROWS: Final = 16
ONE: Final = 1.1
MANY: Final = 0.2
WARM: Final = 0.5

MODEL: Final = "words-keras"
IMAGE: Final = f"airflow-agentic/{MODEL}:bench"
BUCKET: Final = "runs"
SECRET: Final = "artifacts"
CHART: Final = ROOT / "charts" / "airflow-agentic"

WORKFLOW: Final = """\
apiVersion: airflow-agentic/v1
kind: Workflow
name: {name}
runner: kubernetes
kubernetes: {kubernetes}
models: ../models
input: ../{records}.jsonl
parallelism: {parallelism}
shard: {{rows: {rows}}}
routes:
  - use: words-keras
"""
AGENTIC: Final = '''\
"""Workflows to Dags (airflow)."""
from airflow_agentic import load_workflows

load_workflows("workflows")
'''
HAND: Final = '''\
"""Pods by hand (airflow)."""
import json

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import Param, dag, task
from kubernetes.client import models as k8s

POD = json.loads("""{pod}""")
POD["env_from"] = [k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource(name="{secret}"))]
POD["volumes"] = [k8s.V1Volume(name="scratch", empty_dir=k8s.V1EmptyDirVolumeSource())]
POD["volume_mounts"] = [k8s.V1VolumeMount(name="scratch", mount_path="/tmp")]


@dag(schedule=None, dag_id="hand", catchup=False, params={{"units": Param([], type="array")}})
def hand():
    @task
    def units(params):
        return params["units"]

    model = KubernetesPodOperator.partial(task_id="model", name="hand", max_active_tis_per_dagrun=2, **POD)
    model.expand(arguments=units())


hand()
'''


def run() -> list[Result]:
    """All three rows."""
    with _stage() as stage:
        return [one_task(stage), *many_shards(stage)]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """An Airflow with the Dags, a namespace with warm pods, and the store."""

    server: AirflowParts
    store: Store
    project: Path

    def seconds(self, dag_id: str, conf: dict[str, Any] | None = None) -> float:
        """From the first start of a unit to the last end, in one run."""
        run_id = self.server.trigger(dag_id, conf)
        found = self.server.wait_run(dag_id, run_id, timeout=1800)
        units = [each for each in self.server.tasks(dag_id, run_id) if each["map_index"] >= 0]
        if found["state"] != "success" or any(each["state"] != "success" for each in units):
            raise RuntimeError(f"run {run_id} of {dag_id} is {found['state']}: {units}")
        starts, ends = ([datetime.fromisoformat(each[key]) for each in units] for key in ("start_date", "end_date"))
        return (max(ends) - min(starts)).total_seconds()

    def units(self, name: str, run_id: str) -> list[list[str]]:
        """The arguments of each unit's pod, of a run that is made here up to its model."""
        plan = snapshot(Workflow.load(self.project / "by-hand" / f"{name}.yaml").plan)
        lines = (self.project / f"{name}.jsonl").read_text().splitlines()
        records = inline_records([{"record_id": one["id"], "text": one["text"]} for one in map(json.loads, lines)])
        run: Run = Folder.of(self.store, "default", "hand", run_id).start(plan, [records], [])
        run.control(run.plan.of(Route)[0])
        (node,) = run.plan.of(Infer)
        return [
            UnitReference(
                store=run.folder.store.base, manifest=run.manifest, node=node.id, unit=unit.number
            ).to_arguments()
            for unit in run.units()
        ]

    def by_hand(self, name: str, run_id: str) -> float:
        """The floor."""
        return self.seconds("hand", {"units": [["unit", *unit] for unit in self.units(name, run_id)]})


def one_task(stage: Stage) -> Result:
    """One Airflow task, in pairs, after one of each that is not counted."""
    times: dict[str, list[float]] = {"hand": [], "ours": []}
    for turn in range(-1, PAIRS):
        sides: list[tuple[str, Callable[[], float]]] = [
            ("hand", lambda turn=turn: stage.by_hand("one", f"one-{turn}")),  # type: ignore[misc]
            ("ours", lambda: stage.seconds("one")),
        ]
        for side, work in sides if turn % 2 else reversed(sides):
            took = work()
            if turn >= 0:
                times[side].append(took)
    pairs = Pairs(floor=times["hand"], subject=times["ours"])
    low, high = pairs.interval()
    return Result(
        name="one inference task in a pod",
        value=round(statistics.median(pairs.subject), 2),
        unit="s",
        floor=round(statistics.median(pairs.floor), 2),
        ratio=round(pairs.ratio, 3),
        goal=f"≤ {ONE:.1f}× a KubernetesPodOperator by hand",
        met=pairs.ratio <= ONE,
        note=f"median of {PAIRS} pairs, 95 % interval {low:.3f} to {high:.3f}; TensorFlow, {ROWS} texts",
    )


def many_shards(stage: Stage) -> list[Result]:
    """64 shards: a pod each, two pods, two warm pods."""
    hand = stage.by_hand("many", "many")
    cold, warm = (stage.seconds(name) for name in ("many", "warm"))
    note = f"{SHARDS} shards of {ROWS} texts, one run each"
    return [
        Result(
            name=f"{SHARDS} shards, parallelism 2",
            value=round(cold, 2),
            unit="s",
            floor=round(hand, 2),
            ratio=round(cold / hand, 3),
            goal=f"2 pods, ≤ {MANY:.1f}× {SHARDS} mapped pods by hand, 2 at a time",
            met=cold / hand <= MANY,
            note=note,
        ),
        Result(
            name=f"{SHARDS} shards, parallelism 2, warm",
            value=round(warm, 2),
            unit="s",
            floor=round(cold, 2),
            ratio=round(warm / cold, 3),
            goal=f"≤ {WARM:.1f}× cold",
            met=warm / cold <= WARM,
            note=note,
        ),
    ]


@contextmanager
def _stage() -> Iterator[Stage]:
    project = _project(WORK / "kubernetes")
    _image(project)
    with (
        connected() as api,
        s3_server(host_address(api), BUCKET) as endpoint,
        namespace(api, "bench") as space,
        PostgresServer() as database,
    ):
        secret = {"metadata": {"name": SECRET}, "stringData": s3_environment(endpoint)}
        client.CoreV1Api(api).create_namespaced_secret(space, secret)
        _dags(project, space)
        settings = {
            "KUBECONFIG": os.environ["KUBECONFIG"],
            "AIRFLOW__AGENTIC__ARTIFACTS": f"s3://{BUCKET}/airflow",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",  # or it parses in the middle of a run
            "AIRFLOW_CONN_KUBERNETES_DEFAULT": '{"conn_type": "kubernetes"}',
            **s3_environment(endpoint),
        }
        home = WORK / "airflow-kubernetes"
        shutil.rmtree(home, ignore_errors=True)
        with (
            _warm_pods(project, space),
            AirflowParts(home=home, dags=project, settings=settings, database=database.url) as server,
        ):
            for dag_id in ("hand", "one", "many", "warm"):
                server.wait_dag(dag_id)
            store = Store.open(f"s3://{BUCKET}/airflow", options=s3_options(endpoint))
            yield Stage(server=server, store=store, project=project)


def _project(folder: Path) -> Path:
    """The model and the records; Dags come when the namespace is known."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("models", "built", "workflows", "by-hand"):
        (folder / name).mkdir(parents=True)
    shutil.copy(ROOT / "dags" / "built" / "words.keras", folder / "built")
    card = (ROOT / "dags" / "models" / f"{MODEL}.yaml").read_text()
    sha256 = file_digest(folder / "built" / "words.keras")
    artifact = "  artifact: ../built/words.keras\n"
    pinned = card.replace(artifact, f"{artifact}  sha256: {sha256}\n")
    (folder / "models" / f"{MODEL}.yaml").write_text(f"{pinned}\nimage: {IMAGE}\n")
    for name, shards in (("one", 1), ("many", SHARDS)):
        lines = (json.dumps({"id": f"r{row}", "text": f"a good day number {row}"}) for row in range(shards * ROWS))
        (folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


def _image(project: Path) -> None:
    """Build the model's image and bring it into the cluster."""
    build = [sys.executable, "-m", "airflow_agentic", "images", "build", MODEL, "--project", str(project)]
    subprocess.run([*build, "--tag", "bench"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    load = shlex.split(os.environ.get("LOAD_IMAGE", "kind load docker-image"))
    subprocess.run([*load, IMAGE], check=True, stdout=subprocess.DEVNULL)


def _dags(project: Path, space: str) -> None:
    settings: dict[str, Any] = {
        "namespace": space,
        "env_from": [{"secretRef": {"name": SECRET}}],
        "startup_check_interval_seconds": 1,
    }
    for folder, name, parallelism, more in (
        ("workflows", "one", 1, {}),
        ("workflows", "many", 2, {}),
        ("workflows", "warm", 2, {"warm": True}),
        ("by-hand", "one", 1, {}),
        ("by-hand", "many", SHARDS, {}),
    ):
        text = WORKFLOW.format(
            name=name,
            kubernetes=json.dumps({**settings, **more}),
            records="one" if name == "one" else "many",
            parallelism=parallelism,
            rows=ROWS,
        )
        (project / folder / f"{name}.yaml").write_text(text)
    (project / "agentic.py").write_text(AGENTIC)
    (project / "hand.py").write_text(HAND.format(pod=json.dumps(_pod(settings)), secret=SECRET))
    (project / ".airflowignore").write_text("models/\nworkflows/\nby-hand/\n")


def _pod(settings: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the operator by hand: the pod that ours makes."""
    restricted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    return {
        **settings,
        "image": IMAGE,
        "automount_service_account_token": False,
        "security_context": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "container_security_context": restricted,
        "log_pod_spec_on_failure": False,
    }


@contextmanager
def _warm_pods(project: Path, space: str) -> Iterator[None]:
    card = (project / "models" / f"{MODEL}.yaml").read_text()
    values: dict[str, Any] = {
        "project": {"cards": {f"{MODEL}.yaml": card}},
        "modelServerDefaults": {"replicas": 2, "envFrom": [{"secretRef": {"name": SECRET}}]},
        "modelServers": [{"name": MODEL, "card": f"{MODEL}.yaml"}],
    }
    with helm.Config(kubeconfig_path=os.environ["KUBECONFIG"], namespace=space) as releases:
        releases.install(CHART, "bench", values, wait="watcher", timeout=300)
        yield
        releases.uninstall("bench", wait="watcher", timeout=180)
