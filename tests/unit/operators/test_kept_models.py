"""Models of registries in pods: a run pins their bytes, and pods get these by their digest and ask no registry."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from builders import card, compiled
from hub_server import COMMIT, Hub, serving

from airflow_agentic.container.models import fetch
from airflow_agentic.coordinator import Coordinator
from airflow_agentic.exceptions import ChecksumError, StoreError
from airflow_agentic.execution import node_card, snapshot
from airflow_agentic.execution.freeze import exact
from airflow_agentic.operators.kubernetes import KubernetesInferenceOperator
from airflow_agentic.plan.ir import Infer, Plan
from airflow_agentic.runtime import resolve, sources
from airflow_agentic.runtime.artifacts import CACHE_VARIABLE
from airflow_agentic.spec.model import ModelCard

HUB_URI = f"hf://acme/shoes@{COMMIT}"
ALIAS = "models:/shoes@live"
FILES = {"model.onnx": b"weights", "tokenizer.json": b"{}"}


class Registry:
    """What MLflow's client says, and the files of each version."""

    def __init__(self) -> None:
        self.version = "3"
        self.away = False

    def find(self, uris: Sequence[str]) -> dict[str, sources.Found]:
        exact = {uri: uri.replace("@live", f"/{self.version}") for uri in uris}
        return {uri: sources.Found(uri=exact[uri], state=exact[uri].split("/")[2]) for uri in uris}

    def get(self, uri: str, target: Path) -> None:
        if self.away:
            raise StoreError("the registry is away")
        target.write_bytes(FILES[target.name] + uri.split("/")[2].encode())


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its artifact store; its cache lies beside it."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "worker"))
    monkeypatch.setenv("AIRFLOW__AGENTIC__ARTIFACTS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def hub(worker: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    pytest.importorskip("huggingface_hub")
    hub = Hub()
    hub.models["acme/shoes"] = {COMMIT: dict(FILES)}
    with serving(hub):
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def registry(worker: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    registry = Registry()
    monkeypatch.setattr(sources, "find", registry.find)
    monkeypatch.setattr(sources, "get", registry.get)
    return registry


def shoes(uri: str, **said: Any) -> ModelCard:
    text = {"tokenizer": f"{uri}/tokenizer.json"}
    runtime = {"framework": "onnx", "artifact": f"{uri}/model.onnx", "text": text}
    return card("shoes", runtime=runtime, isolation="process", image="shoes:1", **said)


def in_pods(uri: str) -> Plan:
    return compiled("shoes", shoes(uri), runner="kubernetes")


def frozen(plan: Plan) -> ModelCard:
    return node_card(plan, plan.of(Infer)[0])


def fetching(model: ModelCard) -> list[str]:
    """The digests that the init container of the model's pod is told to fetch."""
    operator = KubernetesInferenceOperator(task_id="shoes", node="main.shoes", topology="t", unit={}, card=model)
    operator._fetch("s3://runs", model)
    (container,) = operator.init_containers
    return [one.removeprefix("--sha256=") for one in container.args if one.startswith("--sha256=")]


def delivered(model: ModelCard, worker: Path, pod: Path) -> dict[str, bytes]:
    """Its files as they are found in the pod, by name."""
    for sha256 in fetching(model):
        fetch(str(worker), sha256, pod)
    uris = model.files.values()
    paths = [resolve(uri, base=Path(), sha256=model.pinned(uri), cache_dir=pod) for uri in uris]
    return {path.name: path.read_bytes() for path in paths}


def test_a_model_of_the_hub_in_pods(hub: Hub, worker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = frozen(snapshot(in_pods(HUB_URI)))
    assert model.runtime.sha256 == hashlib.sha256(FILES["model.onnx"]).hexdigest()
    assert model.runtime.files == {f"{HUB_URI}/tokenizer.json": hashlib.sha256(FILES["tokenizer.json"]).hexdigest()}
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert delivered(model, worker, tmp_path / "pod") == FILES


def test_an_alias_in_pods(registry: Registry, worker: Path, tmp_path: Path) -> None:
    plan = in_pods(ALIAS)
    model = frozen(snapshot(plan))
    registry.version = "4"  # the alias moves while the run goes on
    assert (model.runtime.artifact, model.pinned("models:/shoes/3/tokenizer.json")) == (
        "models:/shoes/3/model.onnx",
        hashlib.sha256(b"{}3").hexdigest(),
    )
    registry.away = True  # what was fetched to be pinned is not fetched again
    assert delivered(model, worker, tmp_path / "pod") == {"model.onnx": b"weights3", "tokenizer.json": b"{}3"}
    registry.away = False
    assert frozen(snapshot(plan)).runtime.artifact == "models:/shoes/4/model.onnx"


def test_a_published_model_is_not_fetched_again(
    registry: Registry, worker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = frozen(snapshot(in_pods(ALIAS)))
    digests = fetching(model)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "another worker"))
    registry.away = True
    assert fetching(model) == digests


def test_a_run_does_not_begin_while_the_registry_is_away(registry: Registry) -> None:
    registry.away = True
    with pytest.raises(StoreError, match="the registry is away"):
        snapshot(in_pods(ALIAS))


def test_where_a_model_runs_is_no_part_of_what_it_is(registry: Registry) -> None:
    there, here = snapshot(in_pods(ALIAS)).models["shoes"], snapshot(compiled("shoes", shoes(ALIAS))).models["shoes"]
    assert (here.artifact, here.files) == (None, {})
    assert there.digest == here.digest


def test_a_coordinator_stays_with_the_version_that_it_found(registry: Registry) -> None:
    coordinator = Coordinator(compiled("shoes", shoes(ALIAS)))
    assert coordinator.cards["main.shoes"].files == shoes("models:/shoes/3").files


def test_a_warm_model_is_the_one_that_runs_freeze(registry: Registry) -> None:
    warm, model = exact(shoes(ALIAS)), frozen(snapshot(in_pods(ALIAS)))
    assert (warm.files, warm.runtime) == (model.files, model.runtime)


def test_a_file_that_was_replaced_under_its_version_is_refused(
    registry: Registry, worker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = frozen(snapshot(in_pods(ALIAS)))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "another worker"))
    monkeypatch.setitem(FILES, "model.onnx", b"other weights")
    with pytest.raises(ChecksumError, match=r"'models:/shoes/3/model.onnx' is not the pinned artifact"):
        fetching(model)
