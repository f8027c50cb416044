"""A real Airflow for the whole session: start-up takes longer than any test on it."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from services import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.airflow_server import AirflowServer

ROOT: Final = Path(__file__).resolve().parents[2]


def copy_project(target: Path) -> Path:
    """The project of ``dags/`` at ``target``, its built models by link: tests may add files and change specs."""
    shutil.copytree(ROOT / "dags", target, ignore=shutil.ignore_patterns("built", "__pycache__", "answers"))
    if (ROOT / "dags" / "built").is_dir():
        (target / "built").symlink_to(ROOT / "dags" / "built", target_is_directory=True)
    return target


@pytest.fixture(scope="session")
def airflow_dags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Dags folder of :func:`airflow_server`: a copy of the project. Add Dag files under names of your own."""
    return copy_project(tmp_path_factory.mktemp("project") / "dags")


@pytest.fixture(scope="session")
def airflow_server(tmp_path_factory: pytest.TempPathFactory, airflow_dags: Path) -> Iterator[AirflowServer]:
    """Scheduler, Dag processor, API server and triggerer, healthy; mark tests that use it ``airflow``."""
    require(find_spec("airflow") and find_spec("httpx"), "needs Airflow: pip install apache-airflow")
    from scripts.airflow_server import AirflowServer

    with AirflowServer(home=tmp_path_factory.mktemp("airflow") / "home", dags=airflow_dags) as server:
        yield server
