"""Bodies of HTTP requests, read to a bound, and the few headers that the inference path looks at."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

from airflow_agentic.exceptions import AgenticError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

WATCH_SECONDS: Final = 1.0
"""How often it is looked which bodies are too slow."""
_TOO_SLOW: Final = "the body is too slow"
_GZIP: Final = 16 + zlib.MAX_WBITS
_ENCODINGS: Final = {b"gzip": _GZIP, b"x-gzip": _GZIP, b"deflate": zlib.MAX_WBITS}


class HttpError(AgenticError, ValueError):
    """A request that is refused before it is understood, with its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class ClientGoneError(AgenticError, ConnectionError):
    """The client closed the connection."""


class Headers:
    """The headers that matter here, each read once from the scope's list."""

    __slots__ = ("accept_encoding", "content_encoding", "json_length", "timeout_ms")

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self.json_length: int | None = None
        self.timeout_ms: int | None = None
        self.content_encoding = self.accept_encoding = b""
        for name, value in pairs:
            if name == b"inference-header-content-length":
                self.json_length = _number("Inference-Header-Content-Length", value)
            elif name == b"x-request-timeout-ms":
                self.timeout_ms = _number("X-Request-Timeout-Ms", value)
            elif name == b"content-encoding":
                self.content_encoding = value.strip().lower()
            elif name == b"accept-encoding":
                self.accept_encoding = value


def _number(name: str, value: bytes) -> int:
    if not value.isdigit() or len(value) > 15:
        raise HttpError(400, f"{name}: expected a whole number, found {value.decode('latin-1')!r}")
    return int(value)


class Bodies:
    """Reads bodies to a bound, and ends those that come too slowly.

    A timer a request would cost more than all the rest of reading it: one task looks at all of them every second.

    :param limit: bytes; what the client says of the length is not asked.
    :param seconds: that a client may take to send it.
    """

    def __init__(self, limit: int, seconds: float, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._reading: dict[asyncio.Task[Any], float] = {}
        self._watcher: asyncio.Task[None] | None = None

    async def read(self, receive: Receive) -> bytes:
        """The whole body.

        :raises HttpError: it is too large (413), or too slow (408).
        :raises ClientGoneError: the client has gone.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a body is read by a task")
        self._reading[task] = self._clock()
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())
        try:
            message = await receive()
            body = _part(message, self._limit)
            return await self._longer(body, receive) if message.get("more_body") else body
        except asyncio.CancelledError as cancelled:
            if cancelled.args != (_TOO_SLOW,):
                raise
            task.uncancel()
            raise HttpError(
                408, f"the body did not arrive within {self._seconds:g} s; send it faster, or fewer records at once"
            ) from None
        finally:
            del self._reading[task]

    async def _longer(self, body: bytes, receive: Receive) -> bytes:
        parts, size = [body], len(body)
        more = True
        while more:
            message = await receive()
            part = _part(message, self._limit - size)
            size += len(part)
            parts.append(part)
            more = message.get("more_body", False)
        return b"".join(parts)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            since = self._clock() - self._seconds
            for task in [task for task, began in self._reading.items() if began < since]:
                task.cancel(_TOO_SLOW)


def _part(message: Message, left: int) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGoneError("the client closed the connection before its request was complete")
    part: bytes = message.get("body", b"")
    if len(part) > left:
        raise HttpError(413, "the body is larger than this server takes; send fewer records at once")
    return part


def decompressed(body: bytes, encoding: bytes, limit: int) -> bytes:
    """``body`` as it was before its ``Content-Encoding``.

    :raises HttpError: an encoding that is not known (415), data that is damaged (400) or too large (413).
    """
    if encoding in {b"", b"identity"}:
        return body
    bits = _ENCODINGS.get(encoding)
    if bits is None:
        raise HttpError(415, f"Content-Encoding {encoding.decode('latin-1')!r} is not known; use gzip, deflate or none")
    reader = zlib.decompressobj(bits)
    try:
        found = reader.decompress(body, limit + 1)
    except zlib.error as error:
        raise HttpError(400, f"the body is no {encoding.decode()}: {error}") from None
    if len(found) > limit:
        raise HttpError(413, "the body is larger than this server takes, once decompressed; send fewer records at once")
    if not reader.eof or reader.unused_data:
        raise HttpError(400, f"the body is no whole {encoding.decode()} stream")
    return found


def compressed(parts: Iterable[bytes], accepted: bytes) -> bytes | None:
    """The body as gzip, where the client takes it."""
    if b"gzip" not in accepted or b"gzip;q=0" in accepted.replace(b" ", b""):
        return None
    writer = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
    return b"".join([*map(writer.compress, parts), writer.flush()])
