"""KubernetesExecutor on a real cluster: each Airflow task in a pod that has what the models it runs need.

The pods' image is the one of docker/airflow.Dockerfile, which ``make e2e`` builds and loads; scheduler, Dag processor
and API server run on this machine.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest
import yaml
from cluster import namespace
from kubernetes import client
from services import require
from stage import BUCKET, PACKAGES, SECRET, TENSORFLOW, TORCH, Stage, card, expected
from stored import s3_options

from airflow_agentic import __version__
from airflow_agentic.artifacts import Store
from airflow_agentic.artifacts.digests import tree_digest
from airflow_agentic.container.models import publish
from airflow_agentic.dagbuilder.task_pods import AIRFLOW_MEMORY
from airflow_agentic.spec.load import load_model
from scripts.airflow_parts import AirflowParts
from scripts.postgres import PostgresServer, programs

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.models, pytest.mark.timeout(900)]

IMAGE: Final = f"airflow-agentic/airflow:{__version__}"
EXAMPLES: Final = Path(__file__).resolve().parents[2] / "dags"
MIXED: Final = EXAMPLES / "workflows" / "mixed-inbox.yaml"
IN_PODS: Final = {
    "lite0-tf": TENSORFLOW,
    "lite2-torch": TORCH,
    "minilm-torch": TORCH,
    "words-keras": TENSORFLOW,
    "vader": PACKAGES,
}
"""Models of mixed-inbox in pods of their own."""
LOCAL: Final = ("fasttext-langid", "lingua")
"""Those that run in the Airflow task's own pod."""
LINGUA_MEMORY: Final = 2**30
FOLDER: Final = "/opt/airflow/dags"
INBOX: Final = "/inbox"
"""Records and photos, at one place in all pods."""
ACCOUNT: Final = "workers"
TEMPLATE_RESOURCES: Final = {"requests": {"cpu": "20m"}}
CARD_MEMORY: Final = 256 * 2**20
WORKFLOW: Final = """\
apiVersion: airflow-agentic/v1
kind: Workflow
name: {name}
layout: {name}
input: ../inbox.jsonl
routes:
  - use: {{ensemble: [first, second]}}
publish: {{uri: answers/, format: jsonl}}
"""
RULES: Final = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "get", "list", "patch", "delete"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list", "watch"]},
]
"""What the chart gives Airflow."""


MAIN: Final = {"expanded": {"first", "second"}, "compact": {"workflow"}}
"""By workflow, the Airflow tasks that run models."""


