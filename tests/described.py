"""Servers held against their own OpenAPI description, by schemathesis."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from services import require

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def held_against_its_description(url: str, folder: Path, *, allowed: int | None = None) -> None:
    """Ask the server at ``url`` whatever its ``/openapi.json`` suggests; the same requests each time.

    :param folder: for what schemathesis writes.
    :param allowed: a status of 500 or more that is no error here.
    :raises AssertionError: it answers something else than it says, or fails.
    """
    command = Path(sys.executable).parent / "schemathesis"
    require(command.is_file(), "needs schemathesis: pip install schemathesis")
    statuses = ["2xx", "4xx", *([allowed] if allowed else [])]
    settings = folder / "settings.toml"
    settings.write_text(f"[checks.not_a_server_error]\nexpected-statuses = {statuses!r}\n", encoding="utf-8")
    options = ["--checks", CHECKS, "--max-examples", "100", "--phases", "examples,coverage,fuzzing", "--seed", "1"]
    ended = subprocess.run(
        [str(command), "--config-file", str(settings), "run", f"{url}/openapi.json", *options, "--no-color"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        cwd=folder,
    )
    assert ended.returncode == 0, ended.stdout[-8000:] + ended.stderr[-2000:]
