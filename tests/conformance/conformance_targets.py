"""The servers that the suite is run over, how they are started, and in what each may differ from the rules."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

from mlserver_environment import mlserver, served

from scripts.airflow_server import free_port

HERE: Final = Path(__file__).parent
START_SECONDS: Final = 120.0
VERSION: Final = "3"
"""Of every model."""

ROWS: Final = {"datatype": "FP32", "shape": [-1, 2]}
TENSORS: Final[Mapping[str, Any]] = {
    "echo": None,
    "sum": {
        "inputs": [{"name": "a", **ROWS}, {"name": "b", **ROWS}],
        "outputs": [{"name": "sum", "datatype": "FP32", "shape": [-1]}],
    },
    "label": {
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "length", "datatype": "INT64", "shape": [-1]},
        ],
    },
}
"""The models and what their metadata must say; of ``echo`` nothing: it takes one tensor of any kind."""


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which must be JSON."""
        return json.loads(self.body)


@dataclass
class Target:
    """A server under test.

    :param rest: host and port.
    :param grpc: host and port.
    """

    name: str
    rest: str
    grpc: str

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One exchange."""
        connection = HTTPConnection(self.rest, timeout=30)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, named, response.read())
        finally:
            connection.close()

    def infer(self, model: str, document: Any, *, version: str | None = None) -> Answer:
        """Ask a model in JSON; ``document`` may be bytes that are none."""
        path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "") + "/infer"
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.ask("POST", path, body, {"Content-Type": "application/json"})

    @property
    def extensions(self) -> list[str]:
        """What the server says it can do beside the protocol."""
        found: list[str] = self.ask("GET", "/v2").json["extensions"]
        return found


def _card(name: str, tensors: Any) -> dict[str, Any]:
    runtime = {"framework": "python", "handler": f"conformance_handlers:{name.capitalize()}"}
    return {
        "apiVersion": "airflow-agentic/v1",
        "kind": "Model",
        "name": name,
        "version": VERSION,
        "task": "conformance",
        "input": "tensor",
        "output": {"fields": {"output": "array"}},
        "isolation": "inline" if name == "label" else "process",
        "runtime": runtime | ({"tensors": tensors} if tensors else {}),
    }


@contextmanager
def ours(folder: Path) -> Iterator[Target]:
    """``airflow-agentic serve``."""
    for part in ("models", "workflows"):
        (folder / part).mkdir()
    for name, tensors in TENSORS.items():
        (folder / "models" / f"{name}.yaml").write_text(json.dumps(_card(name, tensors)))
    target = Target("airflow-agentic", f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}")
    command = [
        *(str(Path(sys.executable).with_name("airflow-agentic")), "serve", "--project", str(folder)),
        *("--port", target.rest.rpartition(":")[2], "--grpc-port", target.grpc.rpartition(":")[2]),
        *("--drain", "0", "--allow-handler", "conformance_handlers"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait(target, process, folder / "log")
        yield target
    finally:
        process.terminate()
        process.wait(60)


def _wait(target: Target, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            if target.ask("GET", "/v2/health/ready").status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the server did not become ready:\n{log.read_text()[-3000:]}")


@contextmanager
def theirs(folder: Path) -> Iterator[Target]:
    """MLServer."""
    command = mlserver()
    shutil.copy(HERE / "conformance_mlserver.py", folder)
    models = {
        name: {
            "implementation": f"conformance_mlserver.{name.capitalize()}",
            "parameters": {"version": VERSION},
            **(tensors or {}),
        }
        for name, tensors in TENSORS.items()
    }
    with served(command, folder, models) as url:
        grpc = json.loads((folder / "settings.json").read_text())["grpc_port"]
        yield Target("mlserver", url.removeprefix("http://"), f"127.0.0.1:{grpc}")


TARGETS: Final = {"airflow-agentic": ours, "mlserver": theirs}
