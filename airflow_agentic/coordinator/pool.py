"""Loaded models of one process: each loaded once, used by a bounded number of calls, evicted under a memory limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from airflow_agentic.exceptions import ModelUnavailableError
from airflow_agentic.pipeline.plain import plain_rows
from airflow_agentic.runtime import ModelProcess, Predictor, predict_records, start
from airflow_agentic.spec.model import ModelCard

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from airflow_agentic.pipeline.plain import PlainRecords

Start = Callable[[ModelCard], Predictor]


class Pool(Protocol):
    """The models that a coordinator calls, wherever they are."""

    @property
    def load(self) -> Mapping[str, int]:
        """Calls under way or waiting, by model."""

    @property
    def loaded(self) -> Sequence[str]:
        """The models that answer without being loaded first."""

    @property
    def killed(self) -> bool:
        """Whether :meth:`kill` was called: it answers nothing any more."""

    async def predict(self, card: ModelCard, records: pa.Table, *, timeout: float | None) -> pa.Table:
        """Answer ``records`` (``tables.PREDICTION``, one row per record, in order) within ``timeout`` seconds.

        :raises ModelUnavailableError: nothing answered in time; the same call may succeed later.
        :raises ModelError: the model cannot answer at all.
        """

    async def predict_few(
        self, card: ModelCard, records: PlainRecords, *, timeout: float | None
    ) -> list[dict[str, Any]]:
        """:meth:`predict` in plain values: rows of ``tables.PREDICTION``.

        :param records: with ``row``.
        """

    async def prepare(self, card: ModelCard) -> None:
        """Load the model, or ask its server for it; at once where that is done.

        :raises AgenticError: it cannot be loaded, or no server has it.
        """

    def kill(self) -> None:
        """Calls under way, and all later ones, raise :class:`ModelUnavailableError`; from any thread."""

    async def close(self) -> None:
        """Free what the models take; a later call loads them again."""


@dataclass
class _Loaded:
    """A model's place in the pool; its lock is held while the model is loaded, called or evicted."""

    card: ModelCard
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    predictor: Predictor | None = None
    loading: bool = False
    caller: asyncio.Task[pa.Table] | None = None
    """Who holds the lock to load or call it."""
    used: float = 0.0

    @property
    def memory(self) -> int:
        """What it takes or is about to: measured for a process, as far as the card says otherwise."""
        if isinstance(self.predictor, ModelProcess):
            return self.predictor.memory()
        expected = self.card.profile.memory or self.card.resources.memory or 0
        return expected if self.loading or self.predictor is not None else 0


