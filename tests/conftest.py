"""Puts this folder on ``sys.path``, so that every test can import ``builders`` and ``services``; sets Hypothesis up.

Hypothesis has no deadline, because the machine may be busy, and keeps no files. A test marked ``models`` needs the
built example models. The wheel is built once.

Where tests run side by side, the files of one folder that shares an Airflow do not: it is started once, and ended with
the last of them.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import Phase, settings
from packing import pack
from services import require

if TYPE_CHECKING:
    from xdist.scheduler import LoadFileScheduling

CACHE: Final = tempfile.TemporaryDirectory(prefix="airflow-agentic-cache-")
"""Of this session and the processes it starts: no plan or model of another is found, and nothing is left at home."""
os.environ["AIRFLOW_AGENTIC_CACHE"] = CACHE.name
BUILT: Final = Path(__file__).resolve().parents[1] / "dags" / "built"
SHARING: Final = "tests/on_airflow/"
"""The folder whose tests share an Airflow."""
LONGEST: Final = (SHARING, "tests/compat/")
"""Come first: what is short fills the gaps at the end."""

settings.register_profile("project", deadline=None, database=None)
settings.register_profile("deep", deadline=None, database=None, max_examples=3000)
settings.register_profile(
    "mutation", deadline=None, database=None, derandomize=True, max_examples=10, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order of the tests."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Which tests are run in one process, one after the other."""
    from xdist.scheduler import LoadFileScheduling

    class ByFileOrFolder(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return SHARING if nodeid.startswith(SHARING) else super()._split_scope(nodeid)

    return ByFileOrFolder(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture of a test marked ``models``."""
    if item.get_closest_marker("models") is not None:
        require((BUILT / "quality.json").is_file(), "needs the example models: make models")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source archive beside it."""
    (wheel,) = pack(tmp_path_factory.mktemp("tree")).glob("*.whl")
    return wheel
