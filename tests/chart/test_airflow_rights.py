"""Airflow may do in the namespace what KubernetesPodOperator does, and no more; models may do nothing."""

from __future__ import annotations

from typing import Any

import pytest
from cases import CASES, elsewhere
from rendered import NAMESPACE, kinds, objects, one

LAUNCH = {
    "pods": ["create", "get", "list", "patch", "delete"],
    "pods/log": ["get"],
    "events": ["list", "watch"],
}
EXEC = {"pods/exec": ["create", "get"]}


def rights(values: dict[str, Any]) -> dict[str, list[str]]:
    rules = one("Role", "airflow-agentic-airflow", values)["rules"]
    assert all(rule["apiGroups"] == [""] for rule in rules)
    return {resource: rule["verbs"] for rule in rules for resource in rule["resources"]}


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({}, LAUNCH),
        (elsewhere(), LAUNCH | EXEC),
        ({"airflow": {"rbac": {"exec": True}}}, LAUNCH | EXEC),
        ({**elsewhere(), "airflow": {"rbac": {"exec": False}}}, LAUNCH),
    ],
    ids=["no servers", "servers", "exec", "no exec"],
)
def test_the_role_is_what_is_needed(values: dict[str, Any], wanted: dict[str, list[str]]) -> None:
    assert rights(values) == wanted


def test_models_have_no_right_and_no_token() -> None:
    account = one("ServiceAccount", "airflow-agentic-models", elsewhere())
    assert account["automountServiceAccountToken"] is False
    spec = one("Deployment", "airflow-agentic-words", elsewhere())["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == "airflow-agentic-models"
    assert spec["automountServiceAccountToken"] is False
    bound = [
        subject["name"]
        for item in objects(elsewhere())
        if item["kind"] == "RoleBinding"
        for subject in item["subjects"]
    ]
    assert bound == ["airflow-agentic-airflow"]


def test_no_case_makes_rights_beyond_the_namespace() -> None:
    found = {item["kind"] for values in CASES.values() for item in objects(values)}
    assert {kind for kind in found if kind.startswith("Cluster")} == set()


def test_other_accounts_are_bound_where_they_are() -> None:
    binding = one("RoleBinding", "airflow-agentic-airflow", CASES["other accounts"])
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "airflow-worker", "namespace": "airflow"},
        {"kind": "ServiceAccount", "name": "airflow-triggerer", "namespace": NAMESPACE},
    ]
    assert kinds(CASES["other accounts"]) == {"Role/airflow-agentic-airflow", "RoleBinding/airflow-agentic-airflow"}


def test_named_and_annotated_accounts() -> None:
    models = one("ServiceAccount", "airflow-agentic-models", CASES["annotated accounts"])
    airflow = one("ServiceAccount", "airflow", CASES["annotated accounts"])
    assert models["metadata"]["annotations"] == {"example.com/role": "reader"}
    assert airflow["metadata"]["annotations"] == {"example.com/role": "writer"}


def test_models_without_an_account_have_the_default_one() -> None:
    values = {**elsewhere(), "models": {"serviceAccount": {"create": False}}}
    spec = one("Deployment", "airflow-agentic-words", values)["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == "default"
    assert spec["automountServiceAccountToken"] is False


def test_rights_may_be_left_to_others() -> None:
    assert kinds(CASES["no rights"]) == {
        "ServiceAccount/airflow-agentic-models",
        "ServiceAccount/airflow-agentic-airflow",
    }


def test_the_network_policy_closes_every_pod_with_a_model() -> None:
    spec = one("NetworkPolicy", "airflow-agentic-models", CASES["network policy"])["spec"]
    assert spec["podSelector"] == {"matchExpressions": [{"key": "airflow-agentic/model", "operator": "Exists"}]}
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == []
    names = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
    assert spec["egress"] == [{"ports": names}, {"ports": [{"port": 443, "protocol": "TCP"}]}]
    closed = one("NetworkPolicy", "airflow-agentic-models", CASES["closed network"])["spec"]
    assert closed["egress"] == [{"ports": names}]
