"""Servers that a benchmark starts: each a process of its own, pinned to a core, ended when the benchmark is."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.base import ROOT, WORK, environment

CORES: Final = (0, 1)
"""Of the server, and of who asks it."""
START_SECONDS: Final = 120.0

CARD: Final = """\
apiVersion: airflow-agentic/v1
kind: Model
name: sum
version: "1"
task: tabular-regression
input: tensor
output: {value: sum}
runtime: {framework: python, handler: "benchmarks.serving_models:Sum"}
isolation: inline
"""


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def server(command: Sequence[str], ready: str, *, core: int | None = CORES[0]) -> Iterator[subprocess.Popen[bytes]]:
    """``command`` as a process, from the moment at which it answers ``ready``, but not with 503.

    :raises RuntimeError: it ended, or did not answer; with what it said.
    """
    pin = [] if core is None else ["taskset", "-c", str(core)]
    log = WORK / "server.log"
    with log.open("wb") as said:
        process = subprocess.Popen([*pin, *command], cwd=ROOT, env=environment(), stdout=said, stderr=said)
        try:
            _wait(process, ready, log)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], ready: str, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(ready, timeout=5):
                return
        except urllib.error.HTTPError as error:
            if error.code != 503:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the server did not come up:\n{log.read_text(errors='replace')[-4000:]}")


def ours(project: Path, port: int, *arguments: str) -> list[str]:
    """The command of our model server."""
    return [
        sys.executable,
        "-m",
        "airflow_agentic",
        "serve",
        *arguments,
        f"--project={project}",
        f"--port={port}",
        "--drain=0",
        "--allow-handler=benchmarks",
    ]


def sum_project(folder: Path) -> Path:
    """A project with the one model that sums, on arrays, inline."""
    (folder / "workflows").mkdir(parents=True, exist_ok=True)
    (folder / "models").mkdir(exist_ok=True)
    (folder / "models" / "sum.yaml").write_text(CARD)
    return folder


def version(python: Path, package: str) -> str:
    """Of a peer's package."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024