class ModelPool:
    """The models that a coordinator calls.

    :param memory_limit: bytes of all loaded models together; the least recently used idle ones make room by ending
        their processes. ``None``: no limit.
    :param starter: loads a model (tests replace it).
    """

    def __init__(
        self,
        *,
        allowed_handlers: Sequence[str] = (),
        cache_dir: Path | None = None,
        memory_limit: int | None = None,
        patient: bool = False,
        clock: Callable[[], float] = time.monotonic,
        starter: Start | None = None,
    ) -> None:
        self.memory_limit = memory_limit
        self.patient = patient
        self.clock = clock
        self._start = starter or (lambda card: start(card, allowed_handlers=allowed_handlers, cache_dir=cache_dir))
        self._models: dict[tuple[object, ...], _Loaded] = {}
        self._under_way: dict[str, int] = {}
        self._calls: set[asyncio.Task[pa.Table]] = set()
        self._closing = False
        self._killed = False

    @property
    def killed(self) -> bool:
        """Whether :meth:`kill` was called: it answers nothing any more."""
        return self._killed

    @property
    def load(self) -> Mapping[str, int]:
        """Calls under way or waiting, by model."""
        return self._under_way

    @property
    def loaded(self) -> tuple[str, ...]:
        """The models in memory."""
        return tuple(model.card.name for model in self._models.values() if model.predictor is not None)

    async def predict(self, card: ModelCard, records: pa.Table, *, timeout: float | None) -> pa.Table:
        """Answer ``records`` (``tables.PREDICTION``).

        A caller that is cancelled leaves the queue, or the batch in hand to finish; a batch that exceeds ``timeout``
        (seconds) has its model process killed, unless the pool is patient.

        :raises ModelUnavailableError: the process died, or gave no answer in time.
        """
        model = self._models.setdefault(_key(card), _Loaded(card))
        task = asyncio.create_task(self._call(model, records))
        self._calls.add(task)
        task.add_done_callback(self._forget)
        try:
            done, _ = await asyncio.wait({task}, timeout=timeout)
        except asyncio.CancelledError:
            self._leave(model, task)
            raise
        if task in done:
            return task.result()
        self._leave(model, task)
        if model.caller is task and not self.patient and isinstance(model.predictor, ModelProcess):
            model.predictor.kill()  # one that is still being loaded is left alone: the next call will want it
        raise ModelUnavailableError(f"{card.name!r} did not answer within {timeout:.3g} s")

    async def predict_few(
        self, card: ModelCard, records: PlainRecords, *, timeout: float | None
    ) -> list[dict[str, Any]]:
        """:meth:`predict` in plain values; models take tables."""
        return plain_rows(await self.predict(card, records.table, timeout=timeout))

    async def prepare(self, card: ModelCard) -> None:
        """Load the model, unless it is loaded.

        :raises ModelError: it cannot be loaded.
        """
        model = self._models.setdefault(_key(card), _Loaded(card))
        if model.predictor is not None:
            return
        async with model.lock:
            self._refuse_killed(card.name)
            if model.predictor is None:
                await self._load(model)

    @staticmethod
    def _leave(model: _Loaded, task: asyncio.Task[pa.Table]) -> None:
        """Nobody waits for ``task`` any more: unless the model has its batch in hand, it leaves the queue."""
        if model.caller is not task:
            task.cancel()

    def _forget(self, task: asyncio.Task[pa.Table]) -> None:
        self._calls.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may be gone; then nobody else would ask

    async def _call(self, model: _Loaded, records: pa.Table) -> pa.Table:
        card = model.card
        self._under_way[card.name] = self._under_way.get(card.name, 0) + 1
        try:
            async with model.lock:
                self._refuse_killed(card.name)
                model.caller = asyncio.current_task()
                try:
                    predictor = model.predictor or await self._load(model)
                    return await asyncio.to_thread(predict_records, predictor, card, records)
                except ModelUnavailableError:
                    await self._end(model)
                    raise
                finally:
                    model.used, model.caller = self.clock(), None
        finally:
            self._under_way[card.name] -= 1

    async def _load(self, model: _Loaded) -> Predictor:
        model.loading = True
        try:
            await self._make_room()
            predictor = model.predictor = await asyncio.to_thread(self._start, model.card)
        finally:
            model.loading = False
        if self._closing:
            raise ModelUnavailableError(f"{model.card.name!r} was loaded too late: its pool is being closed")
        self._refuse_killed(model.card.name)
        return predictor

    async def _make_room(self) -> None:
        if self.memory_limit is None:
            return
        idle = [one for one in self._models.values() if one.predictor is not None and not one.lock.locked()]
        for model in sorted(idle, key=lambda one: one.used):
            if sum(one.memory for one in self._models.values()) <= self.memory_limit:
                return
            if not model.lock.locked():
                async with model.lock:
                    await self._end(model)

    async def _end(self, model: _Loaded) -> None:
        predictor, model.predictor = model.predictor, None
        if predictor is not None:
            await asyncio.to_thread(predictor.close)

    def kill(self) -> None:
        """End every model process at once; calls under way, and all later ones, raise :class:`ModelUnavailableError`.

        For a signal handler, or another thread. :meth:`close` frees what is left.
        """
        self._killed = True
        for model in list(self._models.values()):
            if isinstance(model.predictor, ModelProcess):
                model.predictor.kill()

    def _refuse_killed(self, name: str) -> None:
        if self._killed:
            raise ModelUnavailableError(f"{name!r} was not asked: whoever runs this was told to stop")

    async def close(self) -> None:
        """End every model, also one that hangs in its process; a later call loads it again."""
        self._closing = True
        try:
            callers = {model.caller for model in self._models.values()}
            for task in self._calls - callers:
                task.cancel()
            for model in self._models.values():
                if isinstance(model.predictor, ModelProcess) and model.caller is not None:
                    model.predictor.kill()
                async with model.lock:
                    await self._end(model)
            await asyncio.gather(*self._calls, return_exceptions=True)
            self._models.clear()
        finally:
            self._closing = False


def _key(card: ModelCard) -> tuple[object, ...]:
    """A model that keeps all its scores is loaded beside one that keeps few, and one of other files beside another."""
    return card.name, card.version, card.output.top_k, *((uri, card.pinned(uri)) for uri in card.files.values())
