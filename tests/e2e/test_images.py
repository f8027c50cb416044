"""Images as a real engine builds and runs them, and the models in them against the same models here.

Skipped with the command that provides the engine; fails instead where ``REQUIRE_SERVICES=1``.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from services import require

import airflow_agentic
from airflow_agentic.exceptions import ImageError
from airflow_agentic.images import Built, Engine, Sources, Target, build
from airflow_agentic.runtime.child import card_to_json
from airflow_agentic.spec.load import load_model

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

ROOT: Final = Path(__file__).parents[2]
BASE: Final = "python:3.11-slim-bookworm"
REPOSITORY: Final = f"airflow-agentic-test-{os.getpid()}"
MODELS: Final = ROOT / "dags" / "models"
PHOTOS: Final = [(ROOT / "dags" / "data" / "images" / name).read_bytes() for name in ("chelsea.jpg", "coffee.jpg")]
INPUTS: Final = {
    "image": [{"kind": "bytes", "data": base64.b64encode(photo).decode()} for photo in PHOTOS],
    "text": [{"kind": "text", "text": text} for text in ("What a wonderful film.", "The soup was cold and awful.")],
}
RECORDS: Final = {
    name: [{"record_id": str(row), "position": row, "input": given} for row, given in enumerate(inputs)]
    for name, inputs in INPUTS.items()
}
LARGE: Final = [
    ("torch", "minilm-torch"),  # a tokenizer
    ("torch", "minilm-embedding"),  # transformers; a folder of a package
    ("tensorflow", "lite0-tf"),  # a folder
]
LOCKED: Final = ("--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--network", "none")

INSIDE: Final = """
import importlib.util, json, os, shutil, sys
try:
    open("/opt/airflow-agentic/written", "w")
    written = True
except OSError:
    written = False
print(json.dumps({
    "ids": [os.getuid(), os.getgid()],
    "airflow": importlib.util.find_spec("airflow") is not None,
    "compilers": [name for name in ("cc", "gcc", "g++", "clang", "make", "ld") if shutil.which(name)],
    "cache": os.environ["AIRFLOW_AGENTIC_CACHE"],
    "written": written,
}))
"""
PREDICT: Final = """
import base64, json, pathlib, sys
from airflow_agentic.runtime import predict_records, start
from airflow_agentic.runtime.child import card_from_json
from airflow_agentic.tables import RECORD, table

given = json.load(sys.stdin)
for name, text in given["beside"].items():
    path = pathlib.Path(given["card"]["folder"], name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
for record in given["records"]:
    if record["input"]["kind"] == "bytes":
        record["input"]["data"] = base64.b64decode(record["input"]["data"])
card = card_from_json(given["card"])
predictor = start(card)
answers = predict_records(predictor, card, table(given["records"], RECORD))
predictor.close()
print(json.dumps(answers.select(["label", "score", "output", "error"]).to_pylist()))
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """The engine; what is built in its repository is removed afterwards."""
    command = shutil.which("docker") or ""
    answers = [command, "image", "inspect", BASE]
    found = command and subprocess.run(answers, capture_output=True, check=False).returncode == 0
    require(found, f"needs a Docker engine that has {BASE}: start dockerd, then docker pull {BASE}")
    engine = Engine(command=command)
    yield engine
    mine = [image.reference for image in engine.images() if image.name.startswith(f"{REPOSITORY}/")]
    if mine:
        subprocess.run([command, "image", "rm", "--force", *mine], capture_output=True, check=True)


def make(engine: Engine, wheel: Path, target: Target, *packages: str) -> Built:
    (built,) = build([target], engine, Sources(wheel=wheel, packages=packages))
    return built


@pytest.fixture(scope="module")
def plain(engine: Engine, wheel: Path) -> Built:
    return make(engine, wheel, Target.of_framework("python", repository=REPOSITORY))


@pytest.fixture(scope="module")
def onnx(engine: Engine, wheel: Path) -> Built:
    card = load_model(MODELS / "lite0-onnx.yaml")
    return make(engine, wheel, Target.of_card(card, repository=REPOSITORY))


def run(engine: Engine, built: Built, *arguments: str, code: str | None = None, stdin: str = "") -> str:
    """What a container prints that may write to ``/tmp`` only and reaches no network."""
    options = ["--entrypoint", "python"] if code is not None else []
    rest = ["-c", code] if code is not None else list(arguments)
    command = [engine.command, "run", "--interactive", *LOCKED, *options, built.image.reference, *rest]
    found = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_it_starts_the_model_runtime(engine: Engine, plain: Built) -> None:
    assert run(engine, plain, "--help").startswith("usage: python -m airflow_agentic.runtime ")


def test_it_has_no_root_no_airflow_no_compiler(engine: Engine, plain: Built) -> None:
    assert json.loads(run(engine, plain, code=INSIDE)) == {
        "ids": [10001, 10001],
        "airflow": False,
        "compilers": [],
        "cache": "/models",
        "written": False,
    }


def test_its_user_cannot_change_the_code(engine: Engine, plain: Built) -> None:
    command = [engine.command, "run", "--rm", "--entrypoint", "python", plain.image.reference, "-c", INSIDE]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout)["written"] is False


