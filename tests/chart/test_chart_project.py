"""Cards, workflows and the Dag file as ConfigMaps; the store's volume; names; labels."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from cases import CARD, CASES, LATER, VOLUME, WORKFLOW, server
from rendered import kinds, objects, one, pods

from airflow_agentic import __version__


def test_cards_and_workflows_are_handed_on_as_they_are() -> None:
    values = {"project": {"cards": {"words.yaml": CARD}, "workflows": {"reviews.yaml": WORKFLOW}}}
    assert one("ConfigMap", "airflow-agentic-cards", values)["data"] == {"words.yaml": CARD}
    assert one("ConfigMap", "airflow-agentic-workflows", values)["data"] == {"reviews.yaml": WORKFLOW}


@pytest.mark.parametrize("case", ["workflows", "existing workflows"])
def test_workflows_bring_a_dag_file_that_airflow_looks_at(case: str) -> None:
    text = one("ConfigMap", "airflow-agentic-dags", CASES[case])["data"]["agentic.py"]
    assert "airflow" in text
    assert "dag" in text.lower()
    (call,) = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    assert ast.unparse(call) == "load_workflows('/opt/airflow/agentic/workflows')"


def test_nothing_is_mapped_that_exists() -> None:
    assert [name for name in kinds(CASES["existing cards"]) if name.startswith("ConfigMap")] == []
    assert [name for name in kinds(CASES["existing workflows"]) if name.startswith("ConfigMap")] == [
        "ConfigMap/airflow-agentic-dags"
    ]


def test_a_new_volume_is_kept_unless_told_otherwise() -> None:
    claim = one("PersistentVolumeClaim", "airflow-agentic-artifacts", VOLUME)
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert claim["spec"] == {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "10Gi"}}}
    other = one("PersistentVolumeClaim", "airflow-agentic-artifacts", CASES["volume of a class"])
    assert "annotations" not in other["metadata"]
    assert (other["spec"]["storageClassName"], other["spec"]["accessModes"]) == ("fast", ["ReadWriteOnce"])
    static = one("PersistentVolumeClaim", "airflow-agentic-artifacts", CASES["volume without a class"])
    assert static["spec"]["storageClassName"] == ""
    assert "PersistentVolumeClaim" not in str(kinds(CASES["existing volume"]))


def test_defaults_are_two_accounts_and_the_rights_of_one() -> None:
    assert kinds() == {
        "ServiceAccount/airflow-agentic-models",
        "ServiceAccount/airflow-agentic-airflow",
        "Role/airflow-agentic-airflow",
        "RoleBinding/airflow-agentic-airflow",
    }


@pytest.mark.parametrize(
    ("release", "values", "begins"),
    [
        ("prod", {}, "prod-airflow-agentic"),
        ("my-airflow-agentic", {}, "my-airflow-agentic"),
        ("prod", {"nameOverride": "models"}, "prod-models"),
        ("prod", {"fullnameOverride": "agentic"}, "agentic"),
        ("r" * 53, {}, "r" * 40),
    ],
)
def test_names_begin_with_the_release(release: str, values: dict[str, Any], begins: str) -> None:
    names = [item["metadata"]["name"] for item in objects(server() | values, release=release)]
    assert [name for name in names if not name.startswith(f"{begins}-") or len(name) > 63] == []


def test_labels_of_all_are_on_all_objects_and_pods() -> None:
    found = objects({**server(), **CASES["names"]})
    labels = [item["metadata"]["labels"] for item in [*found, *pods(found)]]
    assert {(one["team"], one["app.kubernetes.io/name"]) for one in labels} == {("ml", "short")}
    assert all("app.kubernetes.io/component" in one for one in labels)
    versions = {item["metadata"]["labels"].get("app.kubernetes.io/version") for item in found if item["kind"] != "Pod"}
    assert versions == {__version__}


def test_private_registries_are_named_in_every_pod() -> None:
    found = list(pods(objects(CASES["private registry"])))
    assert [pod["spec"]["imagePullSecrets"] for pod in found] == [[{"name": "registry"}]] * 2


def test_the_worker_has_the_project(later: Any) -> None:
    spec = one("Deployment", "airflow-agentic-worker", LATER, chart=later)["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["command"] == ["airflow-agentic", "worker", "--project", "/etc/airflow-agentic"]
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == [
        "/tmp",
        "/etc/airflow-agentic/models",
        "/etc/airflow-agentic/workflows",
    ]


def test_the_gateways_service_and_monitor_find_it(later: Any) -> None:
    labels = one("Deployment", "airflow-agentic-gateway", LATER, chart=later)["spec"]["template"]["metadata"]["labels"]
    service = one("Service", "airflow-agentic-gateway", LATER, chart=later)
    assert service["spec"]["selector"].items() <= labels.items()
    monitor = one("ServiceMonitor", "airflow-agentic-gateway", LATER, chart=later)
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"] == [{"port": "http", "path": "/metrics", "interval": "30s"}]
    assert service["spec"]["ports"][0]["name"] == "http"
    assert monitor["metadata"]["labels"]["prometheus"] == "main"
