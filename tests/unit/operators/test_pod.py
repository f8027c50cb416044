"""A pod's arguments from three layers, and what Kubernetes reads of them."""

from __future__ import annotations

from typing import Any

import pytest
from builders import card
from kubernetes.client import ApiClient
from kubernetes.client import models as k8s

from airflow_agentic.exceptions import InputError
from airflow_agentic.operators.pod import PodArgumentError, merged, parsed, pod_arguments
from airflow_agentic.operators.reach import reachable_store


def written(value: Any) -> Any:
    """As YAML."""
    return ApiClient().sanitize_for_serialization(value)


def test_the_card_says_what_its_pod_needs() -> None:
    found = pod_arguments(
        card(
            "lite0", image="registry/lite0:1", isolation="process", resources={"cpu": "500m", "memory": "1Gi", "gpu": 2}
        )
    )  # fmt: skip

    assert found["image"] == "registry/lite0:1"
    assert found["labels"] == {"airflow-agentic/model": "lite0", "airflow-agentic/model-version": "1"}
    assert written(found["container_resources"]) == {
        "requests": {"cpu": "500m", "memory": "1073741824", "nvidia.com/gpu": "2"},
        "limits": {"memory": "1073741824", "nvidia.com/gpu": "2"},
    }


def test_a_card_without_resources_asks_for_none() -> None:
    assert written(pod_arguments(card("a"))["container_resources"]) == {}


def test_a_pod_is_restricted_unless_something_else_is_said() -> None:
    found = pod_arguments(card("a"))

    assert written(found["security_context"]) == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert written(found["container_security_context"]) == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert found["automount_service_account_token"] is False
    own = pod_arguments(card("a"), {"security_context": {"runAsUser": 50000}})
    assert written(own["security_context"]) == {"runAsUser": 50000}


def test_later_layers_win_and_named_things_are_merged() -> None:
    found = pod_arguments(
        card(
            "a",
            image="of-card",
            kubernetes={
                "labels": {"team": "vision", "tier": "card"},
                "env_vars": {"A": "card", "B": "card"},
                "tolerations": [{"key": "gpu", "operator": "Exists"}],
                "volumes": [{"name": "data", "emptyDir": {}}],
                "service_account_name": "of-card",
            },
        ),
        {
            "labels": {"tier": "workflow"},
            "env_vars": {"B": "workflow"},
            "tolerations": [{"key": "spot", "operator": "Exists"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "claim"}}],
            "namespace": "of-workflow",
        },
        {"namespace": "of-operator", "image": "of-operator"},
    )

    assert (found["image"], found["namespace"], found["service_account_name"]) == (
        "of-operator",
        "of-operator",
        "of-card",
    )
    assert {key: value for key, value in found["labels"].items() if "/" not in key} == {
        "team": "vision",
        "tier": "workflow",
    }
    assert written(found["env_vars"]) == [{"name": "A", "value": "card"}, {"name": "B", "value": "workflow"}]
    assert [one["key"] for one in written(found["tolerations"])] == ["gpu", "spot"]
    assert written(found["volumes"]) == [
        {"name": "agentic-scratch", "emptyDir": {}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "claim"}},
    ]
    assert written(found["volume_mounts"]) == [{"mountPath": "/tmp", "name": "agentic-scratch"}]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("affinity", {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}}}),
        ("container_resources", {"requests": {"cpu": "1"}}),
        ("env_from", [{"secretRef": {"name": "store"}}]),
        ("env_vars", [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "store", "key": "key"}}}]),
        ("full_pod_spec", {"metadata": {"annotations": {"a": "b"}}, "spec": {"containers": [{"name": "model"}]}}),
        ("image_pull_secrets", [{"name": "registry"}]),
        ("init_containers", [{"name": "first", "image": "busybox"}]),
        ("volume_mounts", [{"name": "data", "mountPath": "/data", "readOnly": True}]),
    ],
)  # fmt: skip
def test_kubernetes_own_notation_is_read(name: str, value: Any) -> None:
    assert written(parsed(name, value)) == value


def test_objects_of_the_client_stay_as_they_are() -> None:
    volumes = [k8s.V1Volume(name="data")]
    assert parsed("volumes", volumes) is volumes
    assert parsed("namespace", {"any": "thing"}) == {"any": "thing"}
    assert written(parsed("image_pull_secrets", "one,two")) == [{"name": "one"}, {"name": "two"}]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("volumes", [{"name": "data", "hostpath": {"path": "/x"}}],
         "Kubernetes knows no field volumes[0].hostpath\nwrite its fields as in a pod's YAML"),
        ("tolerations", [{"key": "a"}, {"kye": "b"}],
         "Kubernetes knows no field tolerations[1].kye\nwrite its fields as in a pod's YAML"),
        ("affinity", {"nodeAffinity": {"prefered": []}, "nope": 1},
         "Kubernetes knows no field affinity.nope\nwrite its fields as in a pod's YAML"),
        ("volume_mounts", [{"name": "data"}], "Kubernetes does not read it: Invalid value for `mount_path`"),
        ("container_resources", [{"requests": {}}], "Kubernetes knows no field container_resources"),
    ],
)  # fmt: skip
def test_what_kubernetes_does_not_know_is_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(PodArgumentError) as caught:
        pod_arguments(card("a"), {name: value})

    assert caught.value.argument == name
    assert str(caught.value).startswith(message)


def mount(path: str, name: str = "shared") -> k8s.V1VolumeMount:
    return k8s.V1VolumeMount(name=name, mount_path=path)


@pytest.mark.parametrize("base", ["s3://bucket/runs/", "gs://bucket/runs", "az://container/runs"])
def test_a_bucket_is_reached_without_a_volume(base: str) -> None:
    assert reachable_store(base, []) == base.rstrip("/")


def test_a_folder_is_reached_by_a_volume_at_it_or_above() -> None:
    assert reachable_store("/artifacts/runs", [mount("/artifacts")]) == "file:///artifacts/runs"
    assert reachable_store("file:///artifacts", [mount("/x"), mount("/artifacts/")]) == "file:///artifacts"


@pytest.mark.parametrize("mounts", [[], [mount("/artifact")], [mount("/artifacts/runs/deep")]])
def test_a_folder_that_no_volume_is_mounted_at_is_refused(mounts: list[k8s.V1VolumeMount]) -> None:
    with pytest.raises(InputError, match="the artifact store file:///artifacts/runs is a folder, and no volume"):
        reachable_store("file:///artifacts/runs", mounts)


def test_a_pod_s_own_scratch_and_a_worker_s_memory_are_no_store() -> None:
    with pytest.raises(InputError, match="no volume of the pod is mounted there"):
        reachable_store("file:///tmp/runs", [mount("/tmp", "agentic-scratch")])
    with pytest.raises(InputError, match="which no pod can reach"):
        reachable_store("memory://", [mount("/")])


@pytest.mark.parametrize(
    ("name", "under", "over", "value"),
    [
        ("env_vars", [k8s.V1EnvVar(name="A")], [], [k8s.V1EnvVar(name="A")]),
        ("labels", {"a": "b"}, {}, {"a": "b"}),
        ("tolerations", ["one"], [], ["one"]),
        ("deferrable", True, False, False),
        ("deferrable", True, None, True),
        ("env_vars", [], [k8s.V1EnvVar(name="A")], [k8s.V1EnvVar(name="A")]),
    ],
)
def test_nothing_takes_nothing_away(name: str, under: Any, over: Any, value: Any) -> None:
    assert merged(name, under, over) == value
