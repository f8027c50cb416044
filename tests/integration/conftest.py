"""A real Airflow for the whole session: start-up takes longer than any test on it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from example_project import copy_project
from services import require

if TYPE_CHECKING:
    from collections.abc import Iterator

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

    settings = {
        "AIRFLOW__CORE__AUTH_MANAGER": "limited_access.LimitedAuthManager",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,viewer:viewer,limited:user",
        "AIRFLOW__AGENTIC__GATEWAY_CONN_ID": "agentic_gateway",
        "PYTHONPATH": str(Path(__file__).parent),
    }
    home = tmp_path_factory.mktemp("airflow") / "home"
    with AirflowServer(home=home, dags=airflow_dags, settings=settings) as server:
        yield server
