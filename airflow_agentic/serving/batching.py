"""Adaptive micro-batching: requests that wait for one model are answered together.

A free model starts at once with what waits: nobody waits for a batch to fill. While it is busy, requests gather. How
many records a batch may have is learned by additive increase and multiplicative decrease, as Clipper does (Crankshaw et
al., *Clipper: A Low-Latency Online Prediction Serving System*, NSDI 2017, section 4.3): one more after each full batch
that took less than the target latency, a tenth fewer after one that took longer.

After a batch of several requests, whoever sent them is about to ask again: the next batch waits for as many requests,
but no longer than a tenth of the time that the last one took.

Requests of different shapes or datatypes are never in one batch. One whose client has gone, or whose time is over, is
left out. Where a batch fails, its requests are tried one by one, so that one bad request fails alone.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airflow_agentic.exceptions import DeadlineError, ModelMemoryError, ModelUnavailableError, OverloadedError
from airflow_agentic.serving.loaded import batch_of, parts_of

if TYPE_CHECKING:
    from airflow_agentic.runtime.base import Arrays

DECREASE: Final = 0.9
"""Clipper's back-off."""
LINGER: Final = 0.1
"""Of the last batch's time."""
MAX_LINGER: Final = 0.005
"""Seconds."""
SMOOTHING: Final = 0.1
"""Weight of the newest batch in the time that a record takes."""

