"""The chart on a real cluster: installed, tested, upgraded, rolled back, uninstalled, and nothing left."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from cluster import account, eventually, execute, namespace, objects
from kubernetes import client
from services import require

from airflow_agentic import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

try:
    import helm_python as helm
except ImportError:  # a platform without a wheel
    helm = None

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

MODEL_IMAGE: Final = os.environ.get("MODEL_IMAGE", f"airflow-agentic/python:{__version__}")
"""Of docker/, in the cluster: ``make e2e`` builds and loads it."""

CHART: Final = Path(__file__).resolve().parents[2] / "charts" / "airflow-agentic"
RELEASE: Final = "agentic"
FULL: Final = "agentic-airflow-agentic"
SELECTOR: Final = f"app.kubernetes.io/instance={RELEASE}"
WARM: Final = f"{SELECTOR},app.kubernetes.io/component=model-server,airflow-agentic/model=words"
DIGEST: Final = sha256(b"weights").hexdigest()
PUBLISH: Final = """\
import pathlib, sys
from airflow_agentic.artifacts import Store
from airflow_agentic.container.models import publish
path = pathlib.Path("/tmp/model.bin")
path.write_bytes(b"weights")
publish(Store.open(sys.argv[1]), path, sys.argv[2])
"""
PREPARE: Final = """\
import pathlib, sys
from airflow_agentic.artifacts import Store
from airflow_agentic.execution import Folder, snapshot
from airflow_agentic.pipeline.inputs import inline_records
from airflow_agentic.plan import compile_plan
from airflow_agentic.plan.ir import Infer, Route
from airflow_agentic.registry import Registry
from airflow_agentic.spec import load_model, workflow_from
card = load_model(pathlib.Path("/etc/airflow-agentic/models/words.yaml"))
plan = snapshot(compile_plan(workflow_from({"name": "demo", "routes": [{"use": "words"}]}), Registry.of(card)))
records = inline_records([{"record_id": "1", "text": "a good day"}, {"record_id": "2", "text": "a bad day"}])
run = Folder(Store.open("/tmp/run")).start(plan, [records], [])
run.control(run.plan.of(Route)[0])
print(run.manifest, run.plan.of(Infer)[0].id)
"""
COMMAND: Final = ["python", "-m", "airflow_agentic.runtime"]
READY: Final = [*COMMAND, "ready", "--socket", "/tmp/airflow-agentic.sock"]
CARD: Final = """\
apiVersion: airflow-agentic/v1
kind: Model
name: words
version: "1"
task: text-classification
input: text
output: {classes: [negative, positive], score_kind: other}
runtime:
  framework: python
  handler: airflow_agentic.contrib.rules:KeywordSentiment
  args: {positive: [good], negative: [bad]}
