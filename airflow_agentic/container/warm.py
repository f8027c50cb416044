"""A model that stays loaded, and the units it is handed one after the other.

The main thread works and hears SIGTERM; a thread accepts connections, and each has a thread of its own, so that who
asks whether the model is ready is answered at once. :mod:`airflow_agentic.container.handover` has the messages.

It answers for one model: a unit whose frozen card, its files' digests included, is not the loaded one is refused.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import pyarrow as pa

from airflow_agentic.container.exits import LastWords
from airflow_agentic.container.logs import JsonLines
from airflow_agentic.container.reference import UnitReference
from airflow_agentic.container.stop import GRACE_SECONDS, Stop
from airflow_agentic.container.unit import run_unit
from airflow_agentic.exceptions import PlanMismatchError
from airflow_agentic.execution.freeze import exact, giving
from airflow_agentic.registry import card_digest
from airflow_agentic.runtime import ModelProcess, Predictor, start
from airflow_agentic.spec.load import load_model
from airflow_agentic.spec.model import ModelCard

log = logging.getLogger(__name__)

MAX_REQUEST: Final = 2**20
"""Bytes of a client's line."""
SEND_SECONDS: Final = 10
"""A client that reads nothing for so long is gone."""
GONE: Final = "whoever handed it over is gone, or was asked to stop (SIGTERM)"


def serve(card: Path, path: Path, *, allowed_handlers: Sequence[str] = (), grace: float = GRACE_SECONDS) -> None:
    """Load the model of ``card`` and answer units until SIGTERM; only the main thread may call this.

    :param path: of the socket, which is there when the model is loaded.
    :param grace: seconds after SIGTERM until a running batch is cut off.
    :raises ModelError: it cannot be loaded.
    :raises OSError: another process answers at ``path``.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    model = WarmModel(load_model(card), allowed_handlers)
    try:
        with _listening(path) as listener:
            _Server(model, grace).work(listener)
    finally:
        model.close()


class WarmModel:
    """The one model of this process, loaded anew where it died or where other scores are wanted.

    :raises ModelError: it cannot be loaded.
    """

    def __init__(self, card: ModelCard, allowed_handlers: Sequence[str]) -> None:
        self.allowed_handlers = tuple(allowed_handlers)
        self._card = exact(card)
        self._predictor: Predictor | None = None
        self._loaded()

    def start(self, frozen: ModelCard) -> Predictor:
        """The loaded predictor of a node's card; closing it leaves it loaded.

        :raises PlanMismatchError: that is another model's.
        """
        if _identity(frozen) != _identity(self._card):
            raise PlanMismatchError(
                f"{_shown(self._card)} is loaded here, and the run froze {_shown(frozen)}: roll the warm pods, so that "
                "they load the run's card and files, or clear the whole run, so that it freezes theirs"
            )
        wanted = frozen.output.top_k
        if wanted != self._card.output.top_k:
            log.info("model %s is loaded anew: scores of up to %d classes are wanted", frozen.name, wanted)
            self.close()
            self._card = giving(self._card, wanted)
        return _Kept(self._loaded())

    def close(self) -> None:
        """Free the model."""
        predictor, self._predictor = self._predictor, None
        if predictor is not None:
            predictor.close()

    def _loaded(self) -> Predictor:
        if self._predictor is None:
            self._predictor = start(self._card, allowed_handlers=self.allowed_handlers)
            log.info("model %s %s was loaded", self._card.name, self._card.version)
        elif isinstance(self._predictor, ModelProcess) and not self._predictor.running:
            log.warning("the process of model %s died and is started anew", self._card.name)
            self._predictor.load()
        return self._predictor


class _Kept:
    """A predictor that stays loaded when its user closes it."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        if isinstance(predictor, ModelProcess):
            self.kill = predictor.kill

    def load(self) -> None:
        """It is."""

    def predict(self, batch: pa.Table) -> pa.Table:
        return self._predictor.predict(batch)

    def close(self) -> None:
        """Whoever loaded it does."""


