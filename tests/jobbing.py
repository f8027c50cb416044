"""What tests of job stores share."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_agentic.serving.jobs import Closure, NewJob

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_agentic.serving.jobs import Mode, SqlJobs

WORKER: Final = Path(__file__).with_name("job_worker.py")


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now: datetime = field(default_factory=lambda: datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


def new(mode: Mode = "async", request: Any = None) -> NewJob:
    """A client's request."""
    return NewJob(client="app", workflow="inbox", fingerprint="f", mode=mode, request=request)


def completed(result: Any) -> Closure:
    """An answer."""
    return Closure(state="completed", result=result)


def failed() -> Closure:
    """A failure."""
    return Closure(state="failed", error={"title": "no"})


@contextmanager
def closing(store: SqlJobs) -> Iterator[SqlJobs]:
    """The store, disposed of at the end."""
    try:
        yield store
    finally:
        store.dispose()


class Worker:
    """A process of ``job_worker.py``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def says(self, line: str) -> None:
        """Hand it a line."""
        if self.process.stdin is None:
            raise RuntimeError("the worker has no standard input")
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def hears(self) -> str:
        """Its next line."""
        return "" if self.process.stdout is None else self.process.stdout.readline().rstrip("\n")

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()
        self.process.wait()


@contextmanager
def worker(url: str, action: str, job: str) -> Iterator[Worker]:
    """A worker; it is killed at the end."""
    command = [sys.executable, str(WORKER), url, action, job]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Worker(process)
        finally:
            process.kill()
