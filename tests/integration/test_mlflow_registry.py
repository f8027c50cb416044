"""Artifacts of an MLflow registry: the real client and a real server."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from builders import card, compiled
from hub_server import Hub, serving
from mlflow_server import MlflowServer
from services import require

from airflow_agentic.artifacts.digests import tree_digest
from airflow_agentic.exceptions import AgenticError, ArtifactError, ChecksumError, MissingExtraError, StoreError
from airflow_agentic.execution import node_card, snapshot
from airflow_agentic.pipeline.inputs import inline_records
from airflow_agentic.plan import Plan
from airflow_agentic.plan.ir import Infer
from airflow_agentic.runtime import predict_records, start
from airflow_agentic.runtime.artifacts import resolve
from airflow_agentic.spec.load import load_model
from airflow_agentic.spec.model import ModelCard

pytestmark = pytest.mark.timeout(900)

DAGS = Path(__file__).resolve().parents[2] / "dags"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    require(find_spec("mlflow") and find_spec("uv"), "needs mlflow-skinny and uv: pip install -e '.[dev]'")
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture
def registry(server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> MlflowServer:
    for name in ("MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return server


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW_AGENTIC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fetch(uri: str, sha256: str | None = None) -> Path:
    return resolve(uri, base=Path(), sha256=sha256)


def failed(uri: str) -> AgenticError:
    with pytest.raises(AgenticError) as caught:
        fetch(uri)
    return caught.value


def rules(folder: Path, uri: str, **runtime: object) -> ModelCard:
    said = {"framework": "onnx", "artifact": uri, "text": {}, **runtime}
    return card("net", folder=folder, runtime=said, isolation="process")


def frozen(plan: Plan) -> ModelCard:
    return node_card(plan, plan.of(Infer)[0])


@pytest.mark.models
def test_a_registered_model_predicts_through_a_card(registry: MlflowServer, cache: Path) -> None:
    registry.run(
        f"import onnx; mlflow.set_experiment('lite0')\n"
        f"with mlflow.start_run(): mlflow.onnx.log_model(onnx.load({str(DAGS / 'built' / 'lite0.onnx')!r}), "
        "name='model', registered_model_name='lite0')\n"
        "client.set_registered_model_alias('lite0', 'champion', '1')"
    )
    card = load_model(DAGS / "models" / "lite0-onnx.yaml")
    records = inline_records([(DAGS / "data" / "images" / "chelsea.jpg").read_bytes()])
    answers = []
    for uri in (card.runtime.artifact, "models:/lite0/1", "models:/lite0@champion"):
        one = card.model_copy(update={"runtime": card.runtime.model_copy(update={"artifact": uri})})
        predictor = start(one)
        try:
            answers.append(predict_records(predictor, one, records).column("label").to_pylist())
        finally:
            predictor.close()
    assert answers[0][0] is not None
    assert answers == [answers[0]] * 3


def test_files_and_folders(registry: MlflowServer, cache: Path) -> None:
    version = registry.register("parts", a="one", b="two")
    file = fetch(f"models:/parts/{version}/a.txt")
    assert (file.name, file.read_text()) == ("a.txt", "one")
    assert [path.name for path in file.parent.iterdir()] == ["a.txt"]
    whole = fetch(f"models:/parts/{version}")
    assert (whole.name, sorted(path.name for path in whole.iterdir())) == ("parts", ["a.txt", "b.txt"])
    assert fetch(f"models:/parts/{version}", tree_digest(whole)) == cache / tree_digest(whole) / "parts"
    with pytest.raises(ChecksumError):
        fetch(f"models:/parts/{version}/a.txt", "0" * 64)


def test_the_same_files_have_one_digest_in_every_version(registry: MlflowServer, cache: Path) -> None:
    found = [fetch(f"models:/twins/{registry.register('twins', MLmodel='flavors', a='one')}") for _ in "12"]
    assert found[0] != found[1]
    assert tree_digest(found[0]) == tree_digest(found[1])


def test_an_alias_and_its_version_are_one_entry(registry: MlflowServer, cache: Path) -> None:
    first = registry.register("moving", a="one")
    registry.alias("moving", "live", first)
    assert fetch("models:/moving@live/a.txt") == fetch(f"models:/moving/{first}/a.txt")
    registry.alias("moving", "live", registry.register("moving", a="two"))
    assert fetch("models:/moving@live/a.txt").read_text() == "two"


def test_a_model_that_was_deleted_and_made_again(registry: MlflowServer, cache: Path) -> None:
    assert registry.register("again", a="one") == "1"
    assert fetch("models:/again/1/a.txt").read_text() == "one"
    registry.call("registered-models/delete", "DELETE", name="again")
    assert registry.register("again", a="two") == "1"
    assert fetch("models:/again/1/a.txt").read_text() == "two"


def test_a_run_stays_with_the_version_that_the_alias_meant(registry: MlflowServer, cache: Path, tmp_path: Path) -> None:
    first = registry.register("pinned", net="one", labels="a")
    registry.alias("pinned", "live", first)
    plan = compiled(
        "net", rules(tmp_path, "models:/pinned@live/net.txt", text={"tokenizer": "models:/pinned@live/labels.txt"})
    )
    begun = snapshot(plan)
    registry.alias("pinned", "live", registry.register("pinned", net="two", labels="b"))
    kept, later = frozen(begun), frozen(snapshot(plan))
    assert kept.runtime.artifact == f"models:/pinned/{first}/net.txt"
    assert kept.runtime.text is not None
    assert kept.runtime.text.tokenizer == f"models:/pinned/{first}/labels.txt"
    assert fetch(str(kept.runtime.artifact)).read_text() == "one"
    assert fetch(str(later.runtime.artifact)).read_text() == "two"
    assert begun.models["net"].digest != snapshot(plan).models["net"].digest
    assert Plan.model_validate(begun.model_dump(mode="json")) == begun


def test_a_stated_digest_needs_no_registry(
    registry: MlflowServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.alias("stated", "live", registry.register("stated", net="one"))
    sha256 = tree_digest(fetch("models:/stated@live/net.txt"))
    fetch("models:/stated@live/net.txt", sha256)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    plan = snapshot(compiled("net", rules(tmp_path, "models:/stated@live/net.txt", sha256=sha256)))
    assert plan.models["net"].healthy
    assert fetch(str(frozen(plan).runtime.artifact), sha256).read_text() == "one"


def test_what_the_registry_does_not_have(registry: MlflowServer, cache: Path, tmp_path: Path) -> None:
    version = registry.register("few", a="one")
    for uri in ("models:/nothing/1", "models:/few/99/a.txt", "models:/few@nobody/a.txt"):
        error = failed(uri)
        assert (
            type(error),
            str(error).startswith(f"{uri!r} does not exist in the registry: register it, or correct the card ("),
        ) == (
            ArtifactError,
            True,
        )
    gone = f"models:/few/{version}/b.txt"
    assert str(failed(gone)) == f"{gone!r} does not exist: in 'the model' it has a.txt"
    info = snapshot(compiled("net", rules(tmp_path, "models:/few@nobody/a.txt"))).models["net"]
    assert not info.healthy
    assert str(info.why_unhealthy).startswith(
        "'models:/few@nobody/a.txt' does not exist in the registry: register it, or correct the card ("
    )


def test_a_registry_that_is_away(
    registry: MlflowServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    error = failed("models:/net/1")
    assert type(error) is StoreError
    assert str(error).startswith(
        "'models:/net/1' cannot be read: look whether the registry that MLFLOW_REGISTRY_URI or MLFLOW_TRACKING_URI "
        "names answers here ("
    )
    with pytest.raises(StoreError):  # not an unhealthy model: the run does not begin
        snapshot(compiled("net", rules(tmp_path, "models:/net@live/net.onnx")))


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"])
def test_either_variable_names_the_registry(
    registry: MlflowServer, cache: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    version = registry.register("either", a="one")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    error = failed(f"models:/either/{version}/a.txt")
    assert (type(error), str(error)) == (
        ArtifactError,
        f"'models:/either/{version}/a.txt' cannot be read: no registry is known; "
        "set MLFLOW_TRACKING_URI or MLFLOW_REGISTRY_URI",
    )
    monkeypatch.setenv(variable, registry.url)
    assert fetch(f"models:/either/{version}/a.txt").read_text() == "one"


@pytest.mark.parametrize("status", [401, 403])
def test_a_registry_that_wants_another_account(
    registry: MlflowServer, cache: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    hub = Hub()
    hub.broken = status
    with serving(hub):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", hub.url)
        error = failed("models:/net/1")
    assert type(error) is ArtifactError
    assert str(error).startswith(
        "'models:/net/1' is refused by the registry: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
        "or MLFLOW_TRACKING_TOKEN, of an account that may read it ("
    )


def test_the_client_is_an_extra(
    registry: MlflowServer, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mlflow.py").write_text("raise ImportError('not here')")
    monkeypatch.syspath_prepend(tmp_path)
    error = failed("models:/net/1")
    assert (type(error), str(error)) == (
        MissingExtraError,
        "'mlflow' is not installed here; install it with: pip install 'airflow-agentic[mlflow]'",
    )