resources: {cpu: 50m, memory: 384Mi}
"""


@pytest.fixture
def space(api: client.ApiClient) -> Iterator[str]:
    with namespace(api, "chart") as name:
        yield name


@pytest.fixture
def releases(space: str) -> Iterator[Any]:
    require(helm is not None, "needs Helm as a library: pip install helm-python-sdk")
    with helm.Config(kubeconfig_path=os.environ["KUBECONFIG"], namespace=space) as found:
        yield found


def values(*, card: str = CARD, **entry: Any) -> dict[str, Any]:
    return {
        "project": {"cards": {"words.yaml": card}, "workflows": {"reviews.yaml": "name: reviews\n"}},
        "modelServerDefaults": {"image": MODEL_IMAGE, "probes": {"startup": {"periodSeconds": 1}}},
        "modelServers": [{"name": "words", "card": "words.yaml", **entry}],
    }


def install(releases: Any, wanted: dict[str, Any]) -> None:
    releases.install(CHART, RELEASE, wanted, wait="watcher", timeout=180)


def upgrade(releases: Any, wanted: dict[str, Any]) -> None:
    releases.upgrade(CHART, RELEASE, wanted, wait="watcher", timeout=180)


def pods(api: client.ApiClient, space: str) -> list[Any]:
    """The warm pods that are ready, as Airflow finds them."""
    found = client.CoreV1Api(api).list_namespaced_pod(space, label_selector=WARM).items
    return [
        pod
        for pod in found
        if pod.metadata.deletion_timestamp is None
        and any(condition.type == "Ready" and condition.status == "True" for condition in pod.status.conditions or [])
    ]


def labels(pod: Any, key: str) -> str:
    return str(pod.metadata.labels[f"airflow-agentic/{key}"])


def test_the_life_of_a_release(api: client.ApiClient, space: str, releases: Any) -> None:
    install(releases, values())
    (first,) = pods(api, space)
    assert execute(api, space, first.metadata.name, READY)[0] == 0
    report = releases.test(RELEASE, timeout=120, logs=True)
    assert f"words: {first.metadata.name}" in report["logs"]
    assert "Airflow may do what it must." in report["logs"]

    second = CARD.replace('version: "1"', 'version: "2"')
    more = {
        **values(card=second, replicas=2, podDisruptionBudget={"enabled": True}),
        "networkPolicy": {"enabled": True},
    }
    upgrade(releases, more)
    eventually(lambda: len(pods(api, space)) == 2, what="two warm pods")
    assert {labels(pod, "model-version") for pod in pods(api, space)} == {"2"}
    assert {f"PodDisruptionBudget/{FULL}-words", f"NetworkPolicy/{FULL}-models"} <= objects(api, space, SELECTOR)
    releases.test(RELEASE, timeout=120)

    releases.rollback(RELEASE, wait="watcher", timeout=180)
    eventually(lambda: len(pods(api, space)) == 1, what="one warm pod")
    assert [labels(pod, "model-version") for pod in pods(api, space)] == ["1"]
    mapped = client.CoreV1Api(api).read_namespaced_config_map(f"{FULL}-cards", space)
    assert mapped.data == {"words.yaml": CARD}
    assert f"PodDisruptionBudget/{FULL}-words" not in objects(api, space, SELECTOR)

    releases.uninstall(RELEASE, wait="watcher", timeout=180)
    eventually(lambda: objects(api, space, SELECTOR) == set(), what="a namespace without the release's objects")
    assert objects(api, space, f"owner=helm,name={RELEASE}") == set()


def test_an_upgrade_that_changes_nothing_of_a_model_leaves_it_loaded(
    api: client.ApiClient, space: str, releases: Any
) -> None:
    install(releases, values())
    before = {pod.metadata.name for pod in pods(api, space)}
    changed = values()
    changed["project"]["workflows"]["reviews.yaml"] = "name: other\n"
    upgrade(releases, changed)
    assert {pod.metadata.name for pod in pods(api, space)} == before


def test_a_model_that_is_never_ready_is_not_installed_in_silence(
    api: client.ApiClient, space: str, releases: Any
) -> None:
    broken = {**values(), "modelServerDefaults": {"image": MODEL_IMAGE}}
    broken["modelServers"][0] |= {"card": "/no/such/card.yaml", "version": "1"}
    with pytest.raises(helm.HelmError, match=f"Deployment/{space}/{FULL}-words not ready"):
        releases.install(CHART, RELEASE, broken, wait="watcher", timeout=15)
    assert pods(api, space) == []
    with pytest.raises(helm.HelmReleaseError):
        releases.test(RELEASE, timeout=60)


def test_helm_test_fails_without_the_rights(space: str, releases: Any) -> None:
    install(releases, {**values(), "airflow": {"rbac": {"create": False}}})
    with pytest.raises(helm.HelmReleaseError):
        releases.test(RELEASE, timeout=60)


def test_files_are_fetched_and_the_volume_is_kept(api: client.ApiClient, space: str, releases: Any) -> None:
    core = client.CoreV1Api(api)
    claim = f"{FULL}-artifacts"
    core.create_persistent_volume(
        {
            "metadata": {"name": space},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteMany"],
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": space, "name": claim},
                "hostPath": {"path": "/tmp", "type": "Directory"},  # where a pod without rights may write
            },
        }
    )
    try:
        folder = f"/artifacts/{space}"
        store = {"uri": f"file://{folder}", "persistence": {"enabled": True, "storageClass": "-", "size": "1Gi"}}
        install(releases, {**values(), "artifacts": store})
        (pod,) = pods(api, space)
        published = execute(api, space, pod.metadata.name, ["python", "-c", PUBLISH, folder, DIGEST])
        assert published == (0, "")
        upgrade(releases, {**values(files={"fetch": [DIGEST]}), "artifacts": store})
        eventually(lambda: pod.metadata.name not in {one.metadata.name for one in pods(api, space)}, what="a new pod")
        (pod,) = pods(api, space)
        shown = execute(api, space, pod.metadata.name, ["cat", f"/models/{DIGEST}/model.bin"])
        assert shown == (0, "weights")
        assert execute(api, space, pod.metadata.name, ["rm", "-r", folder])[0] == 0
        releases.uninstall(RELEASE, wait="watcher", timeout=180)
        eventually(lambda: objects(api, space, SELECTOR) == {f"PersistentVolumeClaim/{claim}"}, what="only the claim")
    finally:
        core.delete_persistent_volume(space)


def test_airflow_may_do_what_it_must_and_no_more(api: client.ApiClient, space: str, releases: Any) -> None:
    install(releases, values())
    with account(api, space, f"{FULL}-airflow") as airflow:
        (warm,) = pods(airflow, space)
        assert execute(airflow, space, warm.metadata.name, READY)[0] == 0
        run_a_unit(client.CoreV1Api(airflow), space, warm)
        core = client.CoreV1Api(airflow)
        for refused in [
            lambda: core.list_namespaced_secret(space),
            lambda: core.list_namespaced_config_map(space),
            lambda: core.list_node(),
            lambda: core.list_namespaced_pod("kube-system"),
            lambda: core.delete_collection_namespaced_pod(space),
            lambda: client.AppsV1Api(airflow).list_namespaced_deployment(space),
        ]:
            with pytest.raises(client.ApiException, match="Forbidden"):
                refused()


def run_a_unit(core: client.CoreV1Api, space: str, warm: Any) -> None:
    """What KubernetesPodOperator does, with these rights."""
    container = {
        "name": "base",
        "image": MODEL_IMAGE,
        "command": ["python", "-c", "print('predicted')"],
        "securityContext": warm.spec.containers[0].security_context,
    }
    spec = {
        "serviceAccountName": f"{FULL}-models",
        "restartPolicy": "Never",
        "securityContext": warm.spec.security_context,
        "containers": [container],
    }
    core.create_namespaced_pod(space, {"metadata": {"name": "unit"}, "spec": spec})
    eventually(lambda: core.read_namespaced_pod("unit", space).status.phase == "Succeeded", what="a finished unit")
    logged = core.read_namespaced_pod_log("unit", space, _preload_content=False)
    assert logged.data == b"predicted\n"
    assert core.list_namespaced_event(space, field_selector="involvedObject.name=unit").items
    core.patch_namespaced_pod("unit", space, {"metadata": {"labels": {"already_checked": "True"}}})
    core.delete_namespaced_pod("unit", space)


def test_a_warm_pod_works_through_units(api: client.ApiClient, space: str, releases: Any) -> None:
    install(releases, values())
    (warm,) = pods(api, space)
    status, said = execute(api, space, warm.metadata.name, ["python", "-c", PREPARE])
    assert status == 0, said
    manifest, node = said.split()
    socket = warm.metadata.annotations["airflow-agentic/socket"]
    unit = [*COMMAND, "unit", "--store=/tmp/run", f"--manifest={manifest}", f"--node={node}", f"--socket={socket}"]
    with account(api, space, f"{FULL}-airflow") as airflow:
        status, said = execute(airflow, space, warm.metadata.name, [*unit, "--unit=0"])
        assert status == 0, said
        assert "shard 0: predictions: 2, errors: 0" in said
        status, said = execute(airflow, space, warm.metadata.name, [*unit, "--unit=1"])
    assert status == 65
    assert "the run has 1 units, counted from 0, and none numbered 1" in said


def test_models_may_do_nothing(api: client.ApiClient, space: str, releases: Any) -> None:
    install(releases, values())
    (warm,) = pods(api, space)
    mounted = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert execute(api, space, warm.metadata.name, ["test", "-e", mounted])[0] == 1
    assert execute(api, space, warm.metadata.name, ["touch", "/written"])[0] == 1
    assert execute(api, space, warm.metadata.name, ["touch", "/tmp/written"])[0] == 0
    with account(api, space, f"{FULL}-models") as models, pytest.raises(client.ApiException, match="Forbidden"):
        client.CoreV1Api(models).list_namespaced_pod(space)
