"""What a user installs, built as it is released."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDERS: Final = ("airflow_agentic", "operators", "plugins", "dags")
FILES: Final = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")
NOT_SHIPPED: Final = ("__pycache__", "built", "answers", "node_modules", ".downloads")


def pack(tree: Path) -> Path:
    """The folder with the source archive, and the wheel built from it: what the archive lacks, the wheel lacks.

    :param tree: an empty folder for a copy of what is packed.
    """
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=shutil.ignore_patterns(*NOT_SHIPPED))
    for name in FILES:
        shutil.copy(ROOT / name, tree)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tree / "dist"), str(tree)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    return tree / "dist"
