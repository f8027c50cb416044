"""Who may come in: so many requests of a workflow at once, a bounded waiting room, and short waits under overload.

How many is learned, for a model behind a service may take one request or a hundred. While all places are taken, the
answers of a window are compared with how long they take in calm: more places where that is less than twice as long,
fewer otherwise (additive increase, multiplicative decrease, as TCP does; with latency as the signal as in TCP Vegas and
Netflix' *concurrency-limits*). Means are geometric, so that a mixture of quick and slow answers has a steady one.

A burst may wait for its turn. A queue that does not become empty is no burst: there a request waits half as long as an
answer takes in calm, and is then told to come again (B. Maurer, *Fail at Scale*, ACM Queue 13(8), 2015). Where nothing
is answered any more, as while a model restarts, that is a stall: who comes then may wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from airflow_agentic.serving.gateway.problems import DEADLINE, OVERLOADED, ProblemError

FIRST_SECONDS: Final = 0.05
BURST_SECONDS: Final = 0.1
"""A queue that is not empty for so long is no burst."""
CALM_SECONDS: Final = 1.0
"""Nor is one for so long after a request was refused."""
STALL_SECONDS: Final = 0.5
"""No answer for so long, though all places are taken, is a stall; it is over when answers came for twice as long."""
STANDING_WAIT: Final = 0.5
"""Of the time that an answer takes in calm: how long a request waits in a queue that is no burst."""
SHORTEST_WAIT: Final = 0.005
"""Seconds that a request may wait however quick the answers are."""
WINDOW: Final = 32
"""Answers of which a mean is taken."""
TOLERANCE: Final = 2.0
"""Of the time that an answer takes in calm; more is too slow."""
LEAST: Final = 1
"""Place that there always is: how long an answer takes alone is the calm."""
FIRST: Final = 32
"""Places before anything is learned."""
INCREASE: Final = 0.1
"""Of the places, but one or more."""
DECREASE: Final = 0.8
LARGEST_DECREASE: Final = 0.25


class LearnedPlaces:
    """How many requests may be answered at once.

    :param most: never more.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._places = float(min(FIRST, most))
        self.calm: float | None = None
        """Seconds that an answer takes while few others are under way; ``None``: not known yet."""
        self._taken = False
        self._changed = -math.inf
        self._logarithms: list[float] = []

    @property
    def count(self) -> int:
        """The places."""
        return int(self._places)

    def all_taken(self) -> None:
        """A request found no place; only then is it worth while to change their number."""
        self._taken = True

    def observe(self, began: float, ended: float) -> None:
        """A request was answered; one without an answer tells nothing.

        :param began: when it had its place, in seconds: before the last change it tells nothing of that.
        """
        if began < self._changed:
            return
        self._logarithms.append(math.log(max(ended - began, 1e-6)))
        if len(self._logarithms) < WINDOW:
            return
        mean = math.exp(math.fsum(self._logarithms) / WINDOW)
        taken, self._taken = self._taken, False
        self._logarithms.clear()
        if self.calm is None or mean < self.calm:
            self.calm = mean
        elif taken:
            self._adapt(mean, self.calm)
            self._changed = ended

    def _adapt(self, mean: float, calm: float) -> None:
        if mean <= TOLERANCE * calm:
            self._places = min(float(self._most), self._places + max(1.0, self._places * INCREASE))
        elif self._places <= LEAST:
            self.calm = mean  # the models have become slower
        else:
            factor = max(LARGEST_DECREASE, min(DECREASE, TOLERANCE * calm / mean))
            self._places = max(float(LEAST), self._places * factor)


class Admission:
    """The places of one workflow, handed on in the order of arrival.

    :param running: places, at most.
    :param waiting: who may wait for one.
    """

    def __init__(self, *, running: int, waiting: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.places = LearnedPlaces(running)
        self.room = waiting
        self.clock = clock
        self.running = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._seconds = FIRST_SECONDS
        """Between two places that become free, smoothed."""
        self._freed = self._empty = clock()
        self._refused = self._stalled = -math.inf

    @property
    def waiting(self) -> int:
        """Who waits now."""
        return len(self._queue)

    async def enter(self, *, seconds: float, patient: bool = False) -> None:
        """Take a place; who does must :meth:`leave`.

        :param seconds: to wait for one.
        :param patient: whether to wait also under overload: a request that was let in goes on.
        :raises ProblemError: ``overloaded``, with an estimate of when to come again; ``deadline-exceeded``.
        """
        if self.running < self.places.count and not self._queue:
            self.running += 1
            return
        self.places.all_taken()
        if len(self._queue) >= self.room and not patient:
            raise self._overloaded(f"{len(self._queue)} wait, which is the most")
        wait = seconds if patient else self._wait_seconds(seconds)
        try:
            async with asyncio.timeout(wait):
                await self._wait()
        except TimeoutError:
            if wait < seconds:
                raise self._overloaded(f"this one got no place within {wait:.3g} s") from None
            detail = f"there was no place for the request within {seconds:.3g} s: {self.running} are being answered"
            raise ProblemError(DEADLINE, detail, retry_after=self._come_again()) from None

    def leave(self) -> None:
        """Give the place to who waits longest."""
        now = self.clock()
        if self._queue:
            self._seconds += 0.2 * (now - self._freed - self._seconds)
        self._freed = now
        self._free()

    def answered(self, began: float) -> None:
        """Learn from a request that had its place since ``began``, by the clock, and has its answer now."""
        self.places.observe(began, self.clock())
        while self._queue and self.running < self.places.count:
            self.running += 1
            self._free()

    def _wait_seconds(self, seconds: float) -> float:
        """How long a request may wait for a place: until its time is over, but in a standing queue only shortly."""
        now = self.clock()
        if not self._queue:
            self._empty = now
        if now - self._freed > STALL_SECONDS:
            self._stalled = now
        burst = now - self._empty <= BURST_SECONDS and now - self._refused > CALM_SECONDS
        stall = now - self._stalled <= 2 * STALL_SECONDS
        if self.places.calm is None or burst or stall:
            return seconds
        return min(seconds, max(SHORTEST_WAIT, self.places.calm * STANDING_WAIT))

    def _overloaded(self, why: str) -> ProblemError:
        self._refused = self.clock()
        detail = f"{self.running} requests are being answered and {why}; try again later, or start more replicas"
        return ProblemError(OVERLOADED, detail, retry_after=self._come_again())

    def _come_again(self) -> float:
        return self._seconds * (len(self._queue) + 1)

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
        """Hand a place on, unless there are to be fewer."""
        while self._queue and self.running <= self.places.count:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.running -= 1


class Admissions:
    """An :class:`Admission` for each workflow: how long one takes says nothing of another.

    :param running: places of each, at most.
    :param waiting: who may wait for one of them.
    """

    def __init__(self, *, running: int, waiting: int) -> None:
        self._running = running
        self._waiting = waiting
        self._of: dict[str, Admission] = {}

    def of(self, workflow: str) -> Admission:
        """The one of a workflow that there is."""
        found = self._of.get(workflow)
        if found is None:
            found = self._of[workflow] = Admission(running=self._running, waiting=self._waiting)
        return found
