"""The example project, copied for a test that adds to it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]


def copy_project(target: Path) -> Path:
    """The project of ``dags/`` at ``target``, its built models by link: tests may add files and change specs."""
    shutil.copytree(ROOT / "dags", target, ignore=shutil.ignore_patterns("built", "__pycache__", "answers"))
    if (ROOT / "dags" / "built").is_dir():
        (target / "built").symlink_to(ROOT / "dags" / "built", target_is_directory=True)
    return target
