"""A real Airflow of its own: for the demo, for `make airflow` and for the integration tests.

Scheduler, Dag processor, API server and triggerer on SQLite, in a folder and on ports of their own. Nothing of the
caller's Airflow is read (its ``AIRFLOW*`` variables are dropped), and :meth:`AirflowServer.stop` leaves no process.
It may be the Airflow of another environment: nothing of Airflow is imported here.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar
from urllib.parse import quote

import httpx

from scripts.processes import gone, in_sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

FINISHED: Final = frozenset({"success", "failed"})
POLL_SECONDS: Final = 0.5
ANSWER_SECONDS: Final = 60.0
PARSE_SECONDS: Final = 15.0
STOP_SECONDS: Final = 6.0
"""From SIGTERM to SIGKILL; the triggerer alone would take longer."""
USER: Final = "admin"
DAGS_FOLDER: Final = "dags-folder"
"""Airflow's name for the bundle that is the Dags folder."""

T = TypeVar("T")


DATABASE_TRIES: Final = 8
"""How often a request is made while SQLite's only writer is busy."""


class AirflowServerError(RuntimeError):
    """Airflow did not start, refused a request, or did not get somewhere in time."""


class NoAnswerError(AirflowServerError):
    """It does not listen yet, or is too busy to answer."""


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class AirflowServer:
    """One Airflow, and what a client asks of it.

    :param home: becomes its ``AIRFLOW_HOME``; removed first.
    :param dags: its Dags folder; may grow while it runs.
    :param settings: further environment, such as ``AIRFLOW__CORE__PARALLELISM`` or ``AIRFLOW_CONN_X``.
    :param python: of the environment that Airflow is installed in; by default this process's.
    :param keep: whether it goes on with what is in ``home``, its database above all, instead of removing it.
    """

    parts: ClassVar[tuple[str, ...]] = ("metadatabase", "scheduler", "dag_processor", "triggerer")
    """What must be healthy."""

    def __init__(
        self,
        *,
        home: Path,
        dags: Path,
        settings: Mapping[str, str] | None = None,
        python: str = sys.executable,
        keep: bool = False,
    ) -> None:
        self.home = home.resolve()
        self.dags = dags.resolve()
        self.log = self.home / "airflow.log"
        self.artifacts = self.home / "artifacts"
        self._settings = dict(settings or {})
        self._python = python
        self._keep = keep
        self._parts: dict[str, subprocess.Popen[bytes]] = {}
        self._sessions: list[int] = []
        self._client: httpx.Client | None = None
        self.url = ""
        self._variables: dict[str, str] = {}
        self.password = ""
        self.token = ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, *, timeout: float = 300) -> Self:
        """Start it, wait until every part is healthy, and log in.

        :raises AirflowServerError: it ended, or is not healthy in time; the message ends with its log's tail.
        """
        if self.home.exists() and not self._keep:
            shutil.rmtree(self.home)
        self.artifacts.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._variables = self._environment(port)
        self._client = httpx.Client(base_url=self.url, trust_env=False, timeout=ANSWER_SECONDS)
        try:
            self._launch()
            self._wait("Airflow is not healthy", self._healthy, timeout)
            self._login()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End every process it started. Its folder stays, for the logs."""
        if self._client is not None:
            self._client.close()
            self._client = None
        _end_sessions(self._sessions)
        for process in self._parts.values():
            process.wait()
        self._parts.clear()
        self._sessions.clear()

    @property
    def running(self) -> bool:
        """Whether the processes that it started live."""
        return bool(self._parts) and all(process.poll() is None for process in self._parts.values())

    def request(self, method: str, path: str, *, body: object = None, params: Mapping[str, Any] | None = None) -> Any:
        """What the REST API answers: parsed JSON, or text.

        :param path: below the root, such as ``/api/v2/dags`` or a plugin's.
        :raises AirflowServerError: the answer's status is not 2xx; the message has its body.
        """
        answer = self.send(method, path, body=body, params=params)
        for _ in range(DATABASE_TRIES - 1):
            if answer.status_code != 500 or "Database error" not in answer.text:
                break
            time.sleep(1)  # SQLite was busy and the transaction was rolled back: nothing of it was done
            answer = self.send(method, path, body=body, params=params)
        if not answer.is_success:
            raise AirflowServerError(f"{method} {path} answered {answer.status_code}: {answer.text[:2000]}")
        kind = answer.headers.get("content-type", "")
        return answer.json() if kind.startswith("application/json") else answer.text

    def send(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        params: Mapping[str, Any] | None = None,
        token: str | None = None,
    ) -> httpx.Response:
        """The raw answer, whatever its status; ``token=""`` asks without authentication.

        :raises NoAnswerError: there is none.
        """
        if self._client is None:
            raise AirflowServerError("Airflow is not running; call start() first")
        token = self.token if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            return self._client.request(method, path, json=body, params=dict(params or {}), headers=headers)
        except httpx.TransportError as error:
            raise NoAnswerError(f"{method} {path} got no answer: {error!r}") from error

    def wait_dag(self, dag_id: str, *, timeout: float = 120) -> dict[str, Any]:
        """The Dag, once it is parsed and serialized.

        :raises AirflowServerError: Airflow reports an import error, or does not know the Dag in time.
        """

        patience = time.monotonic() + PARSE_SECONDS

        def parsed() -> dict[str, Any] | None:
            answer = self.send("GET", f"/api/v2/dags/{quote(dag_id)}")
            if answer.is_success and not answer.json()["is_stale"]:
                dag: dict[str, Any] = answer.json()
                return dag
            found = self.request("GET", "/api/v2/importErrors")["import_errors"]
            errors = [each for each in found if each["bundle_name"] == DAGS_FOLDER]  # not those of Airflow's examples
            if errors and time.monotonic() > patience:  # until then they may be another file's
                raise AirflowServerError("\n".join(f"{each['filename']}:\n{each['stack_trace']}" for each in errors))
            return None

        return self._wait(f"Airflow knows no Dag {dag_id!r} in {str(self.dags)!r}", parsed, timeout)

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Unpause the Dag and start a run; returns the run's id."""
        self.request("PATCH", f"/api/v2/dags/{quote(dag_id)}", body={"is_paused": False})
        run = self.request(
            "POST", f"/api/v2/dags/{quote(dag_id)}/dagRuns", body={"logical_date": None, "conf": dict(conf or {})}
        )
        return str(run["dag_run_id"])

    def wait_run(
        self, dag_id: str, run_id: str, *, timeout: float = 300, until: frozenset[str] = FINISHED
    ) -> dict[str, Any]:
        """The run, once its state is one of ``until``.

        :raises AirflowServerError: it is not in time; the message has the states of its Airflow tasks.
        """

        def finished() -> dict[str, Any] | None:
            run: dict[str, Any] = self.request("GET", _run_path(dag_id, run_id))
            return run if run["state"] in until else None

        try:
            return self._wait(f"run {run_id!r} of {dag_id!r} has not finished", finished, timeout)
        except AirflowServerError as error:
            states = ", ".join(
                f"{each['task_id']}[{each['map_index']}]={each['state']}" for each in self.tasks(dag_id, run_id)
            )
            raise AirflowServerError(f"{error}\nAirflow tasks: {states}") from error

    def first_run(self, dag_id: str, *, timeout: float = 120) -> str:
        """The id of the Dag's oldest run, once Airflow has made one by itself.

        :raises AirflowServerError: it has not in time.
        """

        def made() -> list[dict[str, Any]]:
            runs: list[dict[str, Any]] = self.request(
                "GET", f"/api/v2/dags/{quote(dag_id)}/dagRuns", params={"order_by": "id", "limit": 1}
            )["dag_runs"]
            return runs

        return str(self._wait(f"Airflow has made no run of {dag_id!r}", made, timeout)[0]["dag_run_id"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The run's Airflow task instances, mapped ones each by itself."""
        answer = self.request("GET", f"{_run_path(dag_id, run_id)}/taskInstances", params={"limit": 100})
        instances: list[dict[str, Any]] = answer["task_instances"]
        return instances

    def wait_task(self, dag_id: str, run_id: str, task_id: str, state: str, *, timeout: float = 120) -> None:
        """Wait until an Airflow task is in ``state``.

        :raises AirflowServerError: it is not in time.
        """

        def reached() -> bool:
            found = self.tasks(dag_id, run_id)
            return any(each["task_id"] == task_id and each["state"] == state for each in found)

        self._wait(f"{task_id!r} of {dag_id!r} is not {state}", reached, timeout)

    def xcom(self, dag_id: str, run_id: str, task_id: str, *, key: str = "return_value", map_index: int = -1) -> Any:
        """A value an Airflow task left."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/xcomEntries/{quote(key)}"
        return self.request("GET", path, params={"map_index": map_index, "stringify": False})["value"]

    def task_log(self, dag_id: str, run_id: str, task_id: str, *, try_number: int = 1, map_index: int = -1) -> str:
        """The log of one try, a line an event."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/logs/{try_number}"
        content = self.request("GET", path, params={"map_index": map_index, "full_content": True})["content"]
        return "\n".join(_log_line(event) for event in content)

    def log_tail(self, lines: int = 40) -> str:
        """The end of Airflow's own output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def command(self, *arguments: str) -> str:
        """What ``airflow ARGUMENTS`` prints, in this Airflow's environment; it need not be running.

        :raises AirflowServerError: it ends with another code than 0; the message has all that it printed.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [self._python, "-m", "airflow", *arguments],
            cwd=self.home,
            env=self._variables or self._environment(free_port()),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = f"{done.stdout}{done.stderr}"
            raise AirflowServerError(f"airflow {' '.join(arguments)} ended with {done.returncode}:\n{said}")
        return done.stdout

    def _launch(self) -> None:
        self._start_part("standalone")

    def _start_part(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        """``airflow NAME`` in a session of its own."""
        with self.log.open("ab") as log:
            process = self._parts[name] = subprocess.Popen(
                [self._python, "-m", "airflow", name, *options],
                cwd=self.home,
                env=self._variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # SIGTERM to the first process alone leaves those that it started
            )
        self._sessions.append(process.pid)
        return process

    def _environment(self, port: int) -> dict[str, str]:
        # Without written bytecode every part and every Airflow task compiles Airflow again: four times slower.
        dropped = ("AIRFLOW", "PYTHONDONTWRITEBYTECODE", "COVERAGE_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        return {
            **kept,
            "PATH": f"{Path(self._python).parent}{os.pathsep}{kept.get('PATH', os.defpath)}",
            "NO_PROXY": "127.0.0.1,localhost",
            "PYTHONUNBUFFERED": "1",
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            # Without it every Airflow task fails in the queue: workers look for the API server on its default port.
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "http.access=WARNING",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "2",
            "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
            # The first reading of a Dag file compiles what was just installed, beside whatever else the machine does.
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "150",
            "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "180",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
            "AIRFLOW__WORKERS__MISSING_DAG_RETRY_DELAY": "5",
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",  # its first answer takes seconds, more on a busy machine
            # All parts start at once: the scheduler may run a task long before the API server listens.
            "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "20",
            "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "5",
            "AIRFLOW__AGENTIC__ARTIFACTS": self.artifacts.as_uri(),
            **self._settings,
        }

    def _healthy(self) -> bool:
        answer = self.send("GET", "/api/v2/monitor/health", token="")
        return answer.is_success and all(answer.json()[part]["status"] == "healthy" for part in self.parts)

    def _login(self) -> None:
        passwords = json.loads((self.home / "simple_auth_manager_passwords.json.generated").read_text())
        self.password = passwords[USER]
        answer = self.request("POST", "/auth/token", body={"username": USER, "password": self.password})
        self.token = answer["access_token"]

    def _wait(self, complaint: str, probe: Callable[[], T | None], timeout: float) -> T:
        """The first truthy answer of ``probe``."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            with suppress(NoAnswerError):  # asked again, until the deadline
                found = probe()
                if found:
                    return found
            if not self.running:
                raise AirflowServerError(f"{complaint}: it ended by itself.\n{self.log_tail()}")
            time.sleep(POLL_SECONDS)
        raise AirflowServerError(f"{complaint} after {timeout:.0f} s.\n{self.log_tail()}")


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}"


def _log_line(event: Any) -> str:
    if not isinstance(event, dict):
        return str(event)
    line = f"{event.get('timestamp', '')} {event.get('level', ''):<8} {event.get('event', '')}"
    for error in event.get("error_detail") or []:
        frames = (f"\n    {frame['filename']}:{frame['lineno']} in {frame['name']}" for frame in error["frames"])
        line += f"{''.join(frames)}\n    {error['exc_type']}: {error['exc_value']}"
    return line


def _end_sessions(sessions: list[int]) -> None:
    """SIGTERM to every process of the sessions, SIGKILL to what is left. Airflow tasks have groups of their own."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for process in in_sessions(sessions):
            process.send(sign)
            if process.stopped:
                process.send(signal.SIGCONT)
        if not gone(lambda: in_sessions(sessions), STOP_SECONDS):
            break
