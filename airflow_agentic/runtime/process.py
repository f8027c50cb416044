"""A model in a child process.

A hung model can be killed, its memory comes back, and two frameworks do not meet. The child is
``python -m airflow_agentic.runtime``, fed over two pipes (see :mod:`airflow_agentic.runtime.framing`); its stdout and
stderr, which belong to the frameworks' chatter, go to the logger ``airflow_agentic.model.NAME``.

The parent watches: a batch that takes too long, and (on Linux, from /proc) memory above the card's limit, kill the
child. A dead child is a :class:`ModelUnavailableError`; ``load()`` starts a new one. Who calls decides whether to.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

from airflow_agentic.exceptions import ModelError, ModelMemoryError, ModelUnavailableError
from airflow_agentic.openinference.tensors import TensorSpec
from airflow_agentic.runtime import array_tables, framing
from airflow_agentic.runtime.base import UNKNOWN, Signature
from airflow_agentic.runtime.child import card_to_json
from airflow_agentic.runtime.child_process import WATCH_SECONDS, ChildProcess
from airflow_agentic.runtime.imports import check_card
from airflow_agentic.runtime.predictor import open_predictor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pyarrow as pa

    from airflow_agentic.runtime.base import Arrays
    from airflow_agentic.runtime.predictor import CardPredictor
    from airflow_agentic.spec.model import ModelCard

LOAD_SECONDS: Final = 600.0
"""Loading may fetch an artifact and import a framework: it gets at least this long."""


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
        self._child: ChildProcess | None = None
        self.signature = UNKNOWN
        """The tensors of :meth:`run`, once it is loaded."""
        self._peak = 0
        self._watched = 0.0

    @property
    def pid(self) -> int | None:
        """The child's process id; ``None`` while there is none."""
        child = self._child
        return child.process.pid if child is not None else None

    @property
    def running(self) -> bool:
        """Whether there is a child, and it has not died."""
        child = self._child
        return child is not None and child.process.poll() is None

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
            self._child = ChildProcess(self._card)
            try:
                reply = self._asked(self._load, None, max(self._timeout, LOAD_SECONDS))[0]
                self.signature = Signature(*(tuple(_spec(one) for one in side) for side in reply["signature"]))
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

    def run(self, arrays: Arrays) -> Arrays:
        """Run the model on arrays that are encoded already; see ``CardPredictor.run``."""
        with self._lock:
            table = self._ask({"do": "run"}, array_tables.to_table(arrays), self._timeout)
            if table is None:
                raise ModelError(f"the process of model {self._card.name!r} gave no arrays")
            return array_tables.from_table(table)

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
        return self._asked(header, table, seconds)[1]

    def _asked(
        self, header: dict[str, Any], table: pa.Table | None, seconds: float
    ) -> tuple[dict[str, Any], pa.Table | None]:
        child = self._child
        if child is None:
            raise ModelUnavailableError(f"the process of model {self._card.name!r} is not running; call load() first")
        deadline = time.monotonic() + seconds
        try:
            child.write(framing.pack(header, table), deadline, self._watch)
            reply, answer = child.read(deadline, self._watch)
        except TimeoutError:
            what = "look at its output" if header["do"] == "load" else "raise batch.timeout or lower batch.rows"
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
        return reply, answer

    def _watch(self, child: ChildProcess) -> None:
        self._watched = time.monotonic()
        used, peak = child.memory()
        self._peak = max(self._peak, peak)
        if self._limit is not None and used > self._limit:
            child.over_memory = True
            child.stop(
                f"used {_size(used)} of memory, resources.memory allows {_size(self._limit)}, and it was stopped; "
                f"raise it in {self._card.source.file} or lower batch.rows"
            )

    def _unavailable(self, child: ChildProcess) -> ModelUnavailableError:
        self._child = None
        why = child.reap()
        kind = ModelMemoryError if child.over_memory or why is None else ModelUnavailableError
        if why is None:
            why = (
                f"was killed (SIGKILL), often out of memory; raise resources.memory in {self._card.source.file} "
                f"(peak seen: {_size(self._peak)})"
            )
        return kind(f"the process of model {self._card.name!r} {why}")

    def _end(self, *, kill: bool = False) -> None:
        child, self._child = self._child, None
        if child is not None:
            self._peak = max(self._peak, child.memory()[1])
            child.close(kill=kill)


def start(
    card: ModelCard, *, allowed_handlers: Sequence[str] = (), cache_dir: Path | None = None, top_k: int | None = None
) -> CardPredictor | ModelProcess:
    """The loaded predictor of ``card``: in this process or a child, as its ``isolation`` says.

    :raises ModelError: it cannot be loaded.
    :raises HandlerNotAllowedError: it names code that is not allowed.
    """
    predictor: CardPredictor | ModelProcess
    if card.isolation == "inline":
        predictor = open_predictor(card, allowed_handlers=allowed_handlers, cache_dir=cache_dir, top_k=top_k)
    else:
        predictor = ModelProcess(card, allowed_handlers=allowed_handlers, cache_dir=cache_dir, top_k=top_k)
    predictor.load()
    return predictor


def _spec(stated: dict[str, Any]) -> TensorSpec:
    return TensorSpec(stated["name"], stated["datatype"], tuple(stated["shape"]))


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
