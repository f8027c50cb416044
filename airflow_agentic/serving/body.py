"""Bodies of HTTP requests, read to bounds, and the few headers that the inference path looks at."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from typing import Any, Final

from airflow_agentic.exceptions import AgenticError, OverloadedError

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
    """The headers that matter here, each read once from the scope's list; numbers are looked at when they are used."""

    __slots__ = ("_json_length", "_length", "_timeout_ms", "accept_encoding", "content_encoding")

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self._json_length: bytes | None = None
        self._timeout_ms: bytes | None = None
        self._length = b""
        self.content_encoding = self.accept_encoding = b""
        for name, value in pairs:
            if name == b"content-length":
                self._length = value
            elif name == b"inference-header-content-length":
                self._json_length = value
            elif name == b"x-request-timeout-ms":
                self._timeout_ms = value
            elif name == b"content-encoding":
                self.content_encoding = value.strip().lower()
            elif name == b"accept-encoding":
                self.accept_encoding = value

    @property
    def length(self) -> int:
        """Bytes of the body, as the client says; 0 where it does not."""
        return int(self._length) if self._length.isdigit() else 0

    @property
    def json_length(self) -> int | None:
        """``Inference-Header-Content-Length``.

        :raises HttpError: it is no number.
        """
        return None if self._json_length is None else _number("Inference-Header-Content-Length", self._json_length)

    @property
    def timeout_ms(self) -> int | None:
        """``X-Request-Timeout-Ms``.

        :raises HttpError: it is no number.
        """
        return None if self._timeout_ms is None else _number("X-Request-Timeout-Ms", self._timeout_ms)


def _number(name: str, value: bytes) -> int:
    if not value.isdigit() or len(value) > 15:
        raise HttpError(400, f"{name}: expected a whole number, found {value.decode('latin-1')!r}")
    return int(value)


class Bodies:
    """Reads requests' bodies, and bounds each of them and all together.

    :param limit: bytes of a body.
    :param seconds: that a client may take to send one.
    :param together: bytes of all bodies that have begun to arrive and are not whole yet.
    """

    def __init__(self, limit: int, seconds: float, together: int, clock: Callable[[], float]) -> None:
        self.limit = limit
        self._seconds = seconds
        self._together = together
        self._clock = clock
        self._held = 0
        self._reading: dict[asyncio.Task[Any], float] = {}
        self._watcher: asyncio.Task[None] | None = None

    async def read(self, receive: Receive, length: int = 0) -> bytes:
        """The whole body.

        :param length: bytes, as the client says: more than the limit is refused before any is read.
        :raises HttpError: it is too large (413), or too slow (408).
        :raises OverloadedError: too much is arriving.
        :raises ClientGoneError: the client has gone.
        """
        if length > self.limit:
            raise _too_large(self.limit)
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a body is read by a task")
        self._reading[task] = self._clock()
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())
        try:
            message = await receive()
            body = _part(message, self.limit)
            return await self._rest(body, receive) if message.get("more_body") else body
        except asyncio.CancelledError as cancelled:
            if cancelled.args != (_TOO_SLOW,):
                raise
            task.uncancel()
            raise HttpError(
                408, f"the body did not arrive within {self._seconds:g} s; send it faster, or fewer records at once"
            ) from None
        finally:
            del self._reading[task]

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self.end_late()

    def end_late(self) -> None:
        """End those that come too slowly. A timer each would cost more than all the rest of reading one."""
        since = self._clock() - self._seconds
        for task in [task for task, began in self._reading.items() if began <= since]:
            task.cancel(_TOO_SLOW)

    async def _rest(self, body: bytes, receive: Receive) -> bytes:
        parts, size = [body], len(body)
        self._held += size
        try:
            more = True
            while more:
                message = await receive()
                part = _part(message, self.limit, size)
                size += len(part)
                self._held += len(part)
                if self._held > self._together and size < self._held:
                    raise OverloadedError(
                        f"{self._held / 2**20:.0f} MiB of requests are arriving already; ask later, or less at once"
                    )
                parts.append(part)
                more = bool(message.get("more_body"))
            return b"".join(parts)
        finally:
            self._held -= size


def _part(message: Message, limit: int, before: int = 0) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGoneError("the client closed the connection before its request was complete")
    part: bytes = message.get("body", b"")
    if before + len(part) > limit:
        raise _too_large(limit)
    return part


def _too_large(limit: int) -> HttpError:
    return HttpError(
        413, f"the body is larger than the {limit} bytes that this server takes; send fewer records at once"
    )


async def discard(receive: Receive, seconds: float) -> None:
    """Read the rest of a body that was refused: a client that is still sending would not see the answer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            message = await receive()
            while message["type"] != "http.disconnect" and message.get("more_body"):
                message = await receive()


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
        raise HttpError(
            413,
            f"the body is larger than the {limit} bytes that this server takes, once decompressed; "
            "send fewer records at once",
        )
    if not reader.eof or reader.unused_data:
        raise HttpError(400, f"the body is no whole {encoding.decode()} stream")
    return found


def takes_gzip(accepted: bytes) -> bool:
    """Whether a client that sends this ``Accept-Encoding`` takes gzip."""
    codings = accepted.replace(b" ", b"").lower().split(b",")
    return any(one.startswith(b"gzip") and not one.rstrip(b".0").endswith(b";q=") for one in codings)


def compressed(body: bytes) -> bytes:
    """The body as gzip."""
    writer = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
    return writer.compress(body) + writer.flush()
