"""A unit in a pod: what is committed decides, whatever was heard of the pod."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from unittest.mock import Mock

import kubernetes_validate
import pytest
from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from builders import card, compiled
from executing import MOODS, World, records
from kubernetes.client import ApiClient
from kubernetes.client import models as k8s

from airflow_agentic.artifacts import Store
from airflow_agentic.artifacts.digests import digest, tree_digest
from airflow_agentic.compat import AirflowException, AirflowFailException, AirflowSkipException
from airflow_agentic.container.exits import LastWords
from airflow_agentic.container.parcel import VARIABLE, packed, unpacked
from airflow_agentic.exceptions import InputError, ModelLoadError, ModelUnavailableError
from airflow_agentic.execution import Folder, Run, infer_unit
from airflow_agentic.hooks.store import ArtifactStoreHook
from airflow_agentic.operators.kubernetes import KubernetesInferenceOperator, last_words, next_step
from airflow_agentic.operators.pod import pod_arguments
from airflow_agentic.plan.ir import Infer, Route

RELEASES: Final = ("1.29", "1.30", "1.31", "1.32", "1.33", "1.34")
OBJECTS: Final[dict[str, Any]] = {
    "affinity": {"podAntiAffinity": {}},
    "annotations": {"a": "b"},
    "container_resources": {"limits": {"memory": "1Gi"}},
    "container_security_context": {"runAsUser": 7},
    "dns_config": {"nameservers": ["10.0.0.1"]},
    "env_from": [{"configMapRef": {"name": "settings"}}],
    "env_vars": {"KEY": "value"},
    "host_aliases": [{"ip": "10.0.0.1", "hostnames": ["store"]}],
    "image_pull_secrets": [{"name": "registry"}],
    "init_containers": [{"name": "first", "image": "first:1"}],
    "labels": {"team": "vision"},
    "node_selector": {"disk": "ssd"},
    "ports": [{"containerPort": 80, "name": "http"}],
    "security_context": {"runAsNonRoot": True, "runAsUser": 5},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "volume_mounts": [{"name": "data", "mountPath": "/data"}],
    "volumes": [{"name": "data", "emptyDir": {}}],
}
"""An argument of KubernetesPodOperator and a value that has something in it."""


class TaskInstance:
    """Keeps what is pushed."""

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


class Started:
    """A run up to its model, and the operator of its one unit."""

    def __init__(self, folder: Path, **said: Any) -> None:
        plan = compiled("b", card("b", classes=MOODS), shard={"rows": 5}, parallelism=1)
        base = Store.open(str(folder))
        self.run: Run = Folder.of(base, "default", "demo", "manual", ["executing"]).start(plan, [records()], [])
        self.run.control(plan.of(Route)[0])
        self.node = plan.of(Infer)[0]
        self.unit = self.run.units()[0]
        mount = k8s.V1VolumeMount(name="shared", mount_path=str(folder))
        arguments = pod_arguments(card("b", image="b:1"), {"volume_mounts": [mount]}, said)
        topology = digest(plan.topology)
        self.operator = KubernetesInferenceOperator(
            task_id="b", node=self.node.id, topology=topology, unit=self.unit.to_json(), **arguments
        )
        self.ti = TaskInstance()
        run = type("DagRun", (), {"dag_id": "demo", "run_id": "manual"})()
        self.context: Any = {"dag_run": run, "ti": self.ti}

    def commit(self, shards: int = 3) -> None:
        """What the pod does."""

        def until(shard: Any, _: Any) -> None:
            if shard.number + 1 == shards < 3:
                raise ModelUnavailableError("killed")

        try:
            infer_unit(self.run.folder.open(self.run.manifest), self.node, self.unit, World().start, on_shard=until)
        except ModelUnavailableError:
            return

    def execute(self, monkeypatch: pytest.MonkeyPatch, pod: Callable[[], None]) -> dict[str, Any]:
        """Execute, with ``pod`` instead of a pod; returns the counts."""
        monkeypatch.setattr(KubernetesPodOperator, "execute", lambda *_: pod())
        self.operator.execute(self.context)
        return dict(self.ti.pushed["return_value"])


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    monkeypatch.setenv("AIRFLOW__AGENTIC__ARTIFACTS", str(tmp_path))
    return Started(tmp_path)


COUNTS: Final = {"model": "b", "unit": 0, "predictions": 10, "errors": 1, "resumed_shards": 0}


def test_a_pod_that_commits_all_is_a_success(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    assert started.execute(monkeypatch, started.commit) == COUNTS


def test_a_pod_that_ends_badly_after_its_last_marker_is_a_success(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deleted() -> None:
        started.commit()
        raise AirflowException("pod not found")

    assert started.execute(monkeypatch, deleted) == COUNTS


def test_a_unit_that_is_complete_needs_no_pod(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    started.commit()

    assert started.execute(monkeypatch, lambda: pytest.fail("a pod was made")) == COUNTS


def test_a_pod_that_says_it_succeeded_is_not_believed(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AirflowException) as caught:
        started.execute(monkeypatch, lambda: started.commit(1))

    assert not isinstance(caught.value, AirflowFailException)
    assert str(caught.value) == (
        "'b' lost unit 1 of 1 (shards 1 to 2, 6 of the records 'r5' to 'r13'; 1 of its shards stay committed): "
        "it ended without committing them\npod none was made: it said nothing"
    )
    assert started.execute(monkeypatch, started.commit) == COUNTS


def test_committed_data_that_was_damaged_is_no_success(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged() -> None:
        started.commit()
        marker = started.run.committed(started.node, started.run.shards[1])
        started.run.folder.store.write(marker.data.name, b"other bytes")

    with pytest.raises(AirflowException, match="SHA-256"):
        started.execute(monkeypatch, damaged)


@pytest.mark.parametrize(
    ("error", "kind", "step"),
    [
        (ModelLoadError("weights not found"), AirflowFailException, ""),
        (ModelUnavailableError("hung"), AirflowException, ""),
        (MemoryError("no more"), AirflowException, "\nraise resources.memory in the model's card, or lower batch.rows"),
    ],
)
def test_a_pod_s_last_words_decide_about_another_try(
    started: Started, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception], step: str
) -> None:
    words = LastWords.of(error)
    pod = ended(exit_code=words.code, message=words.to_json())

    def failed() -> None:
        started.operator._last_pod = pod
        raise AirflowException("Pod returned a failure.")

    with pytest.raises(AirflowException) as caught:
        started.execute(monkeypatch, failed)

    assert isinstance(caught.value, AirflowFailException) is (kind is AirflowFailException)
    assert str(caught.value).endswith(f"\npod model-pod: {type(error).__name__}: {error}{step}")


def test_nothing_selected_is_a_skip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTIC__ARTIFACTS", str(tmp_path))
    started = Started(tmp_path)
    monkeypatch.setattr(Run, "unit_shards", lambda *_: [])

    with pytest.raises(AirflowSkipException, match="no record of unit 0 is for 'b'"):
        started.execute(monkeypatch, lambda: pytest.fail("a pod was made"))


def test_a_store_that_no_pod_reaches_fails_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTIC__ARTIFACTS", str(tmp_path))
    started = Started(tmp_path, artifacts="file:///elsewhere")

    with pytest.raises(AirflowFailException, match="no volume of the pod is mounted there"):
        started.execute(monkeypatch, lambda: pytest.fail("a pod was made"))


def test_the_pod_is_told_its_unit(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    started.execute(monkeypatch, started.commit)

    assert started.operator.arguments == [
        "unit",
        f"--store={started.run.folder.store.base}",
        f"--manifest={started.run.manifest}",
        "--node=main.b",
        "--unit=0",
        "--grace=25",
    ]


def test_without_shared_storage_the_pod_s_log_has_the_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTIC__ARTIFACTS", str(tmp_path))
    started = Started(tmp_path, shared_storage=False, volume_mounts=None)
    pod = ended(exit_code=0)
    pod.metadata.namespace = "inference"

    def answered(*, truncated: int = 0) -> None:
        (sent,) = [one.value for one in started.operator.env_vars if one.name == VARIABLE]
        folder = Store.open("memory://")
        for name, data in unpacked(sent).items():
            folder.write(name, data)
        run = Folder(folder, ["executing"]).open(started.run.manifest)
        log: list[str] = ["not ours", ""]

        def committed(shard: Any, marker: Any) -> None:
            files = {name: folder.read(name) for name in (marker.data.name, marker.name)}
            log.append(json.dumps({"parcel": packed(files)}))

        infer_unit(run, started.node, started.unit, World().start, on_shard=committed)
        lines = log[: len(log) - truncated]
        client = type(
            "Client", (), {"read_namespaced_pod_log": lambda *_, **__: [f"{one}\n".encode() for one in lines]}
        )
        started.operator.client = client()
        monkeypatch.setattr(KubernetesPodOperator, "cleanup", lambda *_, **__: None)
        started.operator.cleanup(pod, pod)

    with pytest.raises(
        AirflowException, match=r"lost unit 1 of 1 \(shard 2, \d of the records 'r10' to 'r13'; 2 of its shards stay"
    ):
        started.execute(monkeypatch, lambda: answered(truncated=1))
    assert started.operator.arguments[0:2] == ["unit", "--parcel"]
    started.operator.env_vars = []
    assert started.execute(monkeypatch, answered) == COUNTS


def test_the_pod_is_told_where_the_store_is(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ArtifactStoreHook, "environment", {"AWS_ENDPOINT": "http://store"})
    started.execute(monkeypatch, started.commit)

    assert [(one.name, one.value) for one in started.operator.env_vars] == [("AWS_ENDPOINT", "http://store")]


def test_files_that_the_store_has_need_not_be_on_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTIC__ARTIFACTS", str(tmp_path / "store"))
    path = tmp_path / "weights"
    path.write_bytes(b"weights")
    sha256 = tree_digest(path)
    pinned = card("b", runtime={"framework": "onnx", "artifact": str(path), "sha256": sha256})
    first, second = (
        KubernetesInferenceOperator(task_id="b", node="main.b", topology="t", unit={}, card=pinned) for _ in range(2)
    )
    first._fetch("s3://runs", pinned)
    path.unlink()
    second._fetch("s3://runs", pinned)

    assert second.init_containers[0].args == ["fetch", "--store=s3://runs", f"--sha256={sha256}"]


def test_a_file_without_a_digest_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTIC__ARTIFACTS", str(tmp_path))
    operator = Started(tmp_path).operator
    remote = card("b", runtime={"framework": "onnx", "artifact": "s3://models/b.onnx"})

    with pytest.raises(InputError, match=r"'b': 's3://models/b.onnx' cannot be fetched by its digest: pin it"):
        operator._fetch("s3://runs", remote)


def ended(*, exit_code: int, message: str | None = None, reason: str = "Error", init: bool = False) -> k8s.V1Pod:
    state = k8s.V1ContainerState(
        terminated=k8s.V1ContainerStateTerminated(exit_code=exit_code, message=message, reason=reason)
    )
    status = k8s.V1ContainerStatus(
        name="fetch-model" if init else "model", state=state, image="", image_id="", ready=False, restart_count=0
    )
    statuses = {"init_container_statuses" if init else "container_statuses": [status]}
    return k8s.V1Pod(metadata=k8s.V1ObjectMeta(name="model-pod"), status=k8s.V1PodStatus(phase="Failed", **statuses))


def waiting(reason: str, message: str) -> k8s.V1Pod:
    state = k8s.V1ContainerState(waiting=k8s.V1ContainerStateWaiting(reason=reason, message=message))
    status = k8s.V1ContainerStatus(name="model", state=state, image="", image_id="", ready=False, restart_count=0)
    return k8s.V1Pod(status=k8s.V1PodStatus(phase="Pending", container_statuses=[status]))


def unscheduled(message: str) -> k8s.V1Pod:
    condition = k8s.V1PodCondition(type="PodScheduled", status="False", reason="Unschedulable", message=message)
    return k8s.V1Pod(status=k8s.V1PodStatus(phase="Pending", conditions=[condition]))


@pytest.mark.parametrize(
    ("pod", "why", "step"),
    [
        (ended(exit_code=137, reason="OOMKilled"), "container model ended with exit code 137 (OOMKilled)",
         "raise resources"),
        (ended(exit_code=1, init=True), "container fetch-model ended with exit code 1 (Error)", None),
        (waiting("ImagePullBackOff", "no such image"), "container model waits: ImagePullBackOff: no such image",
         "check the card's image"),
        (waiting("ContainerCreating", ""), None, None),
        (k8s.V1Pod(status=k8s.V1PodStatus(reason="Evicted", message="low on memory")), "Evicted: low on memory",
         "the node was short"),
        (unscheduled("0/1 nodes are available: 1 Insufficient cpu."),
         "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.", "no node fits"),
        (None, None, None),
    ],
)  # fmt: skip
def test_how_a_pod_ended_is_said_with_the_next_step(pod: k8s.V1Pod | None, why: str | None, step: str | None) -> None:
    words, found = last_words(pod, "model")

    assert (words, found) == (None, why)
    hint = next_step(why or "")
    assert hint is None if step is None else (hint or "").startswith(step)


def test_every_argument_of_kubernetes_pod_operator_is_taken() -> None:
    known = set(inspect.signature(KubernetesPodOperator.__init__).parameters) - {"self", "kwargs"}
    values: dict[str, Any] = {name: OBJECTS.get(name, _value(name)) for name in known}
    values |= {"reattach_on_restart": None, "pod_template_file": None}

    operator = KubernetesInferenceOperator(task_id="b", node="main.b", topology="t", unit={}, card=card("b"), **values)

    kept = {name: getattr(operator, name) for name in known if hasattr(operator, name)}
    assert len(kept) > 60
    assert kept["priority_class_name"] == values["priority_class_name"]
    assert ApiClient().sanitize_for_serialization(kept["tolerations"]) == OBJECTS["tolerations"]
    assert set(KubernetesPodOperator.template_fields) <= set(KubernetesInferenceOperator.template_fields)


def _value(name: str) -> Any:
    parameter = inspect.signature(KubernetesPodOperator.__init__).parameters[name]
    if isinstance(parameter.default, str | bool | int | float):
        return parameter.default
    return "high" if name == "priority_class_name" else None


@pytest.mark.parametrize("release", RELEASES)
def test_a_pod_is_what_kubernetes_takes(release: str, started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    model = card("b", image="b:1", isolation="process", resources={"cpu": "1", "memory": "1Gi", "gpu": 1})
    given = {name: value for name, value in OBJECTS.items() if name != "container_resources"}
    operator = KubernetesInferenceOperator(
        task_id="b", node="main.b", topology="t", unit={}, **pod_arguments(model, given), fetch=True
    )
    path = Path(started.run.folder.store.base.removeprefix("file://")) / "weights"
    path.write_bytes(b"weights")
    pinned = card("b", runtime={"framework": "onnx", "artifact": str(path), "sha256": tree_digest(path)})
    operator._fetch("s3://runs", pinned)
    operator.hook = Mock(spec=KubernetesHook, is_in_cluster=False)  # providers before 10.25 know no dry run
    operator.hook.get_namespace.return_value = "models"
    pod = operator.build_pod_request_obj(None)
    document = json.loads(json.dumps(ApiClient().sanitize_for_serialization(pod)))

    kubernetes_validate.validate(document, release, strict=True)
    names = [one["name"] for one in document["spec"]["initContainers"]]
    assert names == ["fetch-model", "first"]
    assert document["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
