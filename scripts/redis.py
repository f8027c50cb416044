"""A Redis of its own, from the machine's installation, on a port of its own: the broker of a CeleryExecutor."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Final, Self

from scripts.airflow_server import free_port

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

PROGRAM: Final = "redis-server"
STOP_SECONDS: Final = 10.0


class RedisError(RuntimeError):
    """Redis is not installed, or did not start."""


class RedisServer:
    """One empty Redis, which keeps nothing.

    :param home: its folder, made where absent, for its log.
    """

    def __init__(self, *, home: Path) -> None:
        self.home = home
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Its first database."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *, timeout: float = 30) -> Self:
        """Start it, and wait until it listens.

        :raises RedisError: it is not installed, or does not listen in time.
        """
        program = shutil.which(PROGRAM)
        if program is None:
            raise RedisError(f"no {PROGRAM} on PATH: apt-get install redis-server")
        self.home.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        log = self.home / "redis.log"
        options = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.home), "logfile": str(log), "save": ""}
        self._process = subprocess.Popen(
            [program, *(part for name, value in options.items() for part in (f"--{name}", value))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for whoever started it, who then stops it
        )
        deadline = time.monotonic() + timeout
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                said = log.read_text(errors="replace") if log.exists() else ""
                raise RedisError(f"Redis does not listen on port {self.port}:\n{said}")
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        """End it; what it held is gone."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
