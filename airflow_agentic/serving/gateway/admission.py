"""Who may come in: so many requests at once, and a bounded waiting room."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from airflow_agentic.serving.gateway.problems import DEADLINE, OVERLOADED, ProblemError

FIRST_SECONDS: Final = 0.05


class Admission:
    """A bounded number of places, handed on in the order of arrival.

    :param running: places.
    :param waiting: who may wait for one.
    """

    def __init__(self, *, running: int, waiting: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = running
        self.room = waiting
        self.clock = clock
        self.running = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._seconds = FIRST_SECONDS
        """Between two places that become free, smoothed."""
        self._freed = clock()

    @property
    def waiting(self) -> int:
        """Who waits now."""
        return len(self._queue)

    async def enter(self, *, seconds: float, patient: bool = False) -> None:
        """Take a place; who does must :meth:`leave`.

        :param seconds: to wait for one.
        :param patient: whether to wait also where the waiting room is full: a request that was let in goes on.
        :raises ProblemError: ``overloaded``, with an estimate of when to come again; ``deadline-exceeded``.
        """
        if self.running < self.limit and not self._queue:
            self.running += 1
            return
        if len(self._queue) >= self.room and not patient:
            raise ProblemError(
                OVERLOADED,
                f"{self.running} requests are being answered and {len(self._queue)} wait, which is the most; "
                "try again later, or start more replicas",
                retry_after=self._seconds * (len(self._queue) + 1),
            )
        try:
            async with asyncio.timeout(seconds):
                await self._wait()
        except TimeoutError:
            detail = f"there was no place for the request within {seconds:.3g} s: {self.running} are being answered"
            raise ProblemError(DEADLINE, detail, retry_after=self._seconds * (len(self._queue) + 1)) from None

    def leave(self) -> None:
        """Give the place to who waits longest."""
        now = self.clock()
        if self._queue:
            self._seconds += 0.2 * (now - self._freed - self._seconds)
        self._freed = now
        self._free()

    async def _wait(self) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._free()  # it was given a place that it does not take
            else:
                with contextlib.suppress(ValueError):
                    self._queue.remove(place)
            raise

    def _free(self) -> None:
        while self._queue:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.running -= 1
