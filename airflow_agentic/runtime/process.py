"""A model in a child process.

A hung model can be killed, its memory comes back, and two frameworks do not meet. The child is
``python -m airflow_agentic.runtime``, fed over two pipes (see :mod:`airflow_agentic.runtime.framing`); its stdout and
stderr, which belong to the frameworks' chatter, go to the logger ``airflow_agentic.model.NAME``.

The parent watches: a batch that takes too long, and (on Linux, from /proc) memory above the card's limit, kill the
child. A dead child is a :class:`ModelUnavailableError`; ``load()`` starts a new one. Who calls decides whether to.
"""

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
from typing import IO, TYPE_CHECKING, Any, Final

from airflow_agentic.exceptions import ModelError, ModelUnavailableError
from airflow_agentic.runtime import framing
from airflow_agentic.runtime.child import card_to_json
from airflow_agentic.runtime.imports import check_card
from airflow_agentic.runtime.predictor import open_predictor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pyarrow as pa

    from airflow_agentic.runtime.base import Predictor
    from airflow_agentic.spec.model import ModelCard

LOAD_SECONDS: Final = 600.0
"""Loading may fetch an artifact and import a framework: it gets at least this long."""
WATCH_SECONDS: Final = 0.05
"""How often a working child's memory is looked at."""
CLOSE_SECONDS: Final = 5.0
"""How long a child may take to end by itself."""
_PIPE_BYTES: Final = 2**20
_KILOBYTES: Final = re.compile(rb"^(VmHWM|VmRSS):\s+(\d+) kB", re.MULTILINE)


class ModelProcess:
    """A :class:`~airflow_agentic.runtime.base.Predictor` whose model lives in a child process.

    One call at a time; others wait. :meth:`kill` may be called from any thread and ends a running call with
    :class:`ModelUnavailableError`.

    :param timeout: seconds a batch may take; the card's ``batch.timeout`` where absent.
    :param memory_limit: bytes of resident memory; the card's ``resources.memory`` where absent.
    :raises HandlerNotAllowedError: the card names code that is not allowed; nothing is started.
    """

    def __init__(
        self,
        card: ModelCard,
        *,
        allowed_handlers: Sequence[str] = (),
        cache_dir: Path | None = None,
        timeout: float | None = None,
        memory_limit: int | None = None,
        top_k: int | None = None,
    ) -> None:
        check_card(card, allowed_handlers)
        self._card = card
        self._load = {
            "do": "load",
            "card": card_to_json(card),
            "allowed_handlers": list(allowed_handlers),
            "cache_dir": str(cache_dir.absolute()) if cache_dir else None,
            "top_k": top_k,
        }
        self._timeout = timeout or card.batch.timeout
        self._limit = memory_limit or card.resources.memory
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._peak = 0
        self._watched = 0.0

    @property
    def pid(self) -> int | None:
        """The child's process id; ``None`` while there is none."""
        child = self._child
        return child.process.pid if child is not None else None

    @property
    def busy(self) -> bool:
        """Whether a call runs now."""
        return self._lock.locked()

    def load(self) -> None:
        """Start a child, in place of one that died, and load the model in it.

        :raises ModelError: as the predictor in the child, or :class:`ModelUnavailableError`: it died or took too long.
        """
        with self._lock:
            self._end()
            self._child = _Child(self._card)
            try:
                self._ask(self._load, None, max(self._timeout, LOAD_SECONDS))
            except BaseException:
                self._end(kill=True)
                raise

    def predict(self, batch: pa.Table) -> pa.Table:
        """See :class:`~airflow_agentic.runtime.base.Predictor`."""
        with self._lock:
            table = self._ask({"do": "predict"}, batch, self._timeout)
            if table is None:
                raise ModelError(f"the process of model {self._card.name!r} gave no table")
            return table

    def close(self) -> None:
        """End the child; it is killed if it does not end by itself."""
        with self._lock:
            self._end()

    def kill(self) -> None:
        """End the child at once. A call that runs in another thread raises :class:`ModelUnavailableError`."""
        child = self._child
        if child is not None:
            child.stop("was stopped by its caller")

    def memory(self) -> int:
        """Peak resident memory of the child in bytes, also of one that is gone; 0 where /proc is absent."""
        child = self._child
        if child is not None:
            self._peak = max(self._peak, child.memory()[1])
        return self._peak

    def _ask(self, header: dict[str, Any], table: pa.Table | None, seconds: float) -> pa.Table | None:
        child = self._child
        if child is None:
            raise ModelUnavailableError(f"the process of model {self._card.name!r} is not running; call load() first")
        deadline = time.monotonic() + seconds
        try:
            child.write(framing.pack(header, table), deadline, self._watch)
            reply, answer = child.read(deadline, self._watch)
        except TimeoutError:
            what = "raise batch.timeout or lower batch.rows" if header["do"] == "predict" else "look at its output"
            child.stop(f"took longer than {seconds:g} s and was stopped; {what} ({self._card.source.file})")
            raise self._unavailable(child) from None
        except (OSError, EOFError):
            raise self._unavailable(child) from None
        except BaseException:
            self._end(kill=True)  # half a message is in the pipes: this child cannot be used again
            raise
        if time.monotonic() - self._watched > WATCH_SECONDS:
            self._watch(child)
        if "error" in reply:
            raise framing.unpack_error(reply["error"])
        return answer

    def _watch(self, child: _Child) -> None:
        self._watched = time.monotonic()
        used, peak = child.memory()
        self._peak = max(self._peak, peak)
        if self._limit is not None and used > self._limit:
            child.stop(
                f"used {_size(used)} of memory, resources.memory allows {_size(self._limit)}, and it was stopped; "
                f"raise it in {self._card.source.file} or lower batch.rows"
            )

    def _unavailable(self, child: _Child) -> ModelUnavailableError:
        self._child = None
        why = child.reap()
        if why is None:
            why = (
                f"was killed (SIGKILL), often out of memory; raise resources.memory in {self._card.source.file} "
                f"(peak seen: {_size(self._peak)})"
            )
        return ModelUnavailableError(f"the process of model {self._card.name!r} {why}")

    def _end(self, *, kill: bool = False) -> None:
        child, self._child = self._child, None
        if child is not None:
            self._peak = max(self._peak, child.memory()[1])
            child.close(kill=kill)


