"""The chart's gateway and model servers on a cluster: they answer, and no request is lost when they change or die."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from cluster import eventually, execute, namespace, objects
from kubernetes import client
from services import require
from stage import PACKAGES, PYTHON, TOLERANCE

from airflow_agentic import Workflow
from airflow_agentic.registry import Registry
from airflow_agentic.serving.access.tokens import new_token
from airflow_agentic.spec import workflow_from

if TYPE_CHECKING:
    from collections.abc import Iterator

try:
    import helm_python as helm
except ImportError:  # a platform without a wheel
    helm = None

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROOT: Final = Path(__file__).resolve().parents[2]
CHART: Final = ROOT / "charts" / "airflow-agentic"
LOAD: Final = (Path(__file__).parent / "open_loop.py").read_text()
RELEASE: Final = "agentic"
FULL: Final = "agentic-airflow-agentic"
SELECTOR: Final = f"app.kubernetes.io/instance={RELEASE}"
SENTENCE: Final = "This is a test sentence."
DEADLINE_MS: Final = 3000
RATE: Final = 20
MODELS: Final = ROOT / "dags" / "models"
VADER: Final = (MODELS / "vader.yaml").read_text()
WORDS: Final = """\
apiVersion: airflow-agentic/v1
kind: Model
name: words
version: "1"
task: text-analysis
input: text
output: {classes: [negative, positive], score_kind: other}
runtime:
  framework: python
  handler: airflow_agentic.contrib.rules:KeywordSentiment
  args: {positive: [test], negative: [bad]}
isolation: inline
"""
WORKFLOWS: Final = {
    "one.yaml": """\
apiVersion: airflow-agentic/v1
kind: Workflow
name: one
runner: service
service: {other_versions: true}
routes: [{use: vader}]
""",
    "careful.yaml": """\
apiVersion: airflow-agentic/v1
kind: Workflow
name: careful
serves: []
runner: service
service: {other_versions: true}
routes: [{use: {fallback: [vader, words]}}]
""",
}
ONE: Final = {"task": "text-analysis", "input": SENTENCE}
CAREFUL: Final = {"workflow": "careful", "input": SENTENCE}
KILL: Final = """\
import os, pathlib, signal
for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    words = path.read_bytes().split(b"\\0")
    if b"serve" in words:
        os.kill(int(path.parent.name), signal.SIGKILL)