def test_our_code_is_its_last_layer(engine: Engine, plain: Built, wheel: Path, tmp_path: Path) -> None:
    other = tmp_path / wheel.name
    shutil.copyfile(wheel, other)
    with zipfile.ZipFile(other, "a") as archive:
        archive.writestr("airflow_agentic/changed.py", "")

    changed = make(engine, other, Target.of_framework("python", repository=REPOSITORY, tag="changed"))

    *below, code = layers(engine, plain)
    *same, new = layers(engine, changed)
    assert below == same
    assert code != new


def layers(engine: Engine, built: Built) -> list[str]:
    command = [engine.command, "image", "inspect", built.image.reference]
    (found,) = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return list(found["RootFS"]["Layers"])


def test_a_package_that_brings_airflow_makes_no_image(engine: Engine, wheel: Path, tmp_path: Path) -> None:
    package = tmp_path / "brings_airflow-1-py3-none-any.whl"
    info = "brings_airflow-1.dist-info"
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("airflow/__init__.py", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: brings-airflow\nVersion: 1\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    said: list[str] = []
    target = Target.of_framework("python", repository=REPOSITORY, tag="airflow")

    with pytest.raises(ImageError, match=f"of {REPOSITORY}/python:airflow failed"):
        make(Engine(command=engine.command, say=said.append), wheel, target, str(package))
    assert any("a package or the base image brings Airflow" in line for line in said if "RUN" not in line)


@pytest.mark.models
def test_a_baked_in_model_answers_as_it_does_here(engine: Engine, onnx: Built) -> None:
    same_answers(engine, onnx, "lite0-onnx")


@pytest.mark.models
@pytest.mark.parametrize(("framework", "name"), LARGE)
def test_a_large_image_answers_as_it_does_here(engine: Engine, wheel: Path, framework: str, name: str) -> None:
    known = f"airflow-agentic/{framework}:{airflow_agentic.__version__}"  # its layers are used again
    require(
        known in {image.reference for image in engine.images()},
        f"needs the image {known}: airflow-agentic images build --framework {framework}",
    )
    card = load_model(MODELS / f"{name}.yaml")
    same_answers(engine, make(engine, wheel, Target.of_card(card, repository=REPOSITORY)), name)


def test_a_handler_from_a_package_answers_as_it_does_here(engine: Engine, wheel: Path) -> None:
    target = Target.of_card(load_model(MODELS / "vader.yaml"), repository=REPOSITORY)
    same_answers(engine, make(engine, wheel, target, "vaderSentiment==3.3.2"), "vader")


def same_answers(engine: Engine, built: Built, name: str) -> None:
    """The card's model answers in ``built``, where none of its project is, as it does in this environment."""
    card = load_model(MODELS / f"{name}.yaml")
    artifact = next((file for file in built.files if file.key == "runtime.artifact"), None)
    pinned = card.runtime.model_copy(update={"sha256": artifact.sha256 if artifact is not None else None})
    unpinned = [file.uri for file in built.files if file is not artifact]
    given = {
        "card": {**card_to_json(card.model_copy(update={"runtime": pinned})), "folder": "/tmp/project/models"},
        "beside": {
            uri: (card.folder / uri).read_text() for uri in unpinned
        },  # found by their place until they are pinned
        "records": RECORDS[card.input],
    }

    found = json.loads(run(engine, built, code=PREDICT, stdin=json.dumps(given)))

    expected = here(given | {"card": card_to_json(card), "beside": {}})
    assert [(one["label"], one["error"]) for one in found] == [(one["label"], one["error"]) for one in expected]
    assert {one["error"] for one in found} == {None}
    numbers = [[one["score"] or 0.0, *json.loads(one["output"] or "[]")] for one in (*found, *expected)]
    assert numbers[: len(found)] == [pytest.approx(one, abs=1e-3) for one in numbers[len(found) :]]


def here(given: dict[str, Any]) -> list[dict[str, Any]]:
    command = [sys.executable, "-P", "-c", PREDICT]
    found = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True)
    answers: list[dict[str, Any]] = json.loads(found.stdout)
    return answers


@pytest.mark.models
def test_it_is_listed_with_its_model(engine: Engine, onnx: Built) -> None:
    found = {image.reference: image for image in engine.images()}
    image = found[f"{REPOSITORY}/lite0-onnx:1"]
    assert image == onnx.image
    assert (image.framework, image.model, image.version) == ("onnx", "lite0-onnx", "1")
    assert image.digest is not None
    assert image.size > 10**8
