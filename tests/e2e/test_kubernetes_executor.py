"""KubernetesExecutor on a real cluster: each Airflow task in a pod that has what the models it runs need.

The pods' image is the one of docker/airflow.Dockerfile, which ``make e2e`` builds and loads; scheduler, Dag processor
and API server run on this machine.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest
from cluster import namespace
from kubernetes import client
from services import require
from stage import BUCKET, SECRET, Stage, card, expected
from stored import s3_options

from airflow_agentic import __version__
from airflow_agentic.dagbuilder.task_pods import AIRFLOW_MEMORY
from scripts.airflow_parts import AirflowParts
from scripts.postgres import PostgresServer, programs

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

IMAGE: Final = f"airflow-agentic/airflow:{__version__}"
FOLDER: Final = "/opt/airflow/dags"
ACCOUNT: Final = "workers"
DAGS: Final = "dags"
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
            "AIRFLOW__AGENTIC__ARTIFACTS": f"s3://{BUCKET}/executor",
            **options,
        }
        home = folder / "home"
        with AirflowParts(home=home, dags=folder / "dags", settings=settings, database=database.url) as server:
            prepare(client.CoreV1Api(api), client.RbacAuthorizationV1Api(api), space, options)
            stage = Stage(api=api, space=space, endpoint=endpoint, projects=folder / "dags", server=server)
            models = {name: card(name) for name in ("first", "second")}
            stage.project("small", models=models, workflows={name: WORKFLOW.format(name=name) for name in MAIN})
            url = f"http://{urlsplit(endpoint).hostname}:{urlsplit(server.url).port}/execution/"
            (folder / "pod.json").write_text(json.dumps(pod_template(url, mounted(stage))))
            yield stage


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


def mounted(stage: Stage) -> list[dict[str, str]]:
    """Every file of the Dags folder in a ConfigMap; returns the paths at which a volume of it has them."""
    files = [path for path in stage.projects.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    named = {str(path.relative_to(stage.projects)).replace("/", "_"): path for path in files}
    data = {key: path.read_text() for key, path in named.items()}
    stage.pods.create_namespaced_config_map(stage.space, {"metadata": {"name": DAGS}, "data": data})
    return [{"key": key, "path": str(path.relative_to(stage.projects))} for key, path in named.items()]


def pod_template(url: str, files: list[dict[str, str]]) -> dict[str, Any]:
    """A pod of the level ``restricted`` that finds the Dags, the artifacts and the API server."""
    variables = {
        "AIRFLOW__CORE__DAGS_FOLDER": FOLDER,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": url,
        "AIRFLOW__AGENTIC__ARTIFACTS": f"s3://{BUCKET}/executor",
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
        "volumeMounts": [{"name": "dags", "mountPath": FOLDER}],
    }
    spec = {
        "serviceAccountName": ACCOUNT,
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "runAsUser": 50000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "dags", "configMap": {"name": DAGS, "items": files}}],
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
    return {name: executor.start(name) for name in MAIN}


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
