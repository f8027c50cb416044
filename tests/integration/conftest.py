"""A real Airflow for the whole session: start-up takes longer than any test on it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from example_project import copy_project
from services import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scripts.airflow_server import AirflowServer


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
