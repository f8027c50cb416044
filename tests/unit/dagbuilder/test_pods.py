"""``runner: kubernetes`` in a generated Dag: which operator, with which arguments, and what is refused at build."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import ProjectFolder

from airflow_agentic.dagbuilder.build import build_dag
from airflow_agentic.exceptions import AgenticError
from airflow_agentic.operators.kubernetes import KubernetesInferenceOperator

CASCADE = "[{use: {cascade: [cheap, strong]}, accept: prediction.score > 0.5}]"


def mapped(project: ProjectFolder, text: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Class and arguments of each model's operator."""
    dag = build_dag(project.workflow(text, routes=CASCADE))
    return {
        task.partial_kwargs["node"].rpartition(".")[2]: (task.operator_class.__name__, task.partial_kwargs)
        for task in dag.tasks
        if task.is_mapped
    }


def refused(project: ProjectFolder, text: str) -> str:
    with pytest.raises(AgenticError) as caught:
        build_dag(project.workflow(text, routes=CASCADE))
    return str(caught.value).replace(str(project.root), "")


def test_models_run_where_the_workflow_says(project: ProjectFolder) -> None:
    project.card("cheap", image="cheap:1")
    found = mapped(
        project, "runner: {default: kubernetes, models: {strong: local}}\nkubernetes: {namespace: inference}\n"
    )

    assert {name: kind for name, (kind, _) in found.items()} == {
        "cheap": "KubernetesInferenceOperator",
        "strong": "LocalInferenceOperator",
    }
    assert (found["cheap"][1]["image"], found["cheap"][1]["namespace"]) == ("cheap:1", "inference")
    assert "image" not in found["strong"][1]


def test_the_runner_is_no_part_of_what_a_run_is(project: ProjectFolder) -> None:
    local = project.workflow("", routes=CASCADE).plan
    pods = project.workflow("runner: kubernetes\nkubernetes: {image: any:1}\n", routes=CASCADE).plan

    assert pods.options.runners == {"cheap": "kubernetes", "strong": "kubernetes"}
    assert (pods.digest, pods.topology) == (local.digest, local.topology)
    assert [pods.node_digest(node) for node in pods.nodes] == [local.node_digest(node) for node in local.nodes]


def test_a_unit_s_operator_is_made_of_the_arguments(project: ProjectFolder) -> None:
    _, arguments = mapped(
        project, "runner: kubernetes\nkubernetes: {image: any:1, artifacts: s3://runs, fetch: true}\n"
    )["cheap"]
    known = {key: value for key, value in arguments.items() if key not in {"dag", "task_group", "map_index_template"}}
    made = KubernetesInferenceOperator(**{**known, "task_id": "cheap", "unit": {}})

    assert (made.image, made.artifacts, made.fetch) == ("any:1", "s3://runs", True)
    assert made.labels["airflow-agentic/model"] == "cheap"


@pytest.mark.parametrize("of_card", [True, False])
def test_a_warm_model_needs_no_image(project: ProjectFolder, of_card: bool) -> None:
    project.card("cheap", **({"kubernetes": {"warm": True, "node_selector": {"disk": "ssd"}}} if of_card else {}))
    project.card("strong", image="strong:1", kubernetes={"warm": False} if of_card else {})
    warm = "" if of_card else "warm: true, "
    found = mapped(project, f"runner: kubernetes\nkubernetes: {{{warm}namespace: inference, artifacts: s3://runs}}\n")

    kinds = ["WarmInferenceOperator", "KubernetesInferenceOperator" if of_card else "WarmInferenceOperator"]
    assert [found[name][0] for name in ("cheap", "strong")] == kinds
    given = found["cheap"][1]
    assert (given["namespace"], given["artifacts"]) == ("inference", "s3://runs")
    assert not {"warm", "node_selector", "image", "labels"} & given.keys()
    assert "warm" not in found["strong"][1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("runner: kubernetes\nkubernetes: {image: a, warm: sometimes}\n",
         "/workflows/demo.yaml:6:30  kubernetes.warm: expected true or false, found 'sometimes'"),
        ("runner: kubernetes\nkubernetes: {image: a, shared_storage: false, fetch: true}\n",
         "/workflows/demo.yaml:6:54  kubernetes.fetch: no pod reaches the artifact store (shared_storage: false)\n"
         "    bake the model into the image, or remove fetch"),
        ("runner: kubernetes\n",
         "/workflows/demo.yaml:5:9  runner: 'cheap' has no container image\n"
         "    write image: NAME in its card, or kubernetes: {image: NAME} in the workflow"),
        ("runner: kubernetes\nkubernetes: {image: a, namespce: b}\n",
         "/workflows/demo.yaml:6:34  kubernetes.namespce: 'namespce' is no argument of KubernetesInferenceOperator\n"
         "    did you mean 'namespace'?"),
        ("runner: kubernetes\nkubernetes: {image: a, unit: 3}\n",
         "/workflows/demo.yaml:6:30  kubernetes.unit: 'unit' is no argument of KubernetesInferenceOperator"),
        ("runner: kubernetes\nkubernetes: {image: a, volumes: [{name: x, hostpath: {}}, {nme: x}]}\n",
         "/workflows/demo.yaml:6:33  kubernetes.volumes: Kubernetes does not read it: "
         "Invalid value for `name`, must not be `None`"),
        ("runner: kubernetes\nkubernetes: {image: a, tolerations: [{kye: x}]}\n",
         "/workflows/demo.yaml:6:37  kubernetes.tolerations: Kubernetes knows no field tolerations[0].kye\n"
         "    write its fields as in a pod's YAML"),
        ("layout: compact\nrunner: kubernetes\n",
         "/workflows/demo.yaml:5:9  layout: 'compact' runs every model in the worker, which is not runner kubernetes\n"
         "    write layout: expanded, or remove runner"),
        ("kubernetes: {image: a}\n",
         "/workflows/demo.yaml:5:13  kubernetes: is for models in pods, and none is\n    write runner: kubernetes"),
        ("runner: {models: {chep: kubernetes}}\n",
         "/workflows/demo.yaml:5:25  runner.models.chep: the workflow has no model 'chep'\n"
         "    its models: cheap, strong"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_its_place(project: ProjectFolder, text: str, said: str) -> None:
    assert refused(project, text) == said


def test_a_card_that_may_not_run_in_a_pod_is_refused(project: ProjectFolder) -> None:
    project.card("strong", runners=["local"])

    assert "'strong' may not run in a pod: its card says runners: local\n" in refused(
        project, "runner: kubernetes\nkubernetes: {image: a}\n"
    )
