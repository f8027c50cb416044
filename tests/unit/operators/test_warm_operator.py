"""A unit handed to a warm pod: which pod, with which command, and what becomes of what was heard of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from builders import card, compiled
from executing import MOODS, World, records
from kubernetes.client import models as k8s

from airflow_agentic.artifacts import Store
from airflow_agentic.artifacts.digests import digest
from airflow_agentic.compat import AirflowException, AirflowFailException, AirflowSkipException
from airflow_agentic.container.exits import LastWords
from airflow_agentic.exceptions import ModelLoadError, ModelUnavailableError
from airflow_agentic.execution import Folder, Run, infer_unit
from airflow_agentic.operators import warm
from airflow_agentic.operators.warm import WarmInferenceOperator
from airflow_agentic.plan.ir import Infer, Route

STDOUT: Final = 1
STDERR: Final = 2
COUNTS: Final = {"model": "b", "unit": 1, "predictions": 6, "errors": 0, "resumed_shards": 0}


def pod(name: str, folder: Path, *, version: str = "1_cpu", ready: bool = True, deleted: bool = False) -> k8s.V1Pod:
    """A pod of the chart's model servers."""
    return k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(
            name=name,
            namespace="inference",
            labels={"airflow-agentic/model": "b", "airflow-agentic/model-version": version},
            annotations={"airflow-agentic/socket": "/tmp/warm.sock"},
            deletion_timestamp=datetime.now(UTC) if deleted else None,
        ),
        spec=k8s.V1PodSpec(
            containers=[
                k8s.V1Container(
                    name="model",
                    volume_mounts=[
                        k8s.V1VolumeMount(name="tmp", mount_path="/"),
                        k8s.V1VolumeMount(name="artifacts", mount_path=str(folder)),
                    ],
                )
            ],
            volumes=[
                k8s.V1Volume(name="tmp", empty_dir=k8s.V1EmptyDirVolumeSource()),
                k8s.V1Volume(name="artifacts", host_path=k8s.V1HostPathVolumeSource(path=str(folder))),
            ],
        ),
        status=k8s.V1PodStatus(conditions=[k8s.V1PodCondition(type="Ready", status="True" if ready else "False")]),
    )


class Attached:
    """An executed command: it works when its output is first asked for, and says what it says."""

    def __init__(self, work: Callable[[], None], said: dict[int, str]) -> None:
        self.work = work
        self.said = said
        self.open = True
        self.closed = False

    def is_open(self) -> bool:
        return self.open

    def update(self, timeout: float) -> None:
        self.work()
        self.open = False

    def read_channel(self, channel: int) -> str:
        return self.said.pop(channel, "")

    def close(self) -> None:
        self.open, self.closed = False, True


