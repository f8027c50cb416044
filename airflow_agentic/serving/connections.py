"""Connections of the model server: uvicorn's, with bounds on what comes before a body.

uvicorn waits for a request's head for ever, and keeps all of it: here it must be whole in time, and not too long. A
connection too many is closed at once, so that files are left for models to be loaded.
"""

from __future__ import annotations

import asyncio
import resource
from http import HTTPStatus
from typing import Any, Final

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS: Final = 10.0
"""How long a client may take for a request's head, the first line and the headers."""
HEAD_BYTES: Final = 64 * 2**10
"""More of a head, or as much again as came with the end of one, is refused."""
FRESH_SECONDS: Final = 1.0
"""How long a client that has just connected when the server ends may take to ask."""
SPARE_FILES: Final = 256
"""Open files that are not for connections."""


class Connection(HttpToolsProtocol):  # type: ignore[misc,unused-ignore]  # uvicorn is typed where it is installed
    """A client's connection."""

    most = 2**20
    """Connections of this process; see :func:`most_connections`."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._in_head = True
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """A client connects."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.abort()
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request, or of several."""
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(431, f"the headers are larger than {HEAD_BYTES} bytes; send fewer")
            elif self._head_timer is None:
                self._expect_head()

    def on_message_begin(self) -> None:
        """A request's first byte."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """A request's head is whole."""
        self._in_head = False
        if self._head_timer is not None:
            self._stop_timer()
        super().on_headers_complete()

    def shutdown(self) -> None:
        """The server ends. A client that has just connected may ask once; the server's answer closes."""
        cycle: Any = self.cycle
        if cycle is None and not self.transport.is_closing():
            self._stop_timer()
            self._head_timer = self.loop.call_later(FRESH_SECONDS, self.transport.close)
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(400, f"{msg} It is neither a request of HTTP/1.1 nor of HTTP/1.0.")

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._late)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _late(self) -> None:
        self._refuse(408, f"the headers did not arrive within {HEAD_SECONDS:g} s")

    def _refuse(self, status: int, why: str) -> None:
        """Answer without a request, and close; where another request is still being answered, only close."""
        if self.transport.is_closing():
            return
        cycle: Any = self.cycle  # there is none before the first request
        if cycle is None or cycle.response_complete:
            body = orjson.dumps({"error": why})
            head = (
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()


def most_connections() -> int:
    """How many connections a process may have; raises its limit of open files as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard and hard != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return max(SPARE_FILES, soft - SPARE_FILES)
