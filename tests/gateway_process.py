"""A gateway as its own process, with models of a few lines."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

ROOT: Final = Path(__file__).parents[1]
CARD: Final = """
apiVersion: airflow-agentic/v1
kind: Model
name: {name}
version: "1"
task: text-analysis
input: text
output: {{classes: [good, bad]}}
runtime: {{framework: python, handler: "gateway_process:{name}"}}
isolation: inline
"""
WORKFLOW: Final = """
apiVersion: airflow-agentic/v1
kind: Workflow
name: {name}
serves: {serves}
routes: [{{use: {name}}}]
"""


def quick(text: str) -> str:
    """A model that answers at once."""
    return "bad" if "bad" in text else "good"


def slow(text: str) -> str:
    """A model that takes a moment."""
    time.sleep(0.05)
    return "good"


class Noting:
    """A model that writes down each text it is asked about, and answers once the file ``open`` is there."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def predict_one(self, text: str) -> str:
        with (self._folder / "seen").open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")
        while not (self._folder / "open").exists():
            time.sleep(0.02)
        return quick(text)


def project(folder: Path) -> Path:
    """A project with both models, each in a workflow of its name; ``quick`` serves the task."""
    for kind in ("models", "workflows"):
        (folder / kind).mkdir()
    for name, serves in (("quick", "[text-analysis]"), ("slow", "[]")):
        (folder / "models" / f"{name}.yaml").write_text(CARD.format(name=name), encoding="utf-8")
        text = WORKFLOW.format(name=name, serves=serves)
        (folder / "workflows" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


@dataclass(frozen=True)
class Process:
    """A gateway that listens."""

    process: subprocess.Popen[str]
    url: str
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def memory(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        return self.process.wait(60)


@contextmanager
def running(folder: Path, *arguments: str, ready: bool = True) -> Iterator[Process]:
    """A gateway on a free port, until the context ends."""
    log = folder / "gateway.log"
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            _command(folder, arguments), stderr=file, text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "tests")}
        )
    try:
        gateway = Process(process, _address(process, log), log)
        until = time.monotonic() + 60
        while ready and httpx.get(f"{gateway.url}/health/ready").status_code != 200:
            assert time.monotonic() < until, log.read_text(encoding="utf-8")
        yield gateway
    finally:
        process.kill()
        process.wait()


def healthy(gateway: Process) -> bool:
    """Whether it still answers, and right."""
    document = {"task": "text-analysis", "input": "This is a test sentence."}
    answer = httpx.post(f"{gateway.url}/predict", json=document)
    return answer.status_code == 200 and answer.json()["label"] == "good"


def _command(folder: Path, arguments: Sequence[str]) -> list[str]:
    own = ["gateway", "--project", str(folder), "--port", "0", "--allow-handler", "gateway_process"]
    return [sys.executable, "-m", "airflow_agentic", *own, *arguments]


def _address(process: subprocess.Popen[str], log: Path) -> str:
    until = time.monotonic() + 60
    while True:
        text = log.read_text(encoding="utf-8")
        found = re.search(r"gateway on (http://\S+)", text)
        if found is not None:
            return found[1]
        assert process.poll() is None, text
        assert time.monotonic() < until, text
        time.sleep(0.05)
