"""NDJSON: lines out of a body that comes in parts, answers out as they are made; memory is bounded on both sides."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from airflow_agentic.serving.bodies import ClientGoneError, Receive, Send
from airflow_agentic.serving.gateway.problems import TIMED_OUT, ProblemError

AHEAD_BYTES: Final = 8 * 2**20
"""Answers that wait for a client which sends first and reads later. Then it must read, before more is taken from it."""


@dataclass
class Lines:
    """The lines of a body.

    :param most: bytes of one; of a longer one only its number is kept.
    :param seconds: until the next bytes must come.
    """

    receive: Receive
    most: int
    seconds: float
    _rest: bytearray = field(default_factory=bytearray)
    _skipping: bool = False
    _number: int = 0

    async def parts(self, most: int) -> AsyncIterator[list[tuple[int, bytes | None]]]:
        """Up to ``most`` numbered lines at a time, as soon as some are there; ``None`` is a line that is too long.

        :raises ProblemError: ``request-timeout``.
        :raises ClientGoneError: the connection was closed.
        """
        more = True
        while more:
            body, more = await self._next()
            self._rest += body
            lines = list(self._split(last=not more))
            for start in range(0, len(lines), most):
                yield lines[start : start + most]

    async def _next(self) -> tuple[bytes, bool]:
        try:
            async with asyncio.timeout(self.seconds):
                message = await self.receive()
        except TimeoutError:
            detail = f"the next bytes did not come within {self.seconds:g} s; send the lines faster, or end the body"
            raise ProblemError(TIMED_OUT, detail, headers=[("connection", "close")]) from None
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        return message.get("body", b""), message.get("more_body", False)

    def _split(self, *, last: bool) -> list[tuple[int, bytes | None]]:
        *whole, rest = bytes(self._rest).split(b"\n")
        if last:
            whole, rest = [*whole, rest], b""
        found = [numbered for line in whole if (numbered := self._line(line)) is not None]
        if len(rest) > self.most:
            self._skipping, rest = True, b""
        self._rest = bytearray(rest)
        return found

    def _line(self, line: bytes) -> tuple[int, bytes | None] | None:
        """A line with its number, from 1; an empty one is none."""
        self._number += 1
        long, self._skipping = self._skipping or len(line) > self.most, False
        if long:
            return self._number, None
        return (self._number, line) if line.strip() else None


class Outbox:
    """Sends answers while more are made, for a client that may read them late. For one producer.

    :param seconds: a client may take to make room; then it is given up.
    """

    def __init__(self, send: Send, *, seconds: float, most: int = AHEAD_BYTES) -> None:
        self._send = send
        self._seconds = seconds
        self._most = most
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._room, self._work = asyncio.Event(), asyncio.Event()
        self._ended = False
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(lambda _: self._room.set())

    async def put(self, content: bytes) -> None:
        """Send it, soon.

        :raises ClientGoneError: the client reads nothing.
        """
        while self._size >= self._most and not self._task.done():
            self._room.clear()
            await self._room.wait()
        if self._task.done():
            raise ClientGoneError
        self._waiting.append(content)
        self._size += len(content)
        self._work.set()

    async def end(self) -> None:
        """Return once all is sent.

        :raises ClientGoneError: the client did not take it in time.
        """
        self._ended = True
        self._work.set()
        await self._task

    async def drop(self) -> None:
        """Send no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            while self._waiting:
                content = self._waiting.popleft()
                try:
                    async with asyncio.timeout(self._seconds):
                        await self._send({"type": "http.response.body", "body": content, "more_body": True})
                except TimeoutError:
                    raise ClientGoneError from None
                self._size -= len(content)
                self._room.set()
            if self._ended:
                return
            self._work.clear()
            await self._work.wait()
