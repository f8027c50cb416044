"""A model server is a Deployment that fulfils the container contract and that Airflow finds by its labels."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from cases import CARD, CASES, DIGEST, VOLUME, elsewhere, server
from rendered import kinds, objects, one

SOCKET = "/tmp/airflow-agentic.sock"


def deployment(values: dict[str, Any], name: str = "airflow-agentic-words") -> dict[str, Any]:
    return one("Deployment", name, values)


def pod(values: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = deployment(values)["spec"]["template"]
    return found


def container(values: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod(values)["spec"]["containers"]
    return dict(found)


def test_it_runs_warm_with_the_card_and_probes_ready() -> None:
    model = container(server())
    assert model["name"] == "model"
    assert model["image"] == "registry.example/python:1"
    assert "command" not in model  # the image's entry point
    assert model["args"] == ["warm", "--card", "/etc/airflow-agentic/models/words.yaml", "--socket", SOCKET]
    ready = ["python", "-m", "airflow_agentic.runtime", "ready", "--socket", SOCKET]
    probes = {key: value for key, value in model.items() if key.endswith("Probe")}
    assert {key: value["exec"]["command"] for key, value in probes.items()} == {
        "startupProbe": ready,
        "readinessProbe": ready,
        "livenessProbe": ready,
    }
    assert {key: (value["periodSeconds"], value["failureThreshold"]) for key, value in probes.items()} == {
        "startupProbe": (5, 120),
        "readinessProbe": (15, 2),
        "livenessProbe": (30, 4),
    }
    assert {"name": "tmp", "mountPath": "/tmp"} in model["volumeMounts"]
    assert {"name": "tmp", "emptyDir": {}} in pod(server())["spec"]["volumes"]


def test_airflow_finds_it_by_labels() -> None:
    labels = pod(server())["metadata"]["labels"]
    assert labels == {
        "airflow-agentic/model": "words",
        "airflow-agentic/model-version": "1",
        "app.kubernetes.io/component": "model-server",
        "app.kubernetes.io/instance": "airflow-agentic",
        "app.kubernetes.io/managed-by": "Helm",
        "app.kubernetes.io/name": "airflow-agentic",
        "app.kubernetes.io/part-of": "airflow-agentic",
    }
    annotations = pod(server())["metadata"]["annotations"]
    assert annotations["airflow-agentic/socket"] == SOCKET
    assert annotations["kubectl.kubernetes.io/default-container"] == "model"


@pytest.mark.parametrize(
    ("version", "label"), [("1.0+cpu", "1.0_cpu"), ("1-", "1"), ("v" * 64, "v" * 63), ("2", "2"), ("1.10", "1.10")]
)
def test_a_version_becomes_a_labels_value(version: str, label: str) -> None:
    labels = pod(elsewhere(version=version))["metadata"]["labels"]
    assert labels["airflow-agentic/model-version"] == label


def test_a_new_version_keeps_the_deployment() -> None:
    first, second = (deployment(elsewhere(version=version)) for version in ("1", "2"))
    assert first["spec"]["selector"] == second["spec"]["selector"]
    assert first["metadata"]["name"] == second["metadata"]["name"]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("words", "airflow-agentic-words"),
        ("words_v2.5", "airflow-agentic-words-v2-5"),
        ("m" * 64, f"airflow-agentic-{'m' * 27}-{hashlib.sha256(b'm' * 64).hexdigest()[:8]}"),
    ],
)
def test_its_objects_have_names_that_kubernetes_takes(model: str, name: str) -> None:
    found = deployment(elsewhere(name=model), name)
    assert found["spec"]["template"]["metadata"]["labels"]["airflow-agentic/model"] == model[:63]


def test_a_changed_card_starts_its_server_anew_and_no_other() -> None:
    values = server()
    values["project"]["cards"]["other.yaml"] = CARD.replace("name: words", "name: other")
    values["modelServers"].append({"name": "other", "card": "other.yaml"})
    before = {name: deployment(values, f"airflow-agentic-{name}") for name in ("words", "other")}
    values["project"]["cards"]["other.yaml"] += "description: changed\n"
    after = {name: deployment(values, f"airflow-agentic-{name}") for name in ("words", "other")}
    assert before["words"] == after["words"]
    assert before["other"]["spec"]["template"] != after["other"]["spec"]["template"]


def test_the_card_says_what_the_values_do_not() -> None:
    gpu = CARD.replace("memory: 256Mi", "memory: 1000000000, gpu: 1")
    values = {"project": {"cards": {"words.yaml": gpu}}, "modelServers": [{"name": "words", "card": "words.yaml"}]}
    assert container(values)["resources"] == {
        "requests": {"cpu": "500m", "memory": "1000000000"},
        "limits": {"memory": "1000000000", "nvidia.com/gpu": 1},
    }
    wanted = {"requests": {"cpu": "2"}}
    assert container(server(resources=wanted, image="registry.example/mine:2"))["resources"] == wanted
    assert container(server(image="registry.example/mine:2"))["image"] == "registry.example/mine:2"


@pytest.mark.parametrize(
    ("memory", "kubernetes"), [("1GiB", "1Gi"), ("64 Mi", "64Mi"), ("1.5Gi", "1.5Gi"), ("500k", "500k")]
)
def test_a_cards_size_is_written_as_kubernetes_does(memory: str, kubernetes: str) -> None:
    card = CARD.replace("256Mi", f'"{memory}"')
    values = {"project": {"cards": {"words.yaml": card}}, "modelServers": [{"name": "words", "card": "words.yaml"}]}
    assert container(values)["resources"]["limits"] == {"memory": kubernetes}


def test_defaults_of_all_servers_and_what_one_says() -> None:
    shared = {
        "env": [{"name": "A", "value": "1"}],
        "nodeSelector": {"disk": "ssd"},
        "probes": {"startup": {"periodSeconds": 1}},
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
    }
    own = {"resources": {"requests": {"cpu": "2"}}, "nodeSelector": {"zone": "a"}, "env": []}
    values = {"modelServerDefaults": shared, **elsewhere(**own)}
    model = container(values)
    assert model["resources"] == {"requests": {"cpu": "2", "memory": "1Gi"}}
    assert pod(values)["spec"]["nodeSelector"] == {"disk": "ssd", "zone": "a"}
    assert "env" not in model
    assert model["startupProbe"]["periodSeconds"] == 1
    assert model["startupProbe"]["failureThreshold"] == 120


def test_placement_and_environment_are_handed_on() -> None:
    spec = pod(CASES["placement"])["spec"]
    entry = CASES["placement"]["modelServers"][0]
    for key in ("nodeSelector", "tolerations", "affinity", "topologySpreadConstraints", "priorityClassName"):
        assert spec[key] == entry[key]
    model = container(CASES["environment"])
    entry = CASES["environment"]["modelServers"][0]
    assert model["env"] == entry["env"]
    assert model["envFrom"] == entry["envFrom"]
    assert entry["volumeMounts"][0] in model["volumeMounts"]
    assert model["args"][-4:] == ["--allow", "my_models.words", "--allow", "my_models.more:Class"]
    metadata = pod(CASES["environment"])["metadata"]
    assert metadata["labels"]["team"] == "ml"
    assert metadata["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"


def test_gpus_are_a_limit() -> None:
    spec = pod(CASES["gpu"])["spec"]
    assert spec["containers"][0]["resources"]["limits"] == {"memory": "256Mi", "amd.com/gpu": 2}
    assert spec["runtimeClassName"] == "rocm"
    assert deployment(CASES["gpu"])["spec"]["strategy"] == {"type": "Recreate"}


def test_the_card_may_be_in_the_image_or_in_another_or_in_a_map_that_exists() -> None:
    inside = pod(CASES["card in the image"])["spec"]
    assert inside["containers"][0]["args"][2] == "/cards/words.yaml"
    assert [volume["name"] for volume in inside["volumes"]] == ["tmp"]
    existing = pod(CASES["existing cards"])["spec"]
    assert {"name": "cards", "configMap": {"name": "my-cards"}} in existing["volumes"]
    copied = pod(CASES["project from an image"])["spec"]
    assert copied["initContainers"][0]["command"] == ["cp", "-R", "/project/.", "/etc/airflow-agentic"]
    assert copied["containers"][0]["args"][2] == "/etc/airflow-agentic/models/words.yaml"
    assert {"name": "project", "mountPath": "/etc/airflow-agentic", "readOnly": True} in copied["containers"][0][
        "volumeMounts"
    ]


def test_files_come_from_a_claim_or_are_fetched_one_by_one() -> None:
    claim = pod(CASES["files from a claim"])["spec"]
    mount = {"name": "files", "mountPath": "/models", "readOnly": True}
    assert mount in claim["containers"][0]["volumeMounts"]
    assert {"name": "files", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}} in claim["volumes"]
    fetched = pod(CASES["files from the volume"])["spec"]
    assert [one["args"] for one in fetched["initContainers"]] == [
        ["fetch", "--store", "file:///artifacts/runs", "--sha256", digest] for digest in (DIGEST, DIGEST[::-1])
    ]
    assert {one["image"] for one in fetched["initContainers"]} == {"registry.example/python:1"}
    assert all(
        {"name": "artifacts", "mountPath": "/artifacts"} in one["volumeMounts"] for one in fetched["initContainers"]
    )
    assert mount in fetched["containers"][0]["volumeMounts"]


def test_credentials_of_the_store_reach_the_init_container() -> None:
    entry = {"files": {"fetch": [DIGEST]}, "envFrom": [{"secretRef": {"name": "bucket"}}]}
    values = {**server(**entry), "artifacts": {"uri": "s3://bucket/runs"}}
    (init,) = pod(values)["spec"]["initContainers"]
    assert init["envFrom"] == entry["envFrom"]


def test_the_store_on_a_volume_is_mounted() -> None:
    values = {**server(), **VOLUME}
    assert {"name": "artifacts", "mountPath": "/artifacts"} in container(values)["volumeMounts"]
    claim = {"name": "artifacts", "persistentVolumeClaim": {"claimName": "airflow-agentic-artifacts"}}
    assert claim in pod(values)["spec"]["volumes"]
    existing = pod(CASES["existing volume"])["spec"]["volumes"]
    assert {"name": "artifacts", "persistentVolumeClaim": {"claimName": "runs"}} in existing


def test_a_budget_and_an_autoscaler_aim_at_its_pods() -> None:
    values = server(podDisruptionBudget={"enabled": True}, autoscaling={"enabled": True, "minReplicas": 2})
    found = deployment(values)
    assert "replicas" not in found["spec"]
    budget = one("PodDisruptionBudget", "airflow-agentic-words", values)
    assert budget["spec"] == {"maxUnavailable": 1, "selector": found["spec"]["selector"]}
    scaler = one("HorizontalPodAutoscaler", "airflow-agentic-words", values)["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "airflow-agentic-words"}
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 3)


def test_without_them_there_is_a_number_of_pods() -> None:
    assert deployment(server(replicas=3))["spec"]["replicas"] == 3
    assert {kind.partition("/")[0] for kind in kinds(server())} == {
        "ConfigMap",
        "Deployment",
        "Pod",
        "Role",
        "RoleBinding",
        "ServiceAccount",
    }


def test_selectors_of_two_servers_do_not_overlap() -> None:
    found = [item for item in objects(CASES["two servers"]) if item["kind"] == "Deployment"]
    selectors = [item["spec"]["selector"]["matchLabels"] for item in found]
    assert [selector["airflow-agentic/model"] for selector in selectors] == ["words", "other"]
    for item in found:
        labels = item["spec"]["template"]["metadata"]["labels"].items()
        assert [selector.items() <= labels for selector in selectors].count(True) == 1
