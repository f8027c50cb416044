"""Loaded models of one process: each loaded once, used by a bounded number of calls, evicted under a memory limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_agentic.exceptions import ModelUnavailableError
from airflow_agentic.runtime import ModelProcess, Predictor, predict_records, start
from airflow_agentic.spec.model import ModelCard

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

Start = Callable[[ModelCard], Predictor]


@dataclass
class _Loaded:
    """A model's place in the pool; its lock is held while the model is loaded, called or evicted."""

    card: ModelCard
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    predictor: Predictor | None = None
    used: float = 0.0

    @property
    def memory(self) -> int:
        """What it takes: measured for a process, declared otherwise."""
        if isinstance(self.predictor, ModelProcess):
            return self.predictor.memory()
        return self.expected if self.predictor is not None else 0

    @property
    def expected(self) -> int:
        """What it will take, as far as the card says."""
        return self.card.profile.memory or self.card.resources.memory or 0


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
        clock: Callable[[], float] = time.monotonic,
        starter: Start | None = None,
    ) -> None:
        self.memory_limit = memory_limit
        self.clock = clock
        self._start = starter or (lambda card: start(card, allowed_handlers=allowed_handlers, cache_dir=cache_dir))
        self._models: dict[str, _Loaded] = {}
        self._under_way: dict[str, int] = {}
        self._background: set[asyncio.Task[pa.Table]] = set()

    @property
    def load(self) -> Mapping[str, int]:
        """Calls under way or waiting, by model."""
        return self._under_way

    @property
    def loaded(self) -> tuple[str, ...]:
        """The models in memory."""
        return tuple(name for name, model in self._models.items() if model.predictor is not None)

    async def predict(
        self, card: ModelCard, records: pa.Table, *, top_k: int | None, timeout: float | None
    ) -> pa.Table:
        """Answer ``records`` (``tables.PREDICTION``).

        A caller that is cancelled leaves the batch in hand to finish; a batch that exceeds ``timeout`` (seconds) has
        its model process killed.

        :raises ModelUnavailableError: the process died or was killed for time.
        """
        task = asyncio.ensure_future(self._call(card, records, top_k))
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        done, _ = await asyncio.wait({task}, timeout=timeout)
        if task in done:
            return task.result()
        model = self._models.get(card.name)
        if model is not None and isinstance(model.predictor, ModelProcess):
            model.predictor.kill()
        task.add_done_callback(lambda finished: finished.cancelled() or finished.exception())
        raise ModelUnavailableError(f"{card.name!r} did not answer within {timeout:.3g} s")

    async def _call(self, card: ModelCard, records: pa.Table, top_k: int | None) -> pa.Table:
        model = self._models.setdefault(card.name, _Loaded(card))
        self._under_way[card.name] = self._under_way.get(card.name, 0) + 1
        try:
            async with model.lock:
                predictor = model.predictor
                if predictor is None:
                    await self._make_room(model)
                    predictor = model.predictor = await asyncio.to_thread(self._start, card)
                try:
                    return await asyncio.to_thread(predict_records, predictor, card, records, top_k=top_k)
                except ModelUnavailableError:
                    model.predictor = None
                    await asyncio.to_thread(predictor.close)
                    raise
                finally:
                    model.used = self.clock()
        finally:
            self._under_way[card.name] -= 1

    async def _make_room(self, wanted: _Loaded) -> None:
        if self.memory_limit is None:
            return
        idle = [one for one in self._models.values() if one.predictor is not None and not one.lock.locked()]
        for model in sorted(idle, key=lambda one: one.used):
            if sum(one.memory for one in self._models.values()) + wanted.expected <= self.memory_limit:
                return
            await self._evict(model)

    async def _evict(self, model: _Loaded) -> None:
        async with model.lock:
            predictor, model.predictor = model.predictor, None
            if predictor is not None:
                await asyncio.to_thread(predictor.close)

    async def close(self) -> None:
        """End every model."""
        for task in list(self._background):
            task.cancel()
        for model in self._models.values():
            if isinstance(model.predictor, ModelProcess):
                model.predictor.kill()
            await self._evict(model)
