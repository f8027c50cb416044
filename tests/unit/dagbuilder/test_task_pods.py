"""What KubernetesExecutor is told of the pod of an Airflow task that runs models itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import kubernetes_validate
import pytest
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
from airflow.serialization.serialized_objects import DagSerialization
from kubernetes.client import ApiClient
from kubernetes.client import models as k8s

from airflow_agentic.dagbuilder.build import build_dag
from airflow_agentic.dagbuilder.executors import gets_a_pod
from airflow_agentic.dagbuilder.task_pods import AIRFLOW_MEMORY
from airflow_agentic.exceptions import AgenticError

if TYPE_CHECKING:
    from conftest import ProjectFolder

RELEASES: Final = ("1.29", "1.30", "1.31", "1.32", "1.33", "1.34")
CASCADE: Final = "[{use: {cascade: [cheap, strong]}, accept: prediction.score > 0.5}]"
GIB: Final = 2**30
PATH: Final = "airflow.providers.cncf.kubernetes.executors.kubernetes_executor.KubernetesExecutor"
TEMPLATE: Final = k8s.V1Pod(
    api_version="v1",
    kind="Pod",
    metadata=k8s.V1ObjectMeta(name="template"),
    spec=k8s.V1PodSpec(
        restart_policy="Never",
        node_selector={"pool": "workers"},
        containers=[
            k8s.V1Container(
                name="base",
                image="airflow:1",
                env=[k8s.V1EnvVar(name="A", value="b")],
                resources=k8s.V1ResourceRequirements(requests={"cpu": "100m"}),
            )
        ],
    ),
)
"""As ``[kubernetes_executor] pod_template_file`` has it."""


@pytest.fixture(autouse=True)
def _executor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "KubernetesExecutor")


def overrides(project: ProjectFolder, text: str = "", routes: str = CASCADE) -> dict[str, Any]:
    """Each Airflow task's pod, in Kubernetes' notation, without what is empty."""
    dag = build_dag(project.workflow(text, routes=routes))
    found = {task.task_id.rpartition(".")[2]: task.executor_config.get("pod_override") for task in dag.tasks}
    return {name: ApiClient().sanitize_for_serialization(pod) for name, pod in found.items() if pod is not None}


def base(**resources: Any) -> dict[str, Any]:
    return {"metadata": {}, "spec": {"containers": [{"name": "base", "resources": resources}]}}


def refused(project: ProjectFolder, text: str) -> str:
    with pytest.raises(AgenticError) as caught:
        build_dag(project.workflow(text, routes=CASCADE))
    return str(caught.value).replace(str(project.root), "")


def in_a_process(code: str, *arguments: str, **variables: str) -> str:
    """The last line that ``code`` prints."""
    command, environment = [sys.executable, "-c", code, *arguments], {**os.environ, **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_a_unit_gets_what_its_model_needs_and_airflow_beside_it(project: ProjectFolder) -> None:
    project.card("cheap", isolation="process", resources={"cpu": "250m", "memory": "2Gi", "gpu": 1})
    project.card("strong", resources={"cpu": "1"})
    memory = str(2 * GIB + AIRFLOW_MEMORY)

    assert overrides(project) == {
        "cheap": base(
            requests={"cpu": "250m", "memory": memory, "nvidia.com/gpu": "1"},
            limits={"memory": memory, "nvidia.com/gpu": "1"},
        ),
        "strong": base(requests={"cpu": "1"}),
    }


def test_a_model_in_a_pod_of_its_own_asks_nothing_of_the_waiting_task(project: ProjectFolder) -> None:
    project.card("cheap", image="cheap:1", resources={"memory": "2Gi"})

    assert overrides(project, "runner: {models: {cheap: kubernetes}}\n") == {}


def test_a_compact_workflow_gets_what_its_models_need_together(project: ProjectFolder) -> None:
    """Devices are seen by every process: two models with one GPU each share it."""
    project.card("cheap", isolation="process", resources={"cpu": "250m", "memory": "1Gi", "gpu": 1})
    project.card("strong", isolation="process", resources={"cpu": "1", "memory": "3Gi", "gpu": 1})
    project.card("other", resources={"memory": "100Gi"})
    memory = str(4 * GIB + AIRFLOW_MEMORY)

    assert overrides(project, "layout: compact\n") == {
        "workflow": base(
            requests={"cpu": "1250m", "memory": memory, "nvidia.com/gpu": "1"},
            limits={"memory": memory, "nvidia.com/gpu": "1"},
        )
    }


def test_a_limit_holds_only_where_every_model_states_one(project: ProjectFolder) -> None:
    project.card("cheap", resources={"memory": "1Gi"})

    assert overrides(project, "layout: compact\n") == {"workflow": base(requests={"memory": str(GIB + AIRFLOW_MEMORY)})}


def test_a_model_counts_as_often_as_it_is_loaded(project: ProjectFolder) -> None:
    """One route reads all scores of it, another the best few: the coordinator loads it for each."""
    project.card("cheap", resources={"memory": "1Gi"})
    project.card("strong", resources={"memory": "2Gi"})
    routes = '[{when: record.kind == "text", use: {ensemble: [cheap, strong]}, aggregate: mean}, {use: cheap}]'
    twice = '[{when: record.kind == "text", use: cheap}, {use: cheap}]'

    found = [overrides(project, "layout: compact\n", routes=each)["workflow"] for each in (routes, twice)]
    assert [each["spec"]["containers"][0]["resources"]["limits"]["memory"] for each in found] == [
        str(4 * GIB + AIRFLOW_MEMORY),
        str(GIB + AIRFLOW_MEMORY),
    ]


def test_where_a_model_may_run_holds_for_this_pod_too(project: ProjectFolder) -> None:
    toleration = {"key": "nvidia.com/gpu", "operator": "Exists"}
    placed = {
        "node_selector": {"pool": "gpu"},
        "tolerations": [toleration],
        "runtime_class_name": "nvidia",
        "container_resources": {"limits": {"nvidia.com/mig-1g.5gb": "1"}, "requests": {"memory": "512Mi"}},
        "labels": {"team": "vision"},
        "volumes": [{"name": "data", "emptyDir": {}}],
        "termination_grace_period": 60,
    }
    project.card("cheap", kubernetes=placed)
    project.card("strong", kubernetes={"node_selector": {"zone": "b"}, "tolerations": [toleration, {"key": "spot"}]})

    (pod,) = overrides(project, "layout: compact\n").values()
    assert pod["spec"] == {
        "nodeSelector": {"pool": "gpu", "zone": "b"},
        "tolerations": [toleration, {"key": "spot"}],
        "runtimeClassName": "nvidia",
        "containers": [
            {
                "name": "base",
                "resources": {
                    "limits": {"nvidia.com/mig-1g.5gb": "1"},
                    "requests": {"memory": str(GIB), "nvidia.com/mig-1g.5gb": "1"},
                },
            }
        ],
    }


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"node_selector": {"pool": "cpu"}}, "another node_selector"),
        ({"runtime_class_name": "kata"}, "another runtime_class_name"),
    ],
)
def test_models_that_need_different_nodes_are_not_put_into_one_pod(
    project: ProjectFolder, other: dict[str, Any], said: str
) -> None:
    project.card("cheap", kubernetes={"node_selector": {"pool": "gpu"}, "runtime_class_name": "nvidia"})
    project.card("strong", kubernetes=other)

    assert refused(project, "layout: compact\n") == (
        f"/workflows/demo.yaml:5:9  layout: 'compact' runs all models in one pod, and 'strong' needs {said} "
        "than the others\n    write layout: expanded, or make their cards agree"
    )
    assert sorted(overrides(project)) == ["cheap", "strong"]


def test_what_kubernetes_does_not_read_is_refused_with_its_place(project: ProjectFolder) -> None:
    text = "task: {executor_config: {pod_override: {spec: {containers: [], serviceAcountName: x}}}}\n"
    assert refused(project, text) == (
        "/workflows/demo.yaml:5:40  task.executor_config.pod_override: "
        "Kubernetes knows no field pod_override.spec.serviceAcountName\n    write its fields as in a pod's YAML"
    )
    project.card("cheap", kubernetes={"tolerations": [{"kye": "x"}]})
    assert "kubernetes.tolerations: Kubernetes knows no field tolerations[0].kye\n" in refused(project, "")


def test_the_workflow_s_own_pod_is_laid_over_the_models(project: ProjectFolder) -> None:
    project.card("cheap", resources={"memory": "1Gi"})
    text = (
        "task:\n  executor_config:\n    pod_template_file: /templates/small.yaml\n"
        "    pod_override:\n      spec:\n        serviceAccountName: models\n"
        "        containers: [{name: base, env: [{name: A, value: b}]}]\n"
    )
    found = overrides(project, text)

    memory = str(GIB + AIRFLOW_MEMORY)
    own = {"serviceAccountName": "models", "containers": [{"name": "base", "env": [{"name": "A", "value": "b"}]}]}
    assert found.pop("cheap")["spec"] == {
        "serviceAccountName": "models",
        "containers": [
            {
                "name": "base",
                "env": [{"name": "A", "value": "b"}],
                "resources": {"requests": {"memory": memory}, "limits": {"memory": memory}},
            }
        ],
    }
    assert [each["spec"] for each in found.values()] == [own] * len(found)
    (task,) = (task for task in build_dag(project.workflow(text)).tasks if task.is_mapped)
    assert task.executor_config["pod_template_file"] == "/templates/small.yaml"


@pytest.mark.parametrize("release", RELEASES)
def test_the_pod_is_what_kubernetes_takes_and_its_image_airflow_s(project: ProjectFolder, release: str) -> None:
    resources = {"cpu": "1", "memory": "1Gi", "gpu": 1}
    placed = {"tolerations": [{"key": "gpu"}], "affinity": {"nodeAffinity": {}}, "node_selector": {"pool": "gpu"}}
    project.card("cheap", isolation="process", resources=resources, kubernetes=placed, image="model:1")
    (task,) = (task for task in build_dag(project.workflow()).tasks if task.is_mapped)

    pod = PodGenerator.reconcile_pods(TEMPLATE, task.executor_config["pod_override"])
    document = ApiClient().sanitize_for_serialization(pod)
    kubernetes_validate.validate(json.loads(json.dumps(document)), release, strict=True)
    (container,) = document["spec"]["containers"]
    assert (container["name"], container["image"], container["env"]) == (
        "base",
        "airflow:1",
        [{"name": "A", "value": "b"}],
    )
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert document["spec"]["nodeSelector"] == {"pool": "gpu"}


STORED: Final = """
import json, sys
from pathlib import Path
from airflow_agentic.dagbuilder.build import build_dag
from airflow_agentic.project import Project
from airflow.models.serialized_dag import SerializedDagModel
from airflow.serialization.serialized_objects import DagSerialization
stored = DagSerialization.to_dict(build_dag(Project(Path(sys.argv[1])).load(Path(sys.argv[2]))))
print(json.dumps([SerializedDagModel.hash(stored), stored]))
"""


def test_what_is_stored_is_the_same_from_parse_to_parse_and_gives_the_pod_again(project: ProjectFolder) -> None:
    project.card("cheap", isolation="process", resources={"cpu": "1", "memory": "1Gi", "gpu": 1})
    project.card("strong", kubernetes={"node_selector": {"b": "1", "a": "2"}, "tolerations": [{"key": "x"}]})
    path = project.write(routes=CASCADE)
    dag = build_dag(project.workflow(routes=CASCADE))
    one, other = (json.loads(in_a_process(STORED, str(project.root), str(path), PYTHONHASHSEED=seed)) for seed in "12")

    assert one == other
    _, stored = one
    back: Any = DagSerialization.from_dict(stored)
    for task in dag.tasks:
        if task.is_mapped:
            pod = back.get_task(task.task_id).executor_config["pod_override"]
            assert isinstance(pod, k8s.V1Pod)
            assert pod == task.executor_config["pod_override"]


@pytest.mark.parametrize(
    ("configured", "asked", "expected"),
    [
        ("LocalExecutor", None, False),
        ("KubernetesExecutor", None, True),
        (PATH, None, True),
        ("company.executors.OurKubernetesExecutor", None, True),
        ("LocalExecutor,KubernetesExecutor", None, False),
        ("LocalExecutor, KubernetesExecutor", "KubernetesExecutor", True),
        ("KubernetesExecutor,LocalExecutor", "LocalExecutor", False),
        (f"LocalExecutor,pods:{PATH}", "pods", True),
        (f"LocalExecutor,pods:{PATH}", "KubernetesExecutor", True),
        (f"LocalExecutor,pods:{PATH}", PATH, True),
        ("LocalExecutor;vision=KubernetesExecutor,CeleryExecutor", None, True),
        ("LocalExecutor;vision=CeleryExecutor,KubernetesExecutor", None, False),
        ("LocalExecutor", "KubernetesExecutor", False),
    ],
)
def test_who_gets_a_pod(monkeypatch: pytest.MonkeyPatch, configured: str, asked: str | None, expected: bool) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", configured)

    assert gets_a_pod(asked) is expected


def test_the_executor_of_the_workflow_decides(project: ProjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor,KubernetesExecutor")
    project.card("cheap", resources={"memory": "1Gi"})

    assert overrides(project) == {}
    assert sorted(overrides(project, "task: {executor: KubernetesExecutor}\n")) == ["cheap"]


PARSED: Final = """
import json, sys
{before}
from airflow_agentic import load_workflows
(dag,) = load_workflows(sys.argv[1]).values()
config = [task.executor_config for task in dag.tasks if task.is_mapped]
print(json.dumps([str(config), dag.dag_id, "kubernetes" in sys.modules, dag.doc_md]))
"""
WITHOUT: Final = "sys.modules['kubernetes'] = sys.modules['airflow.providers.cncf.kubernetes.pod_generator'] = None"


@pytest.mark.parametrize(
    ("executor", "before", "variables"),
    [
        ("LocalExecutor", "", {}),
        (
            "KubernetesExecutor",
            "",
            {"_AIRFLOW_PARSING_CONTEXT_DAG_ID": "demo", "_AIRFLOW_PARSING_CONTEXT_TASK_ID": "a"},
        ),
        ("KubernetesExecutor", WITHOUT, {}),
    ],
    ids=["another executor", "the task's own process", "no provider"],
)
def test_nothing_of_kubernetes_is_imported_where_it_is_not_needed(
    project: ProjectFolder, executor: str, before: str, variables: dict[str, str]
) -> None:
    project.card("cheap", resources={"memory": "1Gi"}, kubernetes={"node_selector": {"pool": "gpu"}})
    project.write()
    printed = in_a_process(
        PARSED.format(before=before),
        str(project.workflows),
        AIRFLOW_HOME=str(project.root),
        AIRFLOW__CORE__EXECUTOR=executor,
        **variables,
    )

    config, dag_id, imported, document = json.loads(printed)
    assert (config, dag_id, imported) == ("[{}]", "demo", before != ""), document
