"""Images as a real engine builds and runs them: plain Python, and a card of ONNX with its files in it.

Skipped with the command that provides the engine; fails instead where ``REQUIRE_SERVICES=1``.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from services import require

from airflow_agentic.exceptions import ImageError
from airflow_agentic.images import Built, Engine, Sources, Target, build
from airflow_agentic.runtime import predict_records, start
from airflow_agentic.runtime.child import card_to_json
from airflow_agentic.spec.load import load_model
from airflow_agentic.tables import RECORD, table

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

ROOT: Final = Path(__file__).parents[2]
BASE: Final = "python:3.11-slim-bookworm"
REPOSITORY: Final = f"airflow-agentic-test-{os.getpid()}"
PHOTOS: Final = ("chelsea.jpg", "coffee.jpg")
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
records = [
    {"record_id": str(row), "position": row, "input": {"kind": "bytes", "data": base64.b64decode(photo)}}
    for row, photo in enumerate(given["photos"])
]
card = card_from_json(given["card"])
predictor = start(card)
answers = predict_records(predictor, card, table(records, RECORD))
predictor.close()
print(json.dumps(answers.select(["label", "score", "error"]).to_pylist()))
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
    subprocess.run([command, "image", "rm", "--force", *mine], capture_output=True, check=True)


def make(engine: Engine, wheel: Path, target: Target, *packages: str) -> Built:
    (built,) = build([target], engine, Sources(wheel=wheel, packages=packages))
    return built


@pytest.fixture(scope="module")
def plain(engine: Engine, wheel: Path) -> Built:
    return make(engine, wheel, Target.of_framework("python", repository=REPOSITORY))


@pytest.fixture(scope="module")
def onnx(engine: Engine, wheel: Path) -> Built:
    card = load_model(ROOT / "dags" / "models" / "lite0-onnx.yaml")
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
    card = load_model(ROOT / "dags" / "models" / "lite0-onnx.yaml")
    (artifact,) = (file for file in onnx.files if file.key == "runtime.artifact")
    pinned = card.model_copy(update={"runtime": card.runtime.model_copy(update={"sha256": artifact.sha256})})
    photos = [(ROOT / "dags" / "data" / "images" / name).read_bytes() for name in PHOTOS]
    labels = str(card.output.labels)
    given = {
        # where there is no artifact; the labels, which nothing pins, are put beside
        "card": {**card_to_json(pinned), "folder": "/tmp/project/models"},
        "beside": {labels: (card.folder / labels).read_text()},
        "photos": [base64.b64encode(photo).decode() for photo in photos],
    }

    found = json.loads(run(engine, onnx, code=PREDICT, stdin=json.dumps(given)))

    expected = here(photos)
    assert [answer["label"] for answer in found] == [answer["label"] for answer in expected]
    assert [answer["error"] for answer in found] == [None] * len(PHOTOS)
    for one, other in zip(found, expected, strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=1e-3)


def here(photos: list[bytes]) -> list[dict[str, Any]]:
    card = load_model(ROOT / "dags" / "models" / "lite0-onnx.yaml")
    rows = [
        {"record_id": str(row), "position": row, "input": {"kind": "bytes", "data": photo}}
        for row, photo in enumerate(photos)
    ]
    predictor = start(card)
    try:
        found: list[dict[str, Any]] = predict_records(predictor, card, table(rows, RECORD)).to_pylist()
        return found
    finally:
        predictor.close()


@pytest.mark.models
def test_it_is_listed_with_its_model(engine: Engine, onnx: Built) -> None:
    found = {image.reference: image for image in engine.images()}
    image = found[f"{REPOSITORY}/lite0-onnx:1"]
    assert image == onnx.image
    assert (image.framework, image.model, image.version) == ("onnx", "lite0-onnx", "1")
    assert image.digest is not None
    assert image.size > 10**8