@pytest.fixture(scope="module")
def executor(api: client.ApiClient, endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """An Airflow whose executor is KubernetesExecutor; its pods stay, to be looked at."""
    require(programs(), "needs PostgreSQL: apt-get install postgresql")
    options = {f"AWS_{key.upper()}": value for key, value in s3_options(endpoint).items()} | {"AWS_ALLOW_HTTP": "true"}
    folder = tmp_path_factory.mktemp("executor")
    (folder / "dags").mkdir()
    with namespace(api, "executor") as space, PostgresServer() as database:
        settings = {
            "KUBECONFIG": os.environ["KUBECONFIG"],
            "AIRFLOW__CORE__EXECUTOR": "KubernetesExecutor",
            "AIRFLOW__API__HOST": "0.0.0.0",  # pods report to it
            "AIRFLOW__KUBERNETES_EXECUTOR__NAMESPACE": space,
            "AIRFLOW__KUBERNETES_EXECUTOR__IN_CLUSTER": "False",
            "AIRFLOW__KUBERNETES_EXECUTOR__CONFIG_FILE": os.environ["KUBECONFIG"],
            "AIRFLOW__KUBERNETES_EXECUTOR__POD_TEMPLATE_FILE": str(folder / "pod.json"),
            "AIRFLOW__KUBERNETES_EXECUTOR__DELETE_WORKER_PODS": "False",
            "AIRFLOW__KUBERNETES_EXECUTOR__WORKER_PODS_CREATION_BATCH_SIZE": "4",
            "AIRFLOW__AGENTIC__ARTIFACTS": f"s3://{BUCKET}/airflow",
            **options,
        }
        home = folder / "home"
        with AirflowParts(home=home, dags=folder / "dags", settings=settings, database=database.url) as server:
            prepare(client.CoreV1Api(api), client.RbacAuthorizationV1Api(api), space, options)
            stage = Stage(api=api, space=space, endpoint=endpoint, projects=folder / "dags", server=server)
            models = {name: card(name) for name in ("first", "second")}
            stage.project("small", models=models, workflows={name: WORKFLOW.format(name=name) for name in MAIN})
            inbox = held(stage, "inbox", EXAMPLES / "data")
            mixed(stage, inbox)
            url = f"http://{urlsplit(endpoint).hostname}:{urlsplit(server.url).port}/execution/"
            (folder / "pod.json").write_text(
                json.dumps(pod_template(url, [inbox, held(stage, "dags", stage.projects)]))
            )
            yield stage


def mixed(stage: Stage, inbox: dict[str, Any]) -> None:
    """The example workflow; its models' files are in the artifact store, and no worker has them."""
    store = Store.open(f"s3://{BUCKET}/airflow", options=s3_options(stage.endpoint))
    models = {}
    for name in (*IN_PODS, *LOCAL):
        file = EXAMPLES / "models" / f"{name}.yaml"
        found, text = load_model(file), yaml.safe_load(file.read_text())
        pins = {uri: tree_digest(found.folder / uri) for uri in found.files.values()}
        for uri, sha256 in pins.items():
            publish(store, found.folder / uri, sha256)
        if found.runtime.artifact is not None:
            text["runtime"]["sha256"] = pins.pop(found.runtime.artifact)
        text["runtime"]["files"] = pins
        if name in IN_PODS:
            text |= {"image": IN_PODS[name], "kubernetes": {"fetch": True}}
        models[name] = yaml.safe_dump(text)
    models["lingua"] += f"resources: {{memory: {LINGUA_MEMORY}}}\n"
    example = yaml.safe_load(MIXED.read_text())
    route = {key: example[key] for key in ("preprocess", "routes")} | {"input": f"{INBOX}/inbox.jsonl"}
    mounts = [{"name": "inbox", "mountPath": INBOX}]
    text = stage.workflow("mixed-inbox", route=yaml.safe_dump(route), volumes=[inbox], volume_mounts=mounts)
    runner = f"runner: {{default: kubernetes, models: {{{', '.join(f'{name}: local' for name in LOCAL)}}}}}"
    stage.project("mixed", models=models, workflows={"mixed-inbox": text.replace("runner: kubernetes", runner)})


def prepare(core: client.CoreV1Api, access: client.RbacAuthorizationV1Api, space: str, options: dict[str, str]) -> None:
    """The bucket's credentials, and a service account that may do what the chart lets Airflow do."""
    core.create_namespaced_secret(space, {"metadata": {"name": SECRET}, "stringData": options})
    named = {"metadata": {"name": ACCOUNT}}
    core.create_namespaced_service_account(space, named)
    access.create_namespaced_role(space, {**named, "rules": RULES})
    bound = {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ACCOUNT},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": space}],
    }
    access.create_namespaced_role_binding(space, {**named, **bound})


