"""Bodies of HTTP requests: counted as they come, in a bounded time, decompressed within the same bound."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from airflow_agentic.exceptions import AgenticError, OverloadedError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = MutableMapping[str, Any]

WATCH_SECONDS: Final = 1.0
"""How often it is looked which bodies are too slow."""
LINGER_SECONDS: Final = 5.0
LINGER_BYTES: Final = 128 * 2**20
"""How long, and how much, a client that was refused may go on sending, so that it reads why."""
APART_FROM: Final = 1024
"""Bytes that are decompressed in a thread, for they may become a thousand times as many."""
RETRY_SECONDS: Final = 1.0
GZIP: Final = 16 + zlib.MAX_WBITS
_ENCODINGS: Final = {b"gzip": GZIP, b"x-gzip": GZIP, b"deflate": zlib.MAX_WBITS}
_TOO_SLOW: Final = "the body is too slow"


class HttpError(AgenticError, ValueError):
    """A request that is refused before it is understood, with its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class ClientGoneError(AgenticError, ConnectionError):
    """The client closed the connection: nobody reads an answer."""


class Bodies:
    """Reads requests' bodies, and bounds each of them and all together.

    :param limit: bytes of a body, before and after decompression.
    :param seconds: that a client may take to send one.
    :param together: bytes of all bodies that have begun to arrive, or are :meth:`holding`; a lone one may be larger.
    :param way_out: what a client can do whose body is too large.
    """

    def __init__(
        self,
        limit: int,
        seconds: float,
        together: int,
        *,
        way_out: str = "send fewer records at once",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = limit
        self._seconds = seconds
        self._together = together
        self._way_out = way_out
        self._clock = clock
        self._held = 0
        self._reading: dict[asyncio.Task[Any], float] = {}
        self._watcher: asyncio.Task[None] | None = None

    async def read(self, receive: Receive, length: int = 0) -> bytes:
        """The whole body, as it was sent.

        :param length: bytes, as the client says: more than the limit is refused before any is read.
        :raises HttpError: it is too large (413), or too slow (408).
        :raises OverloadedError: too much is arriving.
        :raises ClientGoneError: the client has gone.
        """
        if length > self.limit:
            raise self._too_large()
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a body is read by a task")
        self._reading[task] = self._clock()
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())
        try:
            message = await receive()
            body = self._part(message)
            return await self._rest(body, receive) if message.get("more_body") else body
        except asyncio.CancelledError as cancelled:
            if cancelled.args != (_TOO_SLOW,):
                raise
            task.uncancel()
            raise HttpError(
                408, f"the body did not come whole within {self._seconds:g} s; send it faster, or a smaller one"
            ) from None
        finally:
            del self._reading[task]

    async def decoded(self, body: bytes, encoding: bytes) -> bytes:
        """``body`` as it was before its ``Content-Encoding``.

        :raises HttpError: an encoding that is not known (415), data that is damaged (400) or too large (413).
        """
        encoding = encoding.strip().lower()
        if encoding in {b"", b"identity"}:
            return body
        bits = _ENCODINGS.get(encoding)
        if bits is None:
            given = encoding.decode("latin-1")
            raise HttpError(415, f"Content-Encoding {given!r} is not known; use gzip, deflate or none")
        if len(body) < APART_FROM:
            return self._decompressed(body, bits)
        return await asyncio.to_thread(self._decompressed, body, bits)

    @contextmanager
    def holding(self, count: int) -> Iterator[None]:
        """Count a body that is whole as held, until the context ends.

        :raises OverloadedError: too much is held already.
        """
        self._hold(count, count)
        try:
            yield
        finally:
            self._held -= count

    def end_late(self) -> None:
        """End those that come too slowly. A timer each would cost more than all the rest of reading one."""
        since = self._clock() - self._seconds
        for task in [task for task, began in self._reading.items() if began <= since]:
            task.cancel(_TOO_SLOW)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self.end_late()

    async def _rest(self, body: bytes, receive: Receive) -> bytes:
        parts, size = [body], len(body)
        self._held += size
        try:
            more = True
            while more:
                message = await receive()
                part = self._part(message, size)
                self._hold(len(part), size + len(part))
                size += len(part)
                parts.append(part)
                more = bool(message.get("more_body"))
            return b"".join(parts)
        finally:
            self._held -= size

    def _hold(self, count: int, own: int) -> None:
        """Hold ``count`` bytes more, for a request that then holds ``own``."""
        if own < self._held + count > self._together:
            raise OverloadedError(
                f"the requests under way hold {self._held:,} bytes and may hold {self._together:,}; try again later",
                RETRY_SECONDS,
            )
        self._held += count

    def _part(self, message: Message, before: int = 0) -> bytes:
        if message["type"] == "http.disconnect":
            raise ClientGoneError("the client closed the connection before its request was complete")
        part: bytes = message.get("body", b"")
        if before + len(part) > self.limit:
            raise self._too_large()
        return part

    def _too_large(self) -> HttpError:
        return HttpError(413, f"the body has more than {self.limit:,} bytes; {self._way_out}")

    def _decompressed(self, body: bytes, bits: int) -> bytes:
        reader = zlib.decompressobj(bits)
        try:
            found = reader.decompress(body, self.limit + 1)
        except zlib.error as error:
            raise HttpError(400, f"the body is not compressed as Content-Encoding says: {error}") from None
        if len(found) > self.limit:
            raise self._too_large()
        if not reader.eof or reader.unused_data:
            raise HttpError(400, "the compressed body is cut off, or something follows it; send it whole")
        return found


async def discard(receive: Receive) -> None:
    """Read and drop, for a while, the rest of a body that was refused.

    A connection that is closed with unread data is reset, and the answer may be lost with it.
    """
    dropped = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            more = True
            while more and dropped < LINGER_BYTES:
                message = await receive()
                dropped += len(message.get("body", b""))
                more = message["type"] != "http.disconnect" and message.get("more_body", False)
