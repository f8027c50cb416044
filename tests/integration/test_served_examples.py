"""``runner: service`` against ``airflow-agentic serve``: real models answer as they do here."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from example_project import ROOT, copy_project
from mlserver_environment import wait_until_ready
from services import require

from airflow_agentic.project import Workflow

pytestmark = [pytest.mark.models, pytest.mark.timeout(300)]

TOLERANCE = 1e-6
HEAD = "apiVersion: airflow-agentic/v1\nkind: Workflow\nname: {name}\nserves: []\n"
ROUTES = (
    "routes:\n- when: record.kind == 'text'\n"
    "  use: {cascade: [vader, minilm-torch], accept: 'prediction.score >= 0.7'}\n"
    "- {use: lite0-onnx}\n"
)
TEXTS = ["What a wonderful film.", "It rained.", "A tedious mess, awful from start to end."]
IMAGES = ["chelsea.jpg", "coffee.jpg", "broken.jpg"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    require((ROOT / "dags" / "built" / "lite0.onnx").exists(), "needs dags/built/lite0.onnx: make models")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    command = [sys.executable, "-m", "airflow_agentic", "serve", "vader", "minilm-torch", "lite0-onnx", "--drain=0"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, f"--project={ROOT / 'dags'}", f"--port={port}"], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until_ready(process, f"http://127.0.0.1:{port}/v2/health/ready", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def answers(project: Path, name: str, said: str = "") -> list[dict[str, Any]]:
    """What a workflow answers."""
    path = project / "workflows" / f"{name}.yaml"
    path.write_text(HEAD.format(name=name) + said + ROUTES)
    images = [project / "data" / "images" / image for image in IMAGES]
    found: list[dict[str, Any]] = Workflow.load(path).run([*TEXTS, *images]).to_pylist()
    return found


def test_the_answers_are_the_same(url: str, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    here = answers(project, "here")
    there = answers(project, "there", f"runner: service\nservice: {{url: '{url}'}}\n")
    assert [(one["label"], one["model"], one["calls"]) for one in there] == [
        (one["label"], one["model"], one["calls"]) for one in here
    ]
    assert [one["error"] and one["error"]["code"] for one in there] == [
        one["error"] and one["error"]["code"] for one in here
    ]
    answered = [row for row, one in enumerate(here) if one["error"] is None]
    assert len(answered) == len(TEXTS) + len(IMAGES) - 1
    for row in answered:
        assert there[row]["score"] == pytest.approx(here[row]["score"], abs=TOLERANCE)
