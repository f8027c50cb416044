"""Who may come in: so many requests at once, a bounded waiting room, nobody while the gateway is being stopped."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Self

from airflow_agentic.serving.gateway.problems import DRAINING, OVERLOADED, ProblemError


class Admission:
    """A bounded number of places, handed on in the order of arrival.

    ``async with admission:`` waits for a place.

    :param running: places.
    :param waiting: who may wait for one.
    :raises ProblemError: ``overloaded``, with an estimate of when to come again; ``draining``.
    """

    def __init__(self, *, running: int, waiting: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = running
        self.room = waiting
        self.clock = clock
        self.running = 0
        self.draining = False
        self._queue: deque[asyncio.Future[None]] = deque()
        self._seconds = 0.05
        """Between two places that become free, smoothed."""
        self._freed = clock()

    @property
    def waiting(self) -> int:
        """Who waits now."""
        return len(self._queue)

    async def __aenter__(self) -> Self:
        if self.draining:
            raise ProblemError(DRAINING, "the gateway is being stopped; ask another replica", retry_after=1)
        if self.running < self.limit and not self._queue:
            self.running += 1
            return self
        if len(self._queue) >= self.room:
            raise ProblemError(
                OVERLOADED,
                f"{self.running} requests are being answered and {len(self._queue)} wait, which is the most; "
                "try again later, or start more replicas",
                retry_after=self._seconds * (len(self._queue) + 1),
            )
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._free()
            else:
                with contextlib.suppress(ValueError):
                    self._queue.remove(place)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        now = self.clock()
        if self._queue:
            self._seconds += 0.2 * (now - self._freed - self._seconds)
        self._freed = now
        self._free()

    def _free(self) -> None:
        """The place goes to who waits longest, else it is free."""
        while self._queue:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.running -= 1