class _Child:
    """The operating system's side: a process, two pipes and a thread that carries its output to the log."""

    def __init__(self, card: ModelCard) -> None:
        requests, self._requests = os.pipe()
        self._replies, replies = os.pipe()
        self._why: str | None = None
        command = [
            sys.executable,
            "-P",
            "-m",
            "airflow_agentic.runtime",
            f"--requests={requests}",
            f"--replies={replies}",
        ]
        try:
            self.process = subprocess.Popen(
                command,
                env=environment(card),
                pass_fds=(requests, replies),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except BaseException:
            os.close(self._requests)
            os.close(self._replies)
            raise
        finally:
            os.close(requests)
            os.close(replies)
        for descriptor in (self._requests, self._replies):
            os.set_blocking(descriptor, False)
            _widen(descriptor)
        self._said: deque[str] = deque(maxlen=1)
        self._log = threading.Thread(
            target=_carry, args=(self.process.stdout, f"airflow_agentic.model.{card.name}", self._said), daemon=True
        )
        self._log.start()

    def write(self, parts: list[memoryview], deadline: float, watch: Any) -> None:
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

    def read(self, deadline: float, watch: Any) -> tuple[dict[str, Any], pa.Table | None]:
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
        self._log.join(CLOSE_SECONDS)

    def _exactly(self, length: int, deadline: float, watch: Any) -> bytearray:
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

    def _wait(self, descriptor: int, event: int, deadline: float, watch: Any) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        while True:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError
            if poll.poll(min(remaining, WATCH_SECONDS) * 1000.0):
                return
            watch(self)


def start(
    card: ModelCard, *, allowed_handlers: Sequence[str] = (), cache_dir: Path | None = None, top_k: int | None = None
) -> Predictor:
    """The loaded predictor of ``card``: in this process or a child, as its ``isolation`` says.

    :raises ModelError: it cannot be loaded.
    :raises HandlerNotAllowedError: it names code that is not allowed.
    """
    predictor: Predictor
    if card.isolation == "inline":
        predictor = open_predictor(card, allowed_handlers=allowed_handlers, cache_dir=cache_dir, top_k=top_k)
    else:
        predictor = ModelProcess(card, allowed_handlers=allowed_handlers, cache_dir=cache_dir, top_k=top_k)
    predictor.load()
    return predictor


def environment(card: ModelCard) -> dict[str, str]:
    """The child's environment: this one's, the same import path, the card's threads, quiet and offline frameworks."""
    threads = str(card.runtime.threads)
    fixed = {
        "PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path),
        "PYTHONUNBUFFERED": "1",
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), threads),
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "true" if card.runtime.threads > 1 else "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    if card.runtime.framework == "tensorflow":
        fixed["KERAS_BACKEND"] = "tensorflow"
    if not card.resources.gpu:
        fixed["CUDA_VISIBLE_DEVICES"] = ""  # a framework that finds a GPU takes its memory, asked or not
    return {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, **fixed}


def _carry(output: IO[bytes], name: str, said: deque[str]) -> None:
    logger = logging.getLogger(name)
    with output:
        for line in output:
            text = line.decode("utf-8", "replace").rstrip()
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


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