"""


@dataclass(frozen=True, kw_only=True)
class Release:
    """What is installed in ``space``."""

    api: client.ApiClient
    helm: Any
    space: str
    token: str

    def values(self, vader: str = VADER) -> dict[str, Any]:
        quick = {"startup": {"periodSeconds": 1}, "readiness": {"periodSeconds": 2}}
        return {
            "project": {"cards": {"vader.yaml": vader, "words.yaml": WORDS}, "workflows": WORKFLOWS},
            "modelServerDefaults": {"image": PACKAGES, "http": {"enabled": True}, "probes": quick},
            "modelServers": [{"name": name, "card": f"{name}.yaml"} for name in ("vader", "words")],
            "gateway": {
                "enabled": True,
                "image": PYTHON,
                "tokens": {"existingSecret": "tokens"},
                "probes": {"readiness": {"periodSeconds": 2}},
            },
            "test": {"tokenSecret": "tokens"},
        }

    def upgrade(self, values: dict[str, Any]) -> None:
        self.helm.upgrade(CHART, RELEASE, values, wait="watcher", timeout=240)
        for name in ("vader-http", "words-http", "gateway"):
            self.settled(name)

    def restart(self, name: str) -> None:
        """As ``kubectl rollout restart``, until no old pod is left."""
        now = datetime.now(UTC).isoformat()
        annotations = {"kubectl.kubernetes.io/restartedAt": now}
        body = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
        before = self.pods(name)
        client.AppsV1Api(self.api).patch_namespaced_deployment(f"{FULL}-{name}", self.space, body)
        eventually(lambda: not before & self.pods(name), what=f"no old pod of {name}")
        self.settled(name)

    def settled(self, name: str) -> None:
        def looks() -> bool:
            found = client.AppsV1Api(self.api).read_namespaced_deployment(f"{FULL}-{name}", self.space)
            status, wanted = found.status, found.spec.replicas
            return (
                status.observed_generation >= found.metadata.generation
                and (status.updated_replicas, status.available_replicas) == (wanted, wanted)
                and len(self.pods(name)) == wanted
            )

        eventually(looks, what=f"{name} rolled out")

    def pods(self, name: str) -> set[str]:
        found = client.CoreV1Api(self.api).list_namespaced_pod(self.space, label_selector=SELECTOR).items
        return {pod.metadata.name for pod in found if pod.metadata.name.startswith(f"{FULL}-{name}-")}

    def run(self, name: str, command: list[str]) -> None:
        """A pod beside the release."""
        core = client.CoreV1Api(self.api)
        of_all = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        of_one = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        container = {"name": "base", "image": PYTHON, "command": command, "securityContext": of_one}
        spec = {"restartPolicy": "Never", "securityContext": of_all, "containers": [container]}
        core.create_namespaced_pod(self.space, {"metadata": {"name": name}, "spec": spec})

        def phase() -> str:
            return str(core.read_namespaced_pod(name, self.space).status.phase)

        eventually(lambda: phase() == "Running", what=f"{name} running")

    @contextmanager
    def load(self, *bodies: dict[str, str]) -> Iterator[list[dict[str, Any]]]:
        """Constant load while it lasts; the list is filled at the end."""
        core, found = client.CoreV1Api(self.api), list[dict[str, Any]]()
        wanted = {
            "url": f"http://{FULL}-gateway:8000",
            "token": self.token,
            "bodies": bodies,
            "rate": RATE,
            "deadline_ms": DEADLINE_MS,
        }
        self.run("load", ["python", "-c", LOAD, json.dumps(wanted)])
        try:
            yield found
            assert execute(self.api, self.space, "load", ["touch", "/tmp/stop"])[0] == 0
            eventually(
                lambda: core.read_namespaced_pod("load", self.space).status.phase == "Succeeded", what="load done"
            )
            logged = core.read_namespaced_pod_log("load", self.space, _preload_content=False).data
            found += [json.loads(line) for line in logged.decode().splitlines()]
        finally:
            core.delete_namespaced_pod("load", self.space, grace_period_seconds=0)
            eventually(lambda: "load" not in self.names(), what="the load's pod deleted")

    def names(self) -> set[str]:
        found = client.CoreV1Api(self.api).list_namespaced_pod(self.space).items
        return {pod.metadata.name for pod in found}


@pytest.fixture(scope="module")
def release(api: client.ApiClient) -> Iterator[Release]:
    require(helm is not None, "needs Helm as a library: pip install helm-python-sdk")
    made = new_token()
    clients = [{"name": "tests", "workflows": "*", "tokens": [{"sha256": made.sha256}]}]
    with namespace(api, "serving") as space:
        secret = {"tokens.yaml": json.dumps({"clients": clients}), "token": made.token}
        client.CoreV1Api(api).create_namespaced_secret(space, {"metadata": {"name": "tokens"}, "stringData": secret})
        with helm.Config(kubeconfig_path=os.environ["KUBECONFIG"], namespace=space) as releases:
            found = Release(api=api, helm=releases, space=space, token=made.token)
            releases.install(CHART, RELEASE, found.values(), wait="watcher", timeout=240)
            yield found
            releases.uninstall(RELEASE, wait="watcher", timeout=180)
            eventually(lambda: objects(api, space, SELECTOR) == set(), what="a namespace without the release's objects")


@pytest.fixture(scope="module")
def right() -> dict[str, Any]:
    """What the model says of the sentence here."""
    spec = workflow_from({"name": "here", "routes": [{"use": "vader"}]})
    (row,) = Workflow(spec, Registry.load([MODELS])).run([SENTENCE], task="text-analysis").to_pylist()
    return {"label": row["label"], "score": pytest.approx(row["score"], abs=TOLERANCE), "model": "vader"}


def test_the_gateway_gives_the_models_answer(release: Release, right: dict[str, Any]) -> None:
    report = release.helm.test(RELEASE, timeout=120, logs=True)
    logs = report["logs"].splitlines()
    (answer,) = [json.loads(line) for line in logs if line.startswith("{")]
    assert {key: answer[key] for key in right} == right
    assert answer["version"] == "1"
    assert "The gateway answers." in logs


def test_restarts_lose_no_request(release: Release) -> None:
    with release.load(ONE) as answers:
        release.restart("vader-http")
        release.restart("gateway")
    assert lost(answers) == []
    assert {one["model"] for one in answers} == {"vader"}


def test_a_new_version_loses_no_request(release: Release) -> None:
    second = VADER.replace('version: "1"', 'version: "2"')
    with release.load(ONE) as answers:
        release.upgrade(release.values(second))
    assert lost(answers) == []
    versions = [one["version"] for one in answers]
    assert set(versions) == {"1", "2"}
    assert versions[-1] == "2"


def test_a_killed_model_server_loses_no_request_that_another_can_answer(release: Release) -> None:
    with release.load(CAREFUL, ONE) as answers:
        for _ in range(2):
            (pod,) = release.pods("vader-http")
            before = restarts(release, pod)
            execute(release.api, release.space, pod, ["python", "-c", KILL])
            eventually(lambda: restarts(release, pod) > before, what="a new container")  # noqa: B023  # asked at once
            release.settled("vader-http")
    late = [one for one in answers if one["seconds"] > DEADLINE_MS / 1000 + 1]
    assert late == []
    careful = [one for one in answers if one["asked"] == CAREFUL]
    assert lost(careful) == []
    assert {one["model"] for one in careful} == {"vader", "words"}
    without = [one for one in answers if one["asked"] == ONE and one["status"] != 200]
    assert {one["status"] for one in without} <= {503, 504}
    assert [one for one in without if not one["type"] or "vader" not in one["detail"]] == []


def restarts(release: Release, pod: str) -> int:
    status = client.CoreV1Api(release.api).read_namespaced_pod(pod, release.space).status
    return sum(one.restart_count for one in status.container_statuses)


def lost(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that were not answered; there must have been some that were."""
    assert len(answers) > RATE
    return [one for one in answers if one["status"] != 200]
