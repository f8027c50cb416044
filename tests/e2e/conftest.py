"""One Airflow, one namespace and one bucket for the whole session: an Airflow starts longer than most tests take."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import slow_models
from cluster import cluster, namespace
from kubernetes import client
from services import require
from stage import BUCKET, HANDLERS, SECRET, Stage

from scripts.airflow_parts import AirflowParts
from scripts.cluster import host_address
from scripts.postgres import PostgresServer, programs
from scripts.s3 import s3_environment, s3_server

if TYPE_CHECKING:
    from collections.abc import Iterator

PRELOAD: Final = """\
import airflow_agentic.preload
import airflow_agentic.operators.kubernetes
"""
"""What task processes inherit instead of importing it: most of what a run of small pods costs."""


@pytest.fixture(scope="session")
def api() -> Iterator[client.ApiClient]:
    """The cluster of KUBECONFIG."""
    with cluster() as found:
        yield found


@pytest.fixture(scope="session")
def endpoint(api: client.ApiClient) -> Iterator[str]:
    """An S3 server on this machine, where the cluster's pods reach it; HOST_ADDRESS says where, if not at the node."""
    with s3_server(host_address(api), BUCKET) as found:
        yield found


@pytest.fixture(scope="session")
def stage(api: client.ApiClient, endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """An Airflow without Dags, and a namespace for its pods; a test adds a project with Dags of its own names."""
    require(programs(), "needs PostgreSQL: apt-get install postgresql")
    options = s3_environment(endpoint)
    code = Path(slow_models.__file__)
    inherited = tmp_path_factory.mktemp("inherited")
    (inherited / "airflow_local_settings.py").write_text(PRELOAD)
    shutil.copy(code, inherited)
    settings = {
        "KUBECONFIG": os.environ["KUBECONFIG"],
        "PYTHONPATH": str(inherited),
        "AIRFLOW__AGENTIC__ARTIFACTS": f"s3://{BUCKET}/airflow",
        "AIRFLOW__AGENTIC__ALLOWED_HANDLERS": slow_models.__name__,
        "AIRFLOW_CONN_KUBERNETES_DEFAULT": '{"conn_type": "kubernetes"}',
        "AIRFLOW__CORE__PARALLELISM": "8",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
        **options,
    }
    projects = tmp_path_factory.mktemp("projects")
    home = tmp_path_factory.mktemp("airflow") / "home"
    with (
        namespace(api, "inference") as space,
        PostgresServer() as database,
        AirflowParts(home=home, dags=projects, settings=settings, database=database.url) as server,
    ):
        core = client.CoreV1Api(api)
        core.create_namespaced_secret(space, {"metadata": {"name": SECRET}, "stringData": options})
        core.create_namespaced_config_map(
            space, {"metadata": {"name": HANDLERS}, "data": {code.name: code.read_text()}}
        )
        server.start_triggerer()
        yield Stage(api=api, space=space, endpoint=endpoint, projects=projects, server=server)