def held(stage: Stage, name: str, folder: Path) -> dict[str, Any]:
    """The files of a folder as a ConfigMap; returns the volume that has them at their places."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    paths = {"_".join(path.relative_to(folder).parts): path for path in found}
    data = {key: base64.b64encode(path.read_bytes()).decode() for key, path in paths.items()}
    stage.pods.create_namespaced_config_map(stage.space, {"metadata": {"name": name}, "binaryData": data})
    items = [{"key": key, "path": path.relative_to(folder).as_posix()} for key, path in paths.items()]
    return {"name": name, "configMap": {"name": name, "items": items}}


def pod_template(url: str, volumes: list[dict[str, Any]]) -> dict[str, Any]:
    """A pod of the level ``restricted`` that finds the Dags, the artifacts and the API server."""
    variables = {
        "AIRFLOW__CORE__DAGS_FOLDER": FOLDER,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": url,
        "AIRFLOW__AGENTIC__ARTIFACTS": f"s3://{BUCKET}/airflow",
        "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps({"conn_type": "kubernetes", "extra": {"in_cluster": True}}),
    }
    container = {
        "name": "base",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "envFrom": [{"secretRef": {"name": SECRET}}],
        "resources": TEMPLATE_RESOURCES,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "dags", "mountPath": FOLDER}, {"name": "inbox", "mountPath": INBOX}],
    }
    spec = {
        "serviceAccountName": ACCOUNT,
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "runAsUser": 50000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": volumes,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "template"}, "spec": spec}


def logs(stage: Stage, dag_id: str) -> str:
    """Of all pods of a Dag: an executor that has lost one knows nothing of it."""
    return "\n".join(
        f"{pod.metadata.name} {pod.status.phase}\n{stage.pods.read_namespaced_pod_log(pod.metadata.name, stage.space)}"
        for pod in stage.pods_of(dag_id)
        if pod.status.phase != "Pending"
    )


@pytest.fixture(scope="module")
def runs(executor: Stage) -> dict[str, str]:
    """Every workflow's run, side by side."""
    return {name: executor.start(name) for name in (*MAIN, "mixed-inbox")}


@pytest.mark.parametrize(("name", "models"), [("expanded", 1), ("compact", 2)])
def test_a_pod_has_what_the_models_need_that_run_in_it(
    executor: Stage, runs: dict[str, str], name: str, models: int
) -> None:
    found = executor.server.wait_run(name, runs[name])
    assert found["state"] == "success", logs(executor, name)
    answers = executor.published(name, runs[name], "workflow" if name == "compact" else "publish")
    assert answers == expected(executor.projects / "small" / "workflows" / f"{name}.yaml")

    memory = str(models * CARD_MEMORY + AIRFLOW_MEMORY)
    needed = {"requests": {"cpu": f"{models * 50}m", "memory": memory}, "limits": {"memory": memory}}
    pods = executor.pods_of(name)
    tasks = {pod.metadata.annotations["task_id"].rpartition(".")[2] for pod in pods}
    assert tasks == {each["task_id"].rpartition(".")[2] for each in executor.server.tasks(name, runs[name])}
    for pod in pods:
        (container,) = pod.spec.containers
        here = pod.metadata.annotations["task_id"].rpartition(".")[2] in MAIN[name]
        assert (container.name, container.image) == ("base", IMAGE)
        resources = {key: value for key, value in container.resources.to_dict().items() if value}
        assert resources == (needed if here else TEMPLATE_RESOURCES), pod.metadata.annotations["task_id"]


def test_the_example_runs_with_its_models_in_pods_and_airflow_s_tasks_too(
    executor: Stage, runs: dict[str, str]
) -> None:
    here = expected(MIXED)
    found = executor.server.wait_run("mixed-inbox", runs["mixed-inbox"], timeout=600)

    assert found["state"] == "success", logs(executor, "mixed-inbox")
    assert executor.published("mixed-inbox", runs["mixed-inbox"]) == here
    limits = {
        pod.metadata.annotations["task_id"].rpartition(".")[2]: (container.resources.limits or {}).get("memory")
        for pod in executor.pods_of("mixed-inbox")
        for container in pod.spec.containers
        if container.image == IMAGE
    }
    assert {name: limit for name, limit in limits.items() if limit} == {"lingua": str(LINGUA_MEMORY + AIRFLOW_MEMORY)}
    assert set(limits) >= {*IN_PODS, *LOCAL, "preprocess", "route", "aggregate", "publish"}
