"""What a user installs, built as it is released."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from airflow_agentic.images.distribution import copy_checkout

ROOT: Final = Path(__file__).resolve().parents[1]


def pack(tree: Path) -> Path:
    """The folder with the source archive, and the wheel built from it: what the archive lacks, the wheel lacks.

    :param tree: an empty folder for a copy of what is packed.
    """
    copy_checkout(ROOT, tree)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tree / "dist"), str(tree)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    return tree / "dist"
