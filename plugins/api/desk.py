"""Where blocking work is done: in few threads of its own, so that a store that is away does not stop Airflow's API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from airflow_agentic.plugins.api.problems import RETRY_SECONDS, ProblemError

T = TypeVar("T")

THREADS: Final = 4
WAITING: Final = 32
"""Requests that are read for or wait; further ones are refused."""
SECONDS: Final = 30.0
"""A request is answered within."""


class Desk:
    """Does work in threads, for one event loop."""

    def __init__(self, *, waiting: int = WAITING, seconds: float = SECONDS) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="agentic")
        self._free = waiting
        self._seconds = seconds

    async def __call__(self, work: Callable[[], T]) -> T:
        """What ``work`` returns.

        :raises ProblemError: too many wait already, or it takes too long; its thread then ends by itself.
        """
        if self._free <= 0:
            raise ProblemError(503, "too many requests are being read for; try again", retry_after=RETRY_SECONDS)
        self._free -= 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        future.add_done_callback(self._give_back)
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.shield(future)
        except TimeoutError:
            future.cancel()
            detail = f"the artifact store gave no answer within {self._seconds:g} s; try again, or ask for less"
            raise ProblemError(503, detail, retry_after=RETRY_SECONDS) from None

    def _give_back(self, future: asyncio.Future[T]) -> None:
        self._free += 1
        if not future.cancelled():
            future.exception()  # nobody may be there to hear it
