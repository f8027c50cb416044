"""Environments of other projects: what they pin is not what this project or Airflow wants."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

FOLDER: Final = Path(os.environ.get("AIRFLOW_AGENTIC_PEERS", Path.home() / ".cache" / "airflow-agentic-peers"))
KSERVE: Final = "kserve==0.21.0"
MLSERVER: Final = "mlserver==1.7.1"
"""Tests and benchmarks ask the same ones."""


class PeerError(RuntimeError):
    """An environment cannot be made."""


def python_with(*requirements: str) -> Path:
    """The Python of an environment that has ``requirements`` and nothing of ours; made once.

    :raises PeerError: they cannot be installed; the message has what uv says.
    """
    folder = FOLDER / re.sub(r"\W+", "-", " ".join(requirements)).strip("-")
    python = folder / "bin" / "python"
    if python.exists():
        return python
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        raise PeerError(f"{', '.join(requirements)} need uv: pip install uv")
    FOLDER.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{folder.name}-{os.getpid()}")
    commands = (
        [uv, "venv", "-q", "--relocatable", "--clear", "--python", sys.executable, str(part)],
        [uv, "pip", "install", "-q", "--python", str(part / "bin" / "python"), *requirements],
    )
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(part, ignore_errors=True)
            raise PeerError(f"uv cannot install {', '.join(requirements)}:\n{done.stderr}")
    try:
        part.rename(folder)
    except OSError:  # another process was faster
        shutil.rmtree(part)
    return python
