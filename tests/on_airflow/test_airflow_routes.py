"""The routes below ``/agentic`` in a real API server: without a login, as a viewer, and as a user of one other Dag."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import airflow_extras
import gateway_process
import httpx
import pytest
import yaml

from airflow_agentic.serving.access import new_token
from on_airflow.limited_access import DAG, USER
from scripts.airflow_server import AirflowServer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

OTHER: Final = "reviews"
RUN_ROUTES: Final = ("plan", "report", "answers", "predictions", "records/r1")
LISTS: Final = ("gateway/tasks", "gateway/models")
TEXT: Final = {"workflow": DAG, "input": "a good film"}


class LimitedApi(AirflowServer):
    """A second API server of the same Airflow; ``airflow standalone`` would take no other auth manager."""

    parts = ("metadatabase",)

    def __init__(self, other: AirflowServer) -> None:
        settings = {
            "AIRFLOW__CORE__AUTH_MANAGER": "limited_access.LimitedAuthManager",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"admin:admin,viewer:viewer,{USER}:user",
            "AIRFLOW__AGENTIC__GATEWAY_CONN_ID": "agentic_gateway",
            "PYTHONPATH": str(Path(__file__).parent),
        }
        super().__init__(home=other.home, dags=other.dags, settings=settings, keep=True)

    def _launch(self) -> None:
        self._start_part("api-server")


@pytest.fixture(scope="module")
def api(server: AirflowServer) -> Iterator[AirflowServer]:
    """What is asked."""
    with LimitedApi(server) as started:
        yield started


@pytest.fixture(scope="module")
def server(airflow_server: AirflowServer) -> AirflowServer:
    """What runs, with the further Dags."""
    if not (airflow_server.dags / airflow_extras.FOLDER).exists():
        airflow_extras.add(airflow_server.dags)
    for dag_id in (OTHER, DAG, "own"):
        airflow_server.wait_dag(dag_id)
    return airflow_server


@pytest.fixture(scope="module")
def runs(server: AirflowServer) -> dict[str, str]:
    """A run that went well, by Dag."""
    found = {dag_id: server.trigger(dag_id) for dag_id in (OTHER, DAG, "own")}
    for dag_id, run_id in found.items():
        assert server.wait_run(dag_id, run_id)["state"] == "success", server.log_tail()
        assert "+" in run_id
        assert ":" in run_id
    return found


@pytest.fixture(scope="module")
def tokens(api: AirflowServer) -> dict[str, str]:
    """The tokens of those who are logged in, by name; of nobody it is empty."""
    passwords = json.loads((api.home / "simple_auth_manager_passwords.json.generated").read_text())
    users = {name: {"username": name, "password": passwords[name]} for name in ("viewer", USER)}
    found = {name: api.request("POST", "/auth/token", body=body)["access_token"] for name, body in users.items()}
    return {"": "", "admin": api.token, **found}


@pytest.fixture(scope="module")
def gateway(server: AirflowServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway of the same project, which a connection names."""
    token = new_token()
    clients = tmp_path_factory.mktemp("gateway") / "clients.yaml"
    client = {"name": "airflow", "workflows": "*", "tokens": [{"sha256": token.sha256}], "acts_for_users": True}
    clients.write_text(yaml.safe_dump({"clients": [client]}))
    clients.chmod(0o600)
    folder = server.dags / airflow_extras.FOLDER
    with gateway_process.running(folder, "--tokens", str(clients)) as running:
        body = {"connection_id": "agentic_gateway", "conn_type": "http", "host": running.url, "password": token.token}
        server.request("POST", "/api/v2/connections", body=body)
        yield running.url


def path(dag_id: str, run_id: str, route: str) -> str:
    return f"/agentic/dags/{dag_id}/runs/{quote(run_id, safe='')}/{route}"


