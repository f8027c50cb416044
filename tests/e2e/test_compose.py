"""compose.yaml as people start it: one command, and the example workflow answers through the REST API."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import pytest
from cluster import eventually
from services import require
from stage import compared, expected

from airflow_agentic import Workflow, __version__
from airflow_agentic.registry import Registry
from airflow_agentic.spec import workflow_from
from scripts.airflow_server import AirflowServer, free_port
from scripts.compose_env import write

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

ROOT: Final = Path(__file__).resolve().parents[2]
IMAGE: Final = f"airflow-agentic/airflow:{__version__}"
SENTENCE: Final = "This is a test sentence."
TABLES: Final = """\
PGPASSWORD=$POSTGRES_PASSWORD psql --host=127.0.0.1 --username=airflow --tuples-only --no-align \
  --command='select tablename from pg_tables'
"""


def succeeds(*command: str) -> bool:
    return bool(shutil.which(command[0])) and not subprocess.run(command, capture_output=True, check=False).returncode


class ComposedAirflow(AirflowServer):
    """The Airflow of compose.yaml, as a project of its own on a port of its own; ``stop`` removes its volumes."""

    def __init__(self, home: Path, compose: list[str]) -> None:
        super().__init__(home=home, dags=ROOT / "dags")
        self.project = f"agentic-{uuid.uuid4().hex[:8]}"
        self._compose = compose
        self.gateway_port = free_port()

    @property
    def running(self) -> bool:
        """Whether a container runs; one that has ended is started again."""
        return bool(self.containers())

    def compose(self, *arguments: str) -> str:
        """What ``docker compose ARGUMENTS`` prints."""
        done = subprocess.run(
            [*self._compose, "--env-file", str(self.home / ".env"), "--file", "compose.yaml", *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                "COMPOSE_PROJECT_NAME": self.project,
                "AIRFLOW_AGENTIC_IMAGE": IMAGE,
                "AIRFLOW_PORT": str(urlsplit(self.url).port),
                "GATEWAY_PORT": str(self.gateway_port),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
        return done.stdout

    def containers(self) -> dict[str, str]:
        """State of each service that runs: ``Up 3 seconds (healthy)``."""
        command = ["docker", "ps", "--filter", f"label=com.docker.compose.project={self.project}", "--format"]
        form = '{{.Label "com.docker.compose.service"}}={{.Status}}'
        listed = subprocess.run([*command, form], capture_output=True, text=True, check=True)
        return dict(line.split("=", 1) for line in listed.stdout.splitlines())

    def stop(self) -> None:
        """Take all of it down."""
        super().stop()
        self.compose("down", "--volumes", "--timeout", "5")

    def _launch(self) -> None:
        write(self.home / ".env")
        self.compose("up", "--detach", "--build")

    def _login(self) -> None:
        passwords = self.compose("exec", "-T", "api-server", "cat", "auth/passwords.json")
        (self.home / "simple_auth_manager_passwords.json.generated").write_text(passwords)
        super()._login()


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposedAirflow]:
    require(succeeds("docker", "info"), "needs a Docker engine: apt-get install docker.io, and dockerd")
    plugin = succeeds("docker", "compose", "version")
    require(plugin or succeeds("docker-compose", "version"), "needs docker compose, or docker-compose 1.29")
    home = tmp_path_factory.mktemp("compose")
    with ComposedAirflow(home, ["docker", "compose"] if plugin else ["docker-compose"]) as server:
        yield server


def test_one_command_starts_it_and_the_example_answers(airflow: ComposedAirflow) -> None:
    services = {"postgres", "api-server", "scheduler", "dag-processor", "triggerer", "models", "gateway"}
    eventually(lambda: all("(healthy)" in state for state in airflow.containers().values()), what="healthy services")
    assert set(airflow.containers()) == services

    airflow.wait_dag("language-id")
    run_id = airflow.trigger("language-id")
    found = airflow.wait_run("language-id", run_id)
    assert found["state"] == "success", airflow.task_log("language-id", run_id, "workflow")
    assert published(airflow, run_id) == expected(ROOT / "dags" / "workflows" / "language-id.yaml")
    assert "records" in airflow.task_log("language-id", run_id, "workflow")


def published(airflow: ComposedAirflow, run_id: str) -> list[dict[str, Any]]:
    """The answers, from the volume that all of Airflow shares."""
    folder = unquote(urlsplit(airflow.xcom("language-id", run_id, "workflow")["uri"]).path)
    lines = airflow.compose("exec", "-T", "triggerer", "sh", "-c", f'cat "{folder}"/*.jsonl').splitlines()
    return compared([json.loads(line) for line in lines])


def test_the_gateway_gives_the_models_answer(airflow: ComposedAirflow) -> None:
    eventually(lambda: "(healthy)" in airflow.containers().get("gateway", ""), what="a healthy gateway")
    token = dict(line.split("=", 1) for line in (airflow.home / ".env").read_text().splitlines())["GATEWAY_TOKEN"]

    status, answer = asked(airflow, {"Authorization": f"Bearer {token}"})

    assert status == 200, answer
    right = here()
    assert {key: answer[key] for key in ("label", "model", "version")} == {
        "label": right["label"],
        "model": "vader",
        "version": "1",
    }
    assert answer["score"] == pytest.approx(right["score"])
    assert asked(airflow, {})[0] == 401
    tables = airflow.compose("exec", "-T", "postgres", "sh", "-c", TABLES).split()
    assert "agentic_jobs" in tables


def asked(airflow: ComposedAirflow, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """What the gateway says to the sentence."""
    body = {"task": "text-analysis", "input": SENTENCE}
    request = urllib.request.Request(
        f"http://localhost:{airflow.gateway_port}/predict",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def here() -> dict[str, Any]:
    """What the model says of the sentence here."""
    spec = workflow_from({"name": "here", "routes": [{"use": "vader"}]})
    cards = Registry.load([ROOT / "dags" / "models"])
    (row,) = Workflow(spec, cards).run([SENTENCE], task="text-analysis").to_pylist()
    found: dict[str, Any] = row
    return found
