"""A real Airflow for all tests of this folder: start-up takes longer than any test on it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import pytest
from example_project import copy_project
from services import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scripts.airflow_server import AirflowServer


SETTINGS: Final = {"AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600"}
"""New Dag files are found all the same; those that are there stay as they are."""


@pytest.fixture(scope="package")
def airflow_dags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Dags folder of :func:`airflow_server`: a copy of the project. Add Dag files under names of your own."""
    return copy_project(tmp_path_factory.mktemp("project") / "dags")


@pytest.fixture(scope="package")
def airflow_server(tmp_path_factory: pytest.TempPathFactory, airflow_dags: Path) -> Iterator[AirflowServer]:
    """Scheduler, Dag processor, API server and triggerer, healthy; mark tests that use it ``airflow``."""
    require(find_spec("airflow") and find_spec("httpx"), "needs Airflow: pip install apache-airflow")
    from scripts.airflow_server import AirflowServer

    home = tmp_path_factory.mktemp("airflow") / "home"
    with AirflowServer(home=home, dags=airflow_dags, settings=SETTINGS) as server:
        yield server
