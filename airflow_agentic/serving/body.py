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


async def read_body(receive: Receive, limit: int, seconds: float) -> bytes:
    """The whole body.

    :param limit: bytes; what the client says of the length is not asked.
    :param seconds: that the client may take to send it.
    :raises HttpError: it is too large (413), or too slow (408).
    :raises ClientGoneError: the client has gone.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    late = loop.call_later(seconds, task.cancel, _TOO_SLOW) if task is not None else None
    try:
        message = await receive()
        body: bytes = _part(message, limit)
        if not message.get("more_body"):
            return body
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            part = _part(message, limit - size)
            size += len(part)
            parts.append(part)
        return b"".join(parts)
    except asyncio.CancelledError as cancelled:
        if task is None or cancelled.args != (_TOO_SLOW,):
            raise
        task.uncancel()
        raise HttpError(408, f"the body did not arrive within {seconds:g} s; send it faster, or in parts") from None
    finally:
        if late is not None:
            late.cancel()


_TOO_SLOW: Final = "the body is too slow"


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
