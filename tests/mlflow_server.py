"""A real MLflow server in an environment of its own: its dependencies are not Airflow's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from scripts.airflow_server import free_port

REQUIREMENTS: Final = ("mlflow==3.17.2", "onnx>=1.17", "onnxruntime>=1.19")
START_SECONDS: Final = 240.0


@dataclass
class MlflowServer:
    """SQLite and a folder for the files, which only the server reads; a context manager.

    :param folder: its own.
    """

    folder: Path
    url: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def python(self) -> str:
        """The interpreter of its environment."""
        return str(self.folder / "venv" / "bin" / "python")

    def __enter__(self) -> Self:
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, self.folder / "venv"], check=True)
        subprocess.run([*uv, "pip", "install", "--quiet", "--python", self.python, *REQUIREMENTS], check=True)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [
            *(self.python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"),
            *("--artifacts-destination", str(self.folder / "files")),
        ]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGTERM)  # a session of its own: the server and its workers
            self.process.wait(30)

    def _wait(self) -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self.process is not None and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise RuntimeError(f"MLflow did not start:\n{(self.folder / 'log').read_text()}")

    def run(self, code: str) -> str:
        """What ``code`` prints; it is a user's Python with ``mlflow`` imported and ``client`` at hand."""
        start = "import mlflow; from mlflow import MlflowClient; client = MlflowClient()\n"
        environment = {**os.environ, "MLFLOW_TRACKING_URI": self.url}
        environment.pop("MLFLOW_REGISTRY_URI", None)
        done = subprocess.run(
            [self.python, "-c", start + code],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout

    def call(self, endpoint: str, method: str = "POST", **said: object) -> dict[str, Any]:
        """The answer of its REST API; by it a version is there in a moment, by a client's process in ten seconds."""
        return json.loads(self._send(f"api/2.0/mlflow/{endpoint}", method, json.dumps(said).encode()))

    def _send(self, path: str, method: str, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/{path}", data=body, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())

    def register(self, name: str, **files: str) -> str:
        """A new version of the model ``name`` with these files of text, ``.txt`` but for ``MLmodel``; its number."""
        with suppress(urllib.error.HTTPError):  # it is there
            self.call("registered-models/create", name=name)
        run = self.call("runs/create", experiment_id="0")["run"]["info"]
        for file, text in files.items():
            full = f"0/{run['run_id']}/artifacts/net/{file if file == 'MLmodel' else f'{file}.txt'}"
            self._send(f"api/2.0/mlflow-artifacts/artifacts/{full}", "PUT", text.encode())
        source = f"{run['artifact_uri']}/net"
        made = self.call("model-versions/create", name=name, source=source, run_id=run["run_id"])
        return str(made["model_version"]["version"])

    def alias(self, name: str, alias: str, version: str) -> None:
        """Have ``alias`` mean ``version``."""
        self.call("registered-models/alias", name=name, alias=alias, version=version)
