"""MLServer in an environment of its own, made once, as it pins older packages than this project wants."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import urlopen

from peers import peer

from scripts.peers import MLSERVER

MODELS: Final = Path(__file__).parent / "mlserver_models.py"
START_SECONDS: Final = 120.0


def mlserver() -> Path:
    """Its command."""
    return peer(MLSERVER).with_name("mlserver")


@contextmanager
def served(command: Path, folder: Path, models: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """MLServer with ``models`` (name → settings); gives its base URL."""
    shutil.copy(MODELS, folder)
    http, grpc, metrics = _free_ports(3)
    ports = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics}
    settings = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False, **ports}
    (folder / "settings.json").write_text(json.dumps(settings))
    for name, said in models.items():
        (folder / name).mkdir()
        (folder / name / "model-settings.json").write_text(json.dumps({"name": name, **said}))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [str(command), "start", str(folder)],
            env={**os.environ, "PYTHONPATH": str(folder), "MLSERVER_LOGGING_SETTINGS": ""},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{http}"
    try:
        wait_until_ready(process, f"{url}/v2/health/ready", folder / "log")
        yield url
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Until a server answers ``url``; one that ends first, or takes too long, has said why in ``log``."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"the server did not become ready:\n{log.read_text()[-3000:]}")


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports
