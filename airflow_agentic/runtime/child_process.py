"""The operating system's side of a model process: a process, two pipes, a thread that carries its output to the log."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import IO, Any, Final

import pyarrow as pa

from airflow_agentic.runtime import framing
from airflow_agentic.spec.model import ModelCard

WATCH_SECONDS: Final = 0.05
"""How often a working child is looked at."""
MAX_LINE: Final = 8192
"""Bytes of output that are logged as one line: a model may print without end, and never a line's end."""
CLOSE_SECONDS: Final = 5.0
"""How long a child may take to end by itself."""
_SECRETS: Final = ("AIRFLOW__", "AIRFLOW_CONN_", "AIRFLOW_VAR_")
"""Variables of Airflow that hold connections and keys: nothing for a model."""
HUB_OFFLINE: Final = "AIRFLOW_AGENTIC_HF_HUB_OFFLINE"
"""What ``HF_HUB_OFFLINE`` was before it was set for the frameworks: whoever fetches an artifact goes by it."""
_PIPE_BYTES: Final = 2**20
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]+")
_KILOBYTES: Final = re.compile(rb"^(VmHWM|VmRSS):\s+(\d+) kB", re.MULTILINE)

Watch = Callable[["ChildProcess"], None]


class ChildProcess:
    """A running ``python -m airflow_agentic.runtime child``.

    ``watch`` is called with this object every ``WATCH_SECONDS`` while a call waits for the child.
    """

    def __init__(self, card: ModelCard) -> None:
        requests, self._requests = os.pipe()
        self._replies, replies = os.pipe()
        lifeline, self._lifeline = os.pipe()  # nobody writes: its end tells the child, in any state, that we are gone
        self._why: str | None = None
        self.over_memory = False
        """Set by who stops it for its use of memory."""
        command = [
            sys.executable,
            "-P",
            "-m",
            "airflow_agentic.runtime",
            "child",
            f"--requests={requests}",
            f"--replies={replies}",
            f"--lifeline={lifeline}",
        ]
        try:
            self.process = subprocess.Popen(
                command,
                env=environment(card),
                pass_fds=(requests, replies, lifeline),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except BaseException:
            os.close(self._requests)
            os.close(self._replies)
            os.close(self._lifeline)
            raise
        finally:
            os.close(requests)
            os.close(replies)
            os.close(lifeline)
        for descriptor in (self._requests, self._replies):
            os.set_blocking(descriptor, False)
            _widen(descriptor)
        self._said: deque[str] = deque(maxlen=1)
        self._log = threading.Thread(
            target=_carry, args=(self.process.stdout, f"airflow_agentic.model.{card.name}", self._said), daemon=True
        )
        self._log.start()

    def write(self, parts: list[memoryview], deadline: float, watch: Watch) -> None:
        """Write all of ``parts``.

        :raises TimeoutError: not before ``deadline``.
        :raises OSError: the child is gone.
        """
        for part in parts:
            view = part.cast("B")
            while len(view):
                try:
                    view = view[os.write(self._requests, view) :]
                except BlockingIOError:
                    self._wait(self._requests, select.POLLOUT, deadline, watch)

    def read(self, deadline: float, watch: Watch) -> tuple[dict[str, Any], pa.Table | None]:
        """Read one message.

        :raises TimeoutError: it is not complete before ``deadline``.
        :raises EOFError: the child is gone.
        """
        header, body = framing.LENGTHS.unpack(self._exactly(framing.LENGTHS.size, deadline, watch))
        content = memoryview(self._exactly(header + body, deadline, watch))
        return framing.unpack(content[:header], content[header:])

    def stop(self, why: str) -> None:
        """Kill the process; ``why`` is what its caller will be told. The first reason counts."""
        if self.process.poll() is None:
            self._why = self._why or why
            self.process.kill()

    def reap(self) -> str | None:
        """Wait for the dead process and free all; what happened to it, ``None`` for a kill from outside."""
        self.close(kill=False)
        code = self.process.returncode
        if self._why is not None:
            return self._why
        if code == -signal.SIGKILL:
            return None
        last = f"; its last words: {self._said[0]!r}" if self._said else ""
        if code < 0:
            return f"crashed ({signal.Signals(-code).name}){last}"
        return f"ended by itself with exit code {code}{last}"

    def memory(self) -> tuple[int, int]:
        """Resident memory now and at its peak, in bytes; zeros where /proc/PID/status is absent."""
        try:
            with open(f"/proc/{self.process.pid}/status", "rb") as file:
                text = file.read()
        except OSError:
            return 0, 0
        found = dict(_KILOBYTES.findall(text))
        return int(found.get(b"VmRSS", 0)) * 1024, int(found.get(b"VmHWM", 0)) * 1024

    def close(self, *, kill: bool) -> None:
        """Free all; the process ends by itself at the end of its requests, or is killed."""
        if self._requests < 0:
            return
        os.close(self._requests)
        self._requests = -1
        if kill:
            self.process.kill()
        try:
            self.process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._replies)
        os.close(self._lifeline)
        self._log.join(CLOSE_SECONDS)

    def _exactly(self, length: int, deadline: float, watch: Watch) -> bytearray:
        content = bytearray(length)
        view = memoryview(content)
        while len(view):
            try:
                count = os.readv(self._replies, [view])
            except BlockingIOError:
                self._wait(self._replies, select.POLLIN, deadline, watch)
                continue
            if count == 0:
                raise EOFError
            view = view[count:]
        return content

    def _wait(self, descriptor: int, event: int, deadline: float, watch: Watch) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        while True:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError
            if poll.poll(min(remaining, WATCH_SECONDS) * 1000.0):
                return
            watch(self)


def environment(card: ModelCard) -> dict[str, str]:
    """The child's environment: this one's without Airflow's, our import path, the card's threads, quiet frameworks."""
    threads = str(card.runtime.threads)
    given = inherited()
    fixed = {
        "PYTHONUNBUFFERED": "1",
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), threads),
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "true" if card.runtime.threads > 1 else "false",
        HUB_OFFLINE: given.get("HF_HUB_OFFLINE", ""),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    if card.runtime.framework == "tensorflow":
        fixed["KERAS_BACKEND"] = "tensorflow"
    if not card.resources.gpu:
        fixed["CUDA_VISIBLE_DEVICES"] = ""  # a framework that finds a GPU takes its memory, asked or not
    return {"TF_CPP_MIN_LOG_LEVEL": "3", **given, **fixed}


def inherited() -> dict[str, str]:
    """What a child gets of this process: its environment without Airflow's, and its import path."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_SECRETS)}
    return {**environment, "PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path)}


def _carry(output: IO[bytes], name: str, said: deque[str]) -> None:
    logger = logging.getLogger(name)
    with output:
        while line := output.readline(MAX_LINE):
            text = _CONTROL.sub(" ", line.decode("utf-8", "replace")).rstrip()
            if text:
                said.append(text)
                logger.info("%s", text)


def _widen(descriptor: int) -> None:
    """A larger pipe means fewer switches between the processes; a system that refuses keeps its own size."""
    import fcntl

    setpipe = getattr(fcntl, "F_SETPIPE_SZ", None)
    if setpipe is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, setpipe, _PIPE_BYTES)