class Handed:
    """A run of two units up to its model, the operator of the second unit, and the cluster's pods."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__AGENTIC__ARTIFACTS", str(folder))
        self.folder = folder
        plan = compiled("b", card("b", classes=MOODS, version="1+cpu"), shard={"rows": 5}, parallelism=2)
        base = Store.open(str(folder))
        self.run: Run = Folder.of(base, "default", "demo", "manual", ["executing"]).start(plan, [records()], [])
        self.run.control(plan.of(Route)[0])
        self.node = plan.of(Infer)[0]
        self.unit = self.run.units()[1]
        self.operator = WarmInferenceOperator(
            task_id="b", node=self.node.id, topology=digest(plan.topology), unit=self.unit.to_json(), namespace="models"
        )
        self.pods = [pod("warm-1", folder), pod("warm-0", folder)]
        self.asked: list[Any] = []
        self.executed: list[tuple[str, str, dict[str, Any]]] = []
        self.operator.hook = type("Hook", (), {"core_v1_client": self})()  # type: ignore[assignment]
        self._monkeypatch = monkeypatch

    def list_namespaced_pod(self, namespace: str, *, label_selector: str) -> Any:
        self.asked.append((namespace, label_selector))
        return type("List", (), {"items": self.pods})()

    def connect_get_namespaced_pod_exec(self) -> None:
        pytest.fail("only the stream calls it")

    def commit(self) -> None:
        """What the warm model does."""
        infer_unit(self.run.folder.open(self.run.manifest), self.node, self.unit, World().start)

    def execute(
        self, work: Callable[[], None] = lambda: None, *, stdout: str = "", stderr: str = "", try_number: int = 1
    ) -> dict[str, Any]:
        """Execute the operator, with ``work`` instead of the command; returns the counts."""
        pushed: dict[str, Any] = {}
        self.attached = Attached(work, {STDOUT: stdout, STDERR: stderr})

        def stream(call: Any, name: str, namespace: str, **options: Any) -> Attached:
            assert call == self.connect_get_namespaced_pod_exec
            self.executed.append((name, namespace, options))
            return self.attached

        self._monkeypatch.setattr(warm, "stream", stream)
        push = staticmethod(lambda key, value: pushed.update({key: value}))
        ti = type("TaskInstance", (), {"try_number": try_number, "xcom_push": push})()
        run = type("DagRun", (), {"dag_id": "demo", "run_id": "manual"})()
        context: Any = {"dag_run": run, "ti": ti}
        self.operator.execute(context)
        return dict(pushed["return_value"])


@pytest.fixture
def handed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Handed:
    return Handed(tmp_path, monkeypatch)


def test_the_unit_is_handed_to_a_ready_pod_of_the_model(handed: Handed) -> None:
    assert handed.execute(handed.commit) == COUNTS

    assert handed.asked == [("models", "app.kubernetes.io/component=model-server,airflow-agentic/model=b")]
    ((name, namespace, options),) = handed.executed
    assert (name, namespace, options["container"], options["stdin"]) == ("warm-1", "inference", "model", True)
    assert options["command"] == [
        "python",
        "-m",
        "airflow_agentic.runtime",
        "unit",
        f"--store={handed.run.folder.store.base}",
        f"--manifest={handed.run.manifest}",
        "--node=main.b",
        "--unit=1",
        "--socket=/tmp/warm.sock",
        "--attached",
    ]
    assert handed.attached.closed


def test_a_retry_goes_to_the_next_pod(handed: Handed) -> None:
    handed.execute(handed.commit, try_number=2)

    assert [name for name, _, _ in handed.executed] == ["warm-0"]


def test_its_log_is_the_airflow_task_s(handed: Handed, capsys: pytest.CaptureFixture[str]) -> None:
    line = '{"timestamp": "", "level": "info", "logger": "airflow_agentic.container.unit", "event": "shard 1"}'
    handed.execute(handed.commit, stderr=f"{line}\nnot ended by a newline")

    said = re.findall(r"\] \[model\] (.+?) +\[airflow", capsys.readouterr().out)
    assert said == ["INFO airflow_agentic.container.unit  shard 1", "not ended by a newline"]


@pytest.mark.parametrize(
    ("pods", "there"),
    [
        ([], "0 of the model, none ready"),
        ([{"ready": False}, {"deleted": True}], "2 of the model, none ready"),
        ([{"version": "2"}], "ready are only those of version 2"),
    ],
)
def test_without_a_warm_pod_it_says_what_there_is(handed: Handed, pods: list[dict[str, Any]], there: str) -> None:
    handed.pods = [pod(f"warm-{number}", handed.folder, **said) for number, said in enumerate(pods)]
    with pytest.raises(AirflowException) as caught:
        handed.execute()

    assert not isinstance(caught.value, AirflowFailException)
    assert str(caught.value).splitlines() == [
        f"no warm pod of model 'b' version 1+cpu is ready in namespace 'models': {there}",
        "list the card under modelServers of the chart, wait until its pods are ready, or remove kubernetes: warm",
    ]


@pytest.mark.parametrize("work", ["commit", "nothing"])
def test_a_lost_connection_is_judged_by_what_is_committed(handed: Handed, work: str) -> None:
    def cut() -> None:
        if work == "commit":
            handed.commit()
        raise ConnectionError("the connection was cut")

    if work == "commit":
        assert handed.execute(cut) == COUNTS
        return
    with pytest.raises(AirflowException) as caught:
        handed.execute(cut)
    assert not isinstance(caught.value, AirflowFailException)
    assert str(caught.value) == (
        "'b' lost unit 2 of 2 (shards 1 to 2, 6 of the records 'r5' to 'r13'): it ended without committing them\n"
        "pod warm-1: the connection was cut"
    )


@pytest.mark.parametrize(
    ("error", "final"), [(ModelLoadError("no weights"), True), (ModelUnavailableError("stopped"), False)]
)
def test_its_last_words_decide_about_another_try(handed: Handed, error: Exception, final: bool) -> None:
    with pytest.raises(AirflowException) as caught:
        handed.execute(stdout=f"{LastWords.of(error).to_json()}\n")

    assert isinstance(caught.value, AirflowFailException) is final
    assert f"pod warm-1: {type(error).__name__}: {error}" in str(caught.value)


def test_a_command_that_is_not_there_is_told(handed: Handed) -> None:
    with pytest.raises(AirflowException, match="pod warm-1: OCI runtime exec failed"):
        handed.execute(stdout="OCI runtime exec failed: no such file")


def test_a_unit_that_is_complete_asks_for_no_pod(handed: Handed) -> None:
    handed.commit()

    assert handed.execute(lambda: pytest.fail("it was handed over")) == COUNTS
    assert handed.asked == []


def test_nothing_selected_is_a_skip(handed: Handed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "unit_shards", lambda *_: [])

    with pytest.raises(AirflowSkipException, match="no record of unit 1 is for 'b'"):
        handed.execute()


def test_a_pod_that_does_not_reach_the_store_is_refused(handed: Handed, tmp_path: Path) -> None:
    handed.operator.artifacts = "/elsewhere"  # where only the pod's own folder is

    with pytest.raises(AirflowFailException, match="no volume of the pod is mounted there"):
        handed.execute()


def test_a_cancelled_task_lets_go_of_the_command(handed: Handed) -> None:
    with pytest.raises(AirflowException, match="the connection to it ended before the unit did"):
        handed.execute(handed.operator.on_kill)

    assert handed.attached.closed
