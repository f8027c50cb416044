"""Every pod passes the pod security level ``restricted``, and none has more of the cluster than it needs."""

from __future__ import annotations

from typing import Any

import pytest
from cases import CASES, LATER
from rendered import objects, pods

VOLUMES = {"configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret", "csi", "ephemeral"}


def violations(pod: dict[str, Any]) -> list[str]:
    """What the level ``restricted`` of Kubernetes' Pod Security Standards refuses in a pod."""
    spec = pod["spec"]
    found = [f"{key}" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    security = spec.get("securityContext", {})
    if security.get("runAsNonRoot") is not True or security.get("runAsUser") == 0:
        found.append("may be root")
    if security.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        found.append("no seccomp profile")
    for volume in spec.get("volumes", []):
        found += [f"volume {volume['name']}: {key}" for key in volume if key != "name" and key not in VOLUMES]
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        own, at = container.get("securityContext", {}), container["name"]
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            found.append(f"{at}: privileges")
        if own.get("capabilities", {}).get("drop") != ["ALL"] or own["capabilities"].get("add"):
            found.append(f"{at}: capabilities")
        if "runAsNonRoot" in own or own.get("runAsUser") == 0 or "seccompProfile" in own:
            found.append(f"{at}: overrides the pod")
        found += [f"{at}: host port" for port in container.get("ports", []) if "hostPort" in port]
        if own.get("readOnlyRootFilesystem") is not True:
            found.append(f"{at}: writable root")
    return found


@pytest.mark.parametrize("case", CASES)
def test_no_pod_violates_restricted(case: str) -> None:
    assert [violations(pod) for pod in pods(objects(CASES[case])) if violations(pod)] == []


def test_pods_of_later_versions_do_not_either(later: Any) -> None:
    found = list(pods(objects(LATER, chart=later)))
    assert len(found) == 4
    assert [violations(pod) for pod in found] == [[]] * 4


def test_the_cases_have_pods_of_each_kind() -> None:
    found = [pod for values in CASES.values() for pod in pods(objects(values))]
    names = {
        one["name"] for pod in found for one in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]
    }
    assert names == {"model", "gateway", "test", "project", "fetch-0", "fetch-1"}


@pytest.mark.parametrize("case", CASES)
def test_only_the_test_pod_has_a_token(case: str) -> None:
    for pod in pods(objects(CASES[case])):
        asks_the_cluster = pod["metadata"].get("name", "").endswith("-test")
        assert pod["spec"]["automountServiceAccountToken"] is asks_the_cluster


def test_the_user_is_that_of_model_images_or_the_clusters() -> None:
    users = {
        case: [pod["spec"]["securityContext"].get("runAsUser") for pod in pods(objects(CASES[case]))]
        for case in ("server", "no users", "large users")
    }
    assert users == {"server": [10001] * 2, "no users": [None] * 2, "large users": [1000680000] * 2}
