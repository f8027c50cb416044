"""The gateway against its own OpenAPI description: no 5xx, nothing that the description does not say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_process import Process, healthy, project, running
from services import require

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"

SETTINGS = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "4xx", 504]
"""
"""A request may ask for an answer in 1 ms."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with running(project(tmp_path_factory.mktemp("project")), "--workflow", "quick") as process:
        yield process


def test_it_does_what_it_says(gateway: Process, tmp_path: Path) -> None:
    command = Path(sys.executable).parent / "schemathesis"
    require(command.is_file(), "needs schemathesis: pip install schemathesis")
    settings = tmp_path / "settings.toml"
    settings.write_text(SETTINGS, encoding="utf-8")
    before = gateway.memory
    options = ["--checks", CHECKS, "--max-examples", "100", "--phases", "examples,coverage,fuzzing", "--seed", "1"]
    ended = subprocess.run(
        [str(command), "--config-file", str(settings), "run", f"{gateway.url}/openapi.json", *options, "--no-color"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        cwd=tmp_path,
    )
    assert ended.returncode == 0, ended.stdout[-8000:] + ended.stderr[-2000:]
    assert gateway.memory - before < 100 * 2**20
    assert healthy(gateway)
