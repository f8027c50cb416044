"""The harness itself: what the other integration tests and the demo rest on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from scripts.airflow_server import AirflowServer, AirflowServerError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.airflow

HARNESS = """
from airflow.sdk import dag, task

@dag(schedule=None)
def harness():
    @task
    def numbers():
        return [1, 2]

    @task
    def double(number, **context):
        if context["dag_run"].conf.get("fail"):
            raise ValueError("asked to fail")
        return 2 * number

    double.expand(number=numbers())

harness()
"""


@pytest.fixture(scope="module")
def server(airflow_server: AirflowServer) -> AirflowServer:
    (airflow_server.dags / "harness.py").write_text(HARNESS)
    airflow_server.wait_dag("harness")
    return airflow_server


def test_a_run_leaves_states_and_values(server: AirflowServer) -> None:
    run_id = server.trigger("harness", {"fail": False})

    assert server.wait_run("harness", run_id)["state"] == "success"
    states = {(each["task_id"], each["map_index"]): each["state"] for each in server.tasks("harness", run_id)}
    assert states == {("numbers", -1): "success", ("double", 0): "success", ("double", 1): "success"}
    assert server.xcom("harness", run_id, "numbers") == [1, 2]
    assert server.xcom("harness", run_id, "double", map_index=1) == 4


def test_the_log_of_a_failed_task_has_its_error(server: AirflowServer) -> None:
    run_id = server.trigger("harness", {"fail": True})

    assert server.wait_run("harness", run_id)["state"] == "failed"
    assert "ValueError: asked to fail" in server.task_log("harness", run_id, "double", map_index=0)


def test_a_refused_request_says_what_was_asked_and_answered(server: AirflowServer) -> None:
    with pytest.raises(AirflowServerError, match=re.escape("GET /api/v2/dags/absent answered 404: ")):
        server.request("GET", "/api/v2/dags/absent")


def test_requests_are_authenticated_unless_asked_not_to_be(server: AirflowServer) -> None:
    assert server.send("GET", "/api/v2/dags").status_code == 200
    assert server.send("GET", "/api/v2/dags", token="").status_code == 401


def test_an_unknown_dag_is_a_plain_error(server: AirflowServer) -> None:
    with pytest.raises(AirflowServerError, match=r"^Airflow knows no Dag 'absent' in "):
        server.wait_dag("absent", timeout=1)


def test_asking_before_the_start_says_so(tmp_path: Path) -> None:
    server = AirflowServer(home=tmp_path / "home", dags=tmp_path)

    with pytest.raises(AirflowServerError, match=r"^Airflow is not running; call start\(\) first$"):
        server.request("GET", "/api/v2/version")