def ask(api: AirflowServer, where: str, token: str, method: str = "GET", **options: Any) -> httpx.Response:
    """The raw answer; the path is sent to the byte."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(trust_env=False, timeout=60) as client:
        request = client.build_request(method, api.url, headers=headers, **options)
        request.url = httpx.URL(api.url).copy_with(raw_path=where.encode())
        return client.send(request)


def paths(dag_id: str, run_id: str) -> list[str]:
    return [*(path(dag_id, run_id, route) for route in RUN_ROUTES), f"/agentic/dags/{dag_id}/workflow"]


def statuses(api: AirflowServer, wanted: list[str], token: str) -> list[int]:
    return [ask(api, where, token).status_code for where in wanted]


def test_each_route_of_a_run(api: AirflowServer, runs: dict[str, str], tokens: dict[str, str]) -> None:
    for dag_id, of_limited in ((OTHER, 403), (DAG, 200)):
        wanted = paths(dag_id, runs[dag_id])
        said = {name: set(statuses(api, wanted, token)) for name, token in tokens.items()}
        assert said == {"": {401}, "admin": {200}, "viewer": {200}, USER: {of_limited}}


def test_what_is_said_of_a_run(api: AirflowServer, runs: dict[str, str], tokens: dict[str, str]) -> None:
    said = {route: ask(api, path(OTHER, runs[OTHER], route), tokens["viewer"]).json() for route in RUN_ROUTES}

    assert {(one["dag_id"], one["run_id"]) for one in said.values()} == {(OTHER, runs[OTHER])}
    assert said["plan"]["drawing"] == "preprocess ─ route ─ main ─ words ─ aggregate ─ publish"
    assert (said["report"]["records"], said["report"]["answers"]) == (6, {"words": 5})
    assert sum(said["report"]["errors"].values()) == 1
    assert [row["record_id"] for row in said["answers"]["answers"]] == [f"r{number}" for number in range(6)]
    assert {row["node"] for row in said["predictions"]["predictions"]} == {"main.words"}
    record = said["records/r1"]
    assert (record["routing"][0]["target"], record["answer"]["label"]) == ("main.words", "negative")
    assert "a bad film" not in json.dumps(said)

    compact = ask(api, path(DAG, runs[DAG], "records/r1"), tokens["viewer"]).json()
    assert (compact["answer"]["label"], compact["routing"]) == ("negative", [])


def test_the_workflow_as_airflow_has_it(api: AirflowServer, runs: dict[str, str], tokens: dict[str, str]) -> None:
    expanded, compact, own = (
        ask(api, f"/agentic/dags/{dag_id}/workflow", tokens["viewer"]) for dag_id in (OTHER, DAG, "own")
    )
    assert expanded.json()["nodes"] == [
        {"id": "preprocess", "kind": "preprocess", "needs": []},
        {"id": "route", "kind": "route", "needs": ["preprocess"]},
        {"id": "main.words", "kind": "infer", "needs": ["preprocess", "route"]},
        {"id": "aggregate", "kind": "aggregate", "needs": ["main.words"]},
        {"id": "publish", "kind": "publish", "needs": ["aggregate"]},
    ]
    assert expanded.json()["drawing"] == compact.json()["drawing"] != ""
    assert (compact.json()["layout"], compact.json()["nodes"]) == ("compact", None)
    assert own.status_code == 404


def test_a_model_operators_run(api: AirflowServer, runs: dict[str, str], tokens: dict[str, str]) -> None:
    where = path("own", runs["own"], "answers?task_id=listed")

    found = ask(api, where, tokens["viewer"])
    assert [row["label"] for row in found.json()["answers"]] == ["positive", "negative"]
    assert ask(api, where, tokens[USER]).status_code == 403


def test_no_path_leads_to_another_dags_run(api: AirflowServer, runs: dict[str, str], tokens: dict[str, str]) -> None:
    other = quote(runs[OTHER], safe="")
    tricks = [
        f"/agentic/dags/{DAG}/runs/{other}/answers",
        f"/agentic/dags/{DAG}/runs/..%2F{OTHER}%2F{other}/answers",
        f"/agentic/dags/{DAG}/runs/..%2F..%2F{OTHER}%2Fruns%2F{other}/answers",
        f"/agentic/dags/{DAG}/runs/../../{OTHER}/runs/{other}/answers",
        f"/agentic/dags/{DAG}%2F..%2F{OTHER}/runs/{other}/answers",
        f"/agentic/dags/{DAG}/runs/%252E%252E%252F{OTHER}%252F{other}/answers",
        f"/agentic/dags/{DAG}/runs/{other}/answers?dag_id={OTHER}",
        f"/agentic/dags/{OTHER}/runs/{other}/answers?dag_id={DAG}",
        f"/agentic/dags/{DAG}/runs/{other}/answers?task_id=..%2F..%2F{OTHER}%2F{other}",
        f"/agentic/dags/~/runs/{other}/answers",
        f"/agentic/dags/./runs/{other}/answers",
        f"/agentic/dags/%2E%2E/runs/{other}/answers",
        f"/agentic//dags/{OTHER}/runs/{other}/answers",
        f"/agentic/dags/{OTHER}/runs/{other}/answers/",
    ]

    said = {trick: ask(api, trick, tokens[USER]).status_code for trick in tricks}
    assert {trick: status for trick, status in said.items() if status not in {403, 404, 422}} == {}
    assert ask(api, f"/agentic/dags/~/runs/{other}/answers", tokens["admin"]).status_code == 404


def test_a_dag_that_airflow_does_not_know_has_no_runs(
    api: AirflowServer, runs: dict[str, str], tokens: dict[str, str]
) -> None:
    folder = api.artifacts / "default"
    (folder / "left-over").symlink_to(folder / OTHER, target_is_directory=True)
    found = ask(api, path("left-over", runs[OTHER], "answers"), tokens["admin"])

    assert (found.status_code, found.json()["detail"]) == (
        404, "Airflow knows no Dag 'left-over'; GET /api/v2/dags lists those that you may see"
    )  # fmt: skip


def test_the_session_of_the_ui_is_a_login(api: AirflowServer, runs: dict[str, str], tokens: dict[str, str]) -> None:
    where = path(OTHER, runs[OTHER], "report")
    with httpx.Client(base_url=api.url, trust_env=False, cookies={"_token": tokens["viewer"]}) as client:
        assert client.get(where).status_code == 200
    with httpx.Client(base_url=api.url, trust_env=False, cookies={"_token": "wrong"}) as client:
        assert client.get(where).status_code in {401, 403}


def test_who_may_predict(api: AirflowServer, gateway: str, tokens: dict[str, str]) -> None:
    other = {**TEXT, "workflow": OTHER}
    said = {
        name: [ask(api, "/agentic/predict", token, "POST", json=body).status_code for body in (TEXT, other)]
        for name, token in tokens.items()
    }

    assert said == {"": [401, 401], "admin": [200, 200], "viewer": [403, 403], USER: [200, 403]}
    answer = ask(api, "/agentic/predict", tokens[USER], "POST", json=TEXT).json()
    assert (answer["label"], answer["model"]) == ("positive", "words")


def test_lists_and_jobs_of_the_gateway(api: AirflowServer, gateway: str, tokens: dict[str, str]) -> None:
    for name in LISTS:
        said = {who: ask(api, f"/agentic/{name}", token) for who, token in tokens.items()}
        assert {who: one.status_code for who, one in said.items()} == {"": 401, "admin": 200, "viewer": 200, USER: 200}
        assert OTHER in said["viewer"].text
        assert f'"{OTHER}"' not in said[USER].text

    made = ask(api, "/agentic/predict", tokens[USER], "POST", json={**TEXT, "mode": "async"})
    assert made.status_code == 202
    place = made.headers["location"]
    assert {who: ask(api, place, token).status_code for who, token in tokens.items()} == {
        "": 401, "admin": 404, "viewer": 404, USER: 200
    }  # fmt: skip
    assert httpx.get(f"{gateway}/tasks", trust_env=False).status_code == 401