@dataclass(frozen=True, eq=False)
class _Job:
    """A unit, and who waits for it."""

    reference: UnitReference
    client: socket.socket
    stop: Stop
    over: threading.Event = field(default_factory=threading.Event)


class _Server:
    """One unit at a time, in the order they came."""

    def __init__(self, model: WarmModel, grace: float) -> None:
        self._model = model
        self._grace = grace
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._current: _Job | None = None
        self._stopping = False

    def work(self, listener: socket.socket) -> None:
        """Until SIGTERM; then the unit in hand is told to stop, and those that wait are refused."""
        signal.signal(signal.SIGTERM, self._terminate)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        log.info("ready for units")
        while not self._stopping or not self._jobs.empty():
            job = self._jobs.get()
            if job is not None:
                self._current = job
                if self._stopping:
                    job.stop.terminate()
                self._answer(job)
                self._current = None

    def _terminate(self, signum: int, frame: object) -> None:
        self._stopping = True
        if self._current is not None:
            self._current.stop.terminate()
        self._jobs.put(None)  # wakes the main thread, if it waits

    def _answer(self, job: _Job) -> None:
        telling, words = _Telling(job.client), None
        logging.getLogger().addHandler(telling)
        try:
            job.stop.check()
            run_unit(job.reference, job.stop, self._model.start)
        except Exception as error:  # noqa: BLE001  # whatever it is, its client is to tell it
            words = LastWords.of(error)
            words.say(error)
        finally:
            job.stop.close()
            logging.getLogger().removeHandler(telling)
            telling.end(words)
            job.over.set()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=self._converse, args=(client,), daemon=True).start()

    def _converse(self, client: socket.socket) -> None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_SECONDS, 0))
        with client, client.makefile("rb") as said, contextlib.suppress(OSError):
            request = json.loads(said.readline(MAX_REQUEST))
            if "unit" not in request:
                client.sendall(_end().encode() + b"\n")
                return
            reference = replace(
                UnitReference.from_json(request["unit"]), allowed_handlers=self._model.allowed_handlers
            )  # what code may run here is decided by who starts this process
            job = _Job(reference, client, Stop(self._grace))
            self._jobs.put(job)
            said.read(1)
            job.stop.ask(GONE)
            job.over.wait()


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """A socket at ``path``, in place of one that nobody listens at, and gone at the end."""
    with socket.socket(socket.AF_UNIX) as listener:
        if path.is_socket():
            with socket.socket(socket.AF_UNIX) as other, contextlib.suppress(ConnectionRefusedError):
                other.connect(str(path))
                raise OSError(f"another process answers at {path}: end it, or name another socket")
            path.unlink()
        listener.bind(str(path))
        try:
            os.chmod(path, 0o600)
            listener.listen()
            yield listener
        finally:
            path.unlink(missing_ok=True)


class _Telling(logging.Handler):
    """Sends each line to a client too, and the end, unless it is gone."""

    def __init__(self, client: socket.socket) -> None:
        super().__init__()
        self._client: socket.socket | None = client
        self.setFormatter(JsonLines())

    def emit(self, record: logging.LogRecord) -> None:
        self._send(self.format(record))

    def end(self, words: LastWords | None) -> None:
        self.acquire()  # a line of another thread is sent whole
        try:
            self._send(_end(words))
            if self._client is not None:
                with contextlib.suppress(OSError):  # it was quicker
                    self._client.shutdown(socket.SHUT_RDWR)
            self._client = None
        finally:
            self.release()

    def _send(self, line: str) -> None:
        if self._client is not None:
            try:
                self._client.sendall(line.encode() + b"\n")
            except OSError:
                self._client = None


def _end(words: LastWords | None = None) -> str:
    return json.dumps({"end": words and asdict(words)})


def _identity(card: ModelCard) -> str:
    """Of a card with pins: which model, apart from how many of its scores are given."""
    return card_digest(giving(card, 1), card.runtime.sha256, card.runtime.files)


def _shown(card: ModelCard) -> str:
    return f"model {card.name!r} version {card.version} (digest {_identity(card)[:12]})"
