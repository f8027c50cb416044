from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_engine import FakeEngine, inspected

from airflow_agentic.exceptions import ImageError
from airflow_agentic.images import Engine, Image

LABELS = {
    "airflow-agentic.framework": "onnx",
    "airflow-agentic.model": "net",
    "airflow-agentic.model-version": "1.2+cpu",
    "airflow-agentic.model-digest": "d" * 64,
    "org.opencontainers.image.version": "1.2+cpu",
}


@pytest.fixture
def fake(tmp_path: Path) -> FakeEngine:
    return FakeEngine(tmp_path)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def engine(fake: FakeEngine, said: list[str]) -> Engine:
    return Engine(command=fake.command, say=said.append)


def test_no_images(fake: FakeEngine, engine: Engine) -> None:
    assert engine.images() == []
    assert fake.calls == [["image", "ls", "--quiet", "--no-trunc", "--filter", "label=airflow-agentic.framework"]]


def test_images_by_name_and_tag(fake: FakeEngine, engine: Engine) -> None:
    fake.answer("image ls", "sha256:2\nsha256:1\nsha256:2\nsha256:3\n")
    card = inspected(
        "localhost:5000/ml/net:1.2_cpu", "airflow-agentic/net:1.2_cpu", labels=LABELS, size=5, id_="sha256:2"
    )
    own = {"airflow-agentic.framework": "torch", "org.opencontainers.image.version": "0.1.0"}
    framework = inspected("airflow-agentic/torch:0.1.0", labels=own, size=7)
    nameless = inspected(labels=own, id_="sha256:3")
    fake.answer("image inspect", json.dumps([card, framework, nameless, {"Id": "4", "RepoTags": None, "Config": None}]))

    found = engine.images()

    net = Image(
        name="airflow-agentic/net",
        tag="1.2_cpu",
        framework="onnx",
        model="net",
        version="1.2+cpu",
        digest="d" * 64,
        size=5,
        id="sha256:2",
    )
    assert found[0] == net
    assert found[1] == Image(
        name="airflow-agentic/torch",
        tag="0.1.0",
        framework="torch",
        model=None,
        version="0.1.0",
        digest=None,
        size=7,
        id="sha256:1",
    )
    assert found[2].reference == "localhost:5000/ml/net:1.2_cpu"
    assert len(found) == 3
    assert fake.calls[1] == ["image", "inspect", "sha256:2", "sha256:1", "sha256:3"]


def test_an_engine_that_does_not_answer(fake: FakeEngine, engine: Engine) -> None:
    fake.answer("image ls", "Cannot connect to the Docker daemon.\n", code=1)
    with pytest.raises(ImageError) as caught:
        engine.images()
    assert str(caught.value) == f"`{fake.command} image ls` failed: Cannot connect to the Docker daemon."


def test_what_a_build_prints_is_passed_on_line_by_line(
    fake: FakeEngine, engine: Engine, said: list[str], tmp_path: Path
) -> None:
    (tmp_path / "context").mkdir()
    fake.answer("build", "Step 1/2\n\n  Step 2/2\n")
    engine.build(tmp_path / "context", "a/b:1", arguments={"X": "1"}, labels={"y": "2"})
    assert said == ["Step 1/2", "", "  Step 2/2"]
    assert fake.calls == [
        ["build", "--tag", "a/b:1", "--build-arg", "X=1", "--label", "y=2", str(tmp_path / "context")]
    ]


def test_a_build_that_fails_says_the_last_that_was_said(fake: FakeEngine, engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    fake.answer("build", "Step 1/2\nno space left on device\n\n", code=3)
    with pytest.raises(ImageError) as caught:
        engine.build(tmp_path / "context", "a/b:1", arguments={}, labels={})
    assert str(caught.value) == f"`{fake.command} build` of a/b:1 failed with exit code 3: no space left on device"


def test_push(fake: FakeEngine, engine: Engine) -> None:
    engine.push("localhost:5000/a:1")
    assert fake.calls == [["push", "localhost:5000/a:1"]]
    fake.answer("push", "denied\n", code=1)
    with pytest.raises(ImageError) as caught:
        engine.push("localhost:5000/a:1")
    assert str(caught.value) == f"`{fake.command} push` of localhost:5000/a:1 failed with exit code 1: denied"


def test_an_engine_that_is_not_there() -> None:
    engine = Engine(command="no-such-engine")
    message = (
        "the engine 'no-such-engine' cannot be started (No such file or directory); install Docker or Podman, or name "
        "another with --engine"
    )
    with pytest.raises(ImageError) as caught:
        engine.images()
    assert str(caught.value) == message
    with pytest.raises(ImageError) as caught:
        engine.push("a:1")
    assert str(caught.value) == message