Kind = tuple[tuple[str, str, tuple[int, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What may wait for one model."""

    requests: int = 1000
    bytes: int = 256 * 2**20


class BatchLimit:
    """How many records a batch may have: grows by one, shrinks by a tenth.

    :param most: never more.
    :param target: seconds that a batch may take.
    """

    def __init__(self, most: int, target: float) -> None:
        self._most = most
        self._target = target
        self._limit = 1.0

    @property
    def rows(self) -> int:
        """The limit now."""
        return int(self._limit)

    def observe(self, rows: int, seconds: float) -> None:
        """A batch of ``rows`` records took ``seconds``."""
        if seconds > self._target:
            self._limit = max(1.0, min(self._limit, rows) * DECREASE)
        elif rows >= self.rows:
            self._limit = min(float(self._most), self._limit + 1.0)

    def exceeded(self, rows: int) -> None:
        """``rows`` records took more memory than there is: never more than half as many again."""
        self._most = max(1, rows // 2)
        self._limit = min(self._limit, float(self._most))


class _Waiting:
    """A request in the queue."""

    __slots__ = ("arrays", "future", "kind", "rows", "size")

    def __init__(self, arrays: Arrays, rows: int, size: int, future: asyncio.Future[Arrays]) -> None:
        self.arrays = arrays
        self.rows = rows
        self.size = size
        self.future = future
        self.kind = kind_of(arrays)


def kind_of(arrays: Arrays) -> Kind:
    """What requests of one batch have in common."""
    return tuple((name, array.dtype.str, array.shape[1:]) for name, array in sorted(arrays.items()))


class Batcher:
    """The queue before one model, and the task that empties it.

    :param run: answers a batch; one call at a time.
    :param limit: of a batch.
    """

    def __init__(
        self,
        run: Callable[[Arrays], Awaitable[Arrays]],
        limit: BatchLimit,
        bounds: Bounds,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._limit = limit
        self._bounds = bounds
        self._clock = clock
        self._queue: deque[_Waiting] = deque()
        self._bytes = 0
        self._gathered = asyncio.Event()
        self._wanted = 1
        self.row_seconds = 0.0
        """How long a record takes, as far as earlier ones tell."""
        self._task: asyncio.Task[None] | None = None
        self._in_hand: Sequence[_Waiting] = ()
        self._took = 0.0

    @property
    def idle(self) -> bool:
        """Whether nothing waits or runs."""
        return not self._in_hand and not self._queue

    async def submit(self, arrays: Arrays, rows: int, size: int, until: float | None) -> Arrays:
        """Answer one request.

        :param size: bytes of ``arrays``.
        :param until: when its time is over, by the clock.
        :raises OverloadedError: too much waits already.
        :raises DeadlineError: its time is over.
        :raises ModelUnavailableError: the model's process is gone.
        """
        if until is not None and until <= self._clock():
            raise _too_late()
        if self._full(size):
            self._drop_finished()
        if self._full(size):
            raise OverloadedError(
                f"{len(self._queue)} requests wait already ({self._bytes / 2**20:.0f} MiB); ask later, or less at once",
                self.seconds_waiting(),
            )
        loop = asyncio.get_running_loop()
        waiting = _Waiting(arrays, rows, size, loop.create_future())
        timer = None
        if until is not None:
            timer = loop.call_later(max(0.0, until - self._clock()), _expire, waiting.future)
        self._queue.append(waiting)
        self._bytes += size
        if self._task is None:
            self._task = loop.create_task(self._work())
        if len(self._queue) >= self._wanted:
            self._gathered.set()
        try:
            return await waiting.future
        finally:
            if timer is not None:
                timer.cancel()

    def _full(self, size: int) -> bool:
        """Whether a request of ``size`` bytes is too much; a lone one is taken whatever its size."""
        queue = self._queue
        return bool(queue) and (len(queue) >= self._bounds.requests or self._bytes + size > self._bounds.bytes)

    def seconds_waiting(self) -> float:
        """How long what waits now, and is in hand, will take, as far as earlier batches tell."""
        return max(0.1, sum(one.rows for one in (*self._in_hand, *self._queue)) * self.row_seconds)

    async def settle(self, seconds: float) -> None:
        """Wait until the batch in hand has ended, but not longer than ``seconds``."""
        pending = [waiting.future for waiting in self._in_hand if not waiting.future.done()]
        if pending:
            await asyncio.wait(pending, timeout=seconds)

    async def close(self) -> None:
        """Answer what waits, then end."""
        while pending := [one.future for one in (*self._queue, *self._in_hand) if not one.future.done()]:
            await asyncio.wait(pending)
        self.stop(ModelUnavailableError("the model was unloaded"))

    def stop(self, why: Exception) -> None:
        """End at once; what waits or is in hand fails with ``why``."""
        if self._task is not None:
            self._task.cancel()
        for waiting in (*self._in_hand, *self._queue):
            _fail(waiting, why)
        self._queue.clear()
        self._in_hand, self._bytes = (), 0

    async def _work(self) -> None:
        while True:
            await self._gathered.wait()
            batch = self._take()
            if batch:
                self._in_hand = batch
                began = self._clock()
                if await self._answer(batch):
                    self._learn(sum(one.rows for one in batch), self._clock() - began)
                self._in_hand = ()
            await self._linger(len(batch))

    def _learn(self, rows: int, seconds: float) -> None:
        self._limit.observe(rows, seconds)
        self.row_seconds += (seconds / max(1, rows) - self.row_seconds) * (SMOOTHING if self.row_seconds else 1.0)
        self._took = seconds

    async def _linger(self, requests: int) -> None:
        """Wait for as many requests as the last batch had, but for a short while only."""
        self._gathered.clear()
        self._wanted = 1
        if requests > 1 and len(self._queue) < requests:
            self._wanted = requests
            try:
                async with asyncio.timeout(min(MAX_LINGER, self._took * LINGER)):
                    await self._gathered.wait()
            except TimeoutError:
                pass
            self._wanted = 1
        if self._queue:
            self._gathered.set()

    def _take(self) -> list[_Waiting]:
        """The next batch: the oldest request, and those behind it of the same kind, as many as the limit allows."""
        batch: list[_Waiting] = []
        others: list[_Waiting] = []
        rows = 0
        while self._queue and (not batch or rows < self._limit.rows):
            waiting = self._queue.popleft()
            if waiting.future.done():
                self._bytes -= waiting.size
            elif not batch or (waiting.kind == batch[0].kind and rows + waiting.rows <= self._limit.rows):
                self._bytes -= waiting.size
                batch.append(waiting)
                rows += waiting.rows
            else:
                others.append(waiting)
        self._queue.extendleft(reversed(others))
        return batch

    def _drop_finished(self) -> None:
        """Those whose clients are gone or whose time is over take no room."""
        self._queue = deque(one for one in self._queue if not one.future.done())
        self._bytes = sum(one.size for one in self._queue)

    async def _answer(self, batch: Sequence[_Waiting]) -> bool:
        """Answer the requests of ``batch``; whether they were answered together."""
        try:
            answered = await self._run(batch_of([one.arrays for one in batch]))
            parts = parts_of(answered, [one.rows for one in batch])
        except ModelUnavailableError as error:
            if isinstance(error, ModelMemoryError):
                self._limit.exceeded(sum(one.rows for one in batch))
            for waiting in batch:
                _fail(waiting, error)
            return False
        except Exception as error:  # noqa: BLE001  # a model is foreign code: whatever it raises is its requests' error
            if len(batch) == 1:
                _fail(batch[0], error)
            for waiting in batch if len(batch) > 1 else ():
                if not waiting.future.done():
                    await self._answer([waiting])
            return False
        for waiting, part in zip(batch, parts, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(part)
        return True


def _too_late() -> DeadlineError:
    return DeadlineError("the request's time was over before the model answered")


def _expire(future: asyncio.Future[Arrays]) -> None:
    if not future.done():
        future.set_exception(_too_late())


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.future.done():
        waiting.future.set_exception(error)


def whole_seconds(seconds: float | None) -> int:
    """``Retry-After`` for a wait of about ``seconds``."""
    return max(1, math.ceil(seconds or 1.0))
