"""A request's body: counted as it comes, in a bounded time, decompressed within the same bound."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from airflow_agentic.serving.gateway.problems import (
    INVALID_JSON,
    TIMED_OUT,
    TOO_LARGE,
    UNSUPPORTED_MEDIA,
    ProblemError,
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = MutableMapping[str, Any]

_GZIP: Final = 31
"""zlib: a gzip header, the largest window."""


class ClientGoneError(Exception):
    """Who asked has closed the connection: nobody reads an answer."""


async def read_body(
    headers: dict[bytes, bytes], receive: Receive, *, most: int, seconds: float, take: Callable[[int], None]
) -> bytes:
    """The whole body.

    :param take: is told of bytes as they come, and may raise.
    :param most: bytes, before and after decompression. What ``Content-Length`` says can only refuse earlier.
    :param seconds: until it must have come.
    :raises ProblemError: ``too-large``, ``request-timeout``, ``unsupported-media-type``, ``invalid-json`` (bad gzip).
    :raises ClientGoneError: the connection was closed.
    """
    told = headers.get(b"content-length", b"")
    if told.isdigit() and int(told) > most:
        raise _too_large(most)
    encoding = headers.get(b"content-encoding", b"identity").lower()
    if encoding not in {b"identity", b"gzip"}:
        detail = f"the encoding {encoding.decode('latin-1')!r} is not read; send gzip, or none"
        raise ProblemError(UNSUPPORTED_MEDIA, detail, headers=[("accept-encoding", "gzip")])
    try:
        async with asyncio.timeout(seconds):
            body = await _whole(receive, most, take)
    except TimeoutError:
        detail = f"the body did not come whole within {seconds:g} s; send it faster, or a smaller one"
        raise ProblemError(TIMED_OUT, detail, headers=[("connection", "close")]) from None
    return _unzipped(body, most, take) if encoding == b"gzip" else body


async def _whole(receive: Receive, most: int, take: Callable[[int], None]) -> bytes:
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part, more = message.get("body", b""), message.get("more_body", False)
        size += len(part)
        if size > most:
            raise _too_large(most)
        take(len(part))
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _unzipped(body: bytes, most: int, take: Callable[[int], None]) -> bytes:
    inflate = zlib.decompressobj(_GZIP)
    try:
        whole = inflate.decompress(body, most + 1)
    except zlib.error as error:
        raise ProblemError(INVALID_JSON, f"the body is no gzip ({error}), as Content-Encoding says") from error
    if len(whole) > most:
        raise _too_large(most)
    if not inflate.eof or inflate.unused_data:
        raise ProblemError(INVALID_JSON, "the gzip body is cut off, or something follows it; send it whole")
    take(len(whole))
    return whole


def _too_large(most: int) -> ProblemError:
    detail = f"the body has more than {most:,} bytes; send less, name large inputs by uri, or send NDJSON"
    return ProblemError(TOO_LARGE, detail, headers=[("connection", "close")])
