"""Environments of other projects, each made once: what they pin is not what this project or Airflow wants."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

FOLDER: Final = Path(os.environ.get("AIRFLOW_AGENTIC_PEERS", Path.home() / ".cache" / "airflow-agentic-peers"))


def python_with(name: str, *requirements: str) -> Path | None:
    """The Python of the environment ``name``, which has ``requirements``; ``None`` where they cannot be installed."""
    folder = FOLDER / name
    python = folder / "bin" / "python"
    if python.exists():
        return python
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        return None
    FOLDER.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{name}-{os.getpid()}")
    commands = (
        [uv, "venv", "-q", "--relocatable", "--clear", "--python", sys.executable, str(part)],
        [uv, "pip", "install", "-q", "--python", str(part / "bin" / "python"), *requirements],
    )
    if any(subprocess.run(command, check=False).returncode for command in commands):
        shutil.rmtree(part, ignore_errors=True)
        return None
    try:
        part.rename(folder)
    except OSError:  # another test process was faster
        shutil.rmtree(part)
    return python
