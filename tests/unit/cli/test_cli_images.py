"""``airflow-agentic images``, with an engine that only writes down what it is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fake_engine import FakeEngine, inspected, small_wheel

import airflow_agentic
from airflow_agentic.artifacts.digests import file_digest
from airflow_agentic.cli.models import observe
from airflow_agentic.spec.load import load_model

if TYPE_CHECKING:
    from cli_samples import Run

VERSION = airflow_agentic.__version__


@pytest.fixture
def fake(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    found = FakeEngine(tmp_path_factory.mktemp("engine"))
    monkeypatch.setenv("AIRFLOW_AGENTIC_ENGINE", found.command)
    monkeypatch.delenv("TORCH_INDEX", raising=False)
    return found


@pytest.fixture
def net(project: Path) -> Path:
    """A card with an artifact, in the project."""
    (project / "models" / "net.onnx").write_bytes(b"net")
    path = project / "models" / "net.yaml"
    path.write_text(
        "apiVersion: airflow-agentic/v1\nkind: Model\nname: net\nversion: '7'\ntask: sizing\ninput: tensor\n"
        "output: {value: size}\nruntime: {framework: onnx, artifact: net.onnx}\n"
    )
    return path


def test_build_for_a_card_and_a_framework(net: Path, project: Path, run: Run, fake: FakeEngine) -> None:
    fake.answer("build", "Step 1/9\n")
    names = [f"airflow-agentic/{name}" for name in (f"torch:{VERSION}", "net:7")]
    labels = (
        {"airflow-agentic.framework": "torch"},
        {"airflow-agentic.framework": "onnx", "airflow-agentic.model": "net"},
    )
    entries = [inspected(name, labels=label, size=2_000_000) for name, label in zip(names, labels, strict=True)]
    fake.answer("image inspect", json.dumps(entries))

    result = run("images", "build", "net", "--framework", "torch", "--wheel", str(small_wheel(project)))

    assert (result.exit_code, result.stderr) == (0, "Step 1/9\nStep 1/9\n")
    assert result.stdout.splitlines() == [
        f"built airflow-agentic/torch:{VERSION} (torch, 2.0 MB)",
        "built airflow-agentic/net:7 (onnx, 1 file baked in, 2.0 MB)",
    ]


def test_build_as_json_for_machines(net: Path, project: Path, run: Run, fake: FakeEngine) -> None:
    fake.answer("build", "Step 1/9\n")
    digest = observe(load_model(net)).info.digest
    labels = {
        "airflow-agentic.framework": "onnx",
        "airflow-agentic.model": "net",
        "airflow-agentic.model-version": "7",
        "airflow-agentic.model-digest": digest,
    }
    fake.answer("image inspect", json.dumps([inspected("localhost:5000/ml/net:next", labels=labels)]))
    options = ("--repository", "localhost:5000/ml", "--tag", "next", "--push", "--json")

    result = run("images", "build", "net", *options, "--wheel", str(small_wheel(project)))

    sha256 = file_digest(project / "models" / "net.onnx")
    assert json.loads(result.stdout) == [
        {
            "reference": "localhost:5000/ml/net:next",
            "name": "localhost:5000/ml/net",
            "tag": "next",
            "framework": "onnx",
            "model": "net",
            "version": "7",
            "digest": digest,
            "size": 1000,
            "id": "sha256:1",
            "files": [
                {
                    "key": "runtime.artifact",
                    "uri": "net.onnx",
                    "path": f"/models/{sha256}/net.onnx",
                    "sha256": sha256,
                }
            ],
        }
    ]
    assert f"airflow-agentic.model-digest={digest}" in fake.calls[0]  # as `models show` prints it
    assert fake.calls[-1] == ["push", "localhost:5000/ml/net:next"]


def test_what_is_passed_on(run: Run, here: Path, fake: FakeEngine) -> None:
    fake.answer("image inspect", json.dumps([inspected(f"airflow-agentic/torch:{VERSION}")]))
    options = ("--base-image", "python:3.12-slim", "--torch-index", "https://example.org/cpu", "--package", "a==1")

    run("images", "build", "--framework", "torch", *options, "--wheel", str(small_wheel(here)))

    assert {"BASE_IMAGE=python:3.12-slim", "TORCH_INDEX=https://example.org/cpu"} < set(fake.calls[0])
    context = fake.context(f"airflow-agentic/torch:{VERSION}")
    assert (context / "packages" / "requirements.txt").read_text() == "a==1\n"


@pytest.mark.usefixtures("fake", "project")
def test_build_of_nothing_and_of_what_is_not_there(run: Run) -> None:
    result = run("images", "build")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: nothing to build: name models of the project, or a --framework\n",
    )
    result = run("images", "build", "few-word")
    assert (result.exit_code, result.stderr) == (2, "error: no model is called 'few-word'; did you mean 'few-words'?\n")
    result = run("images", "build", "--framework", "onx")
    assert (result.exit_code, result.stderr) == (
        4,
        "error: no image is made for framework 'onx'; did you mean 'onnx'?\n",
    )


def test_list(run: Run, fake: FakeEngine) -> None:
    assert run("images", "list").stdout == "no images; make one with `airflow-agentic images build`\n"
    own = {"airflow-agentic.framework": "torch", "org.opencontainers.image.version": "0.1.0"}
    model = {
        "airflow-agentic.framework": "onnx",
        "airflow-agentic.model": "net",
        "airflow-agentic.model-version": "7",
        "airflow-agentic.model-digest": "d" * 64,
    }
    entries = [
        inspected("airflow-agentic/torch:0.1.0", labels=own, size=5_100_000_000),
        inspected("airflow-agentic/net:7", labels=model, size=312_000_000, id_="sha256:2"),
    ]
    fake.answer("image ls", "sha256:1\nsha256:2\n")
    fake.answer("image inspect", json.dumps(entries))

    assert [line.split() for line in run("images", "list").stdout.splitlines()] == [
        ["image", "tag", "framework", "model", "version", "digest", "size"],
        ["airflow-agentic/net", "7", "onnx", "net", "7", "d" * 12, "312.0", "MB"],
        ["airflow-agentic/torch", "0.1.0", "torch", "–", "0.1.0", "–", "5.1", "GB"],
    ]
    net, torch = json.loads(run("images", "list", "--json").stdout)
    assert (net["reference"], net["digest"], net["size"]) == ("airflow-agentic/net:7", "d" * 64, 312_000_000)
    assert (torch["model"], torch["digest"]) == (None, None)


def test_list_without_an_engine(run: Run) -> None:
    result = run("images", "list", "--engine", "no-such-engine")
    assert result.exit_code == 4
    assert result.stderr.startswith("error: the engine 'no-such-engine' cannot be started (")
