"""Puts this folder on ``sys.path``, so that every test can import ``builders`` and ``services``; sets Hypothesis up.

Hypothesis has no deadline, because the machine may be busy, and keeps no files. A test marked ``models`` needs the
built example models. The wheel is built once.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

import pytest
from hypothesis import Phase, settings
from packing import pack
from services import require

CACHE: Final = tempfile.TemporaryDirectory(prefix="airflow-agentic-cache-")
"""Of this session and the processes it starts: no plan or model of another is found, and nothing is left at home."""
os.environ["AIRFLOW_AGENTIC_CACHE"] = CACHE.name
BUILT: Final = Path(__file__).resolve().parents[1] / "dags" / "built"

settings.register_profile("project", deadline=None, database=None)
settings.register_profile("deep", deadline=None, database=None, max_examples=3000)
settings.register_profile(
    "mutation", deadline=None, database=None, derandomize=True, max_examples=10, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("project")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture of a test marked ``models``."""
    if item.get_closest_marker("models") is not None:
        require((BUILT / "quality.json").is_file(), "needs the example models: make models")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source archive beside it."""
    (wheel,) = pack(tmp_path_factory.mktemp("tree")).glob("*.whl")
    return wheel
