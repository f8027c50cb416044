"""Connections of our servers: uvicorn's, with what it leaves open: a bound on what comes before a body.

uvicorn waits for a request's head for ever, and keeps all of it: here it must be whole in time, and not too long. A
connection too many is closed at once, so that files are left for other things.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

HEAD_SECONDS: Final = 10.0
"""How long a client may take for a request's head, the first line and the headers."""
HEAD_BYTES: Final = 64 * 2**10
"""More of a head, or as much again as came with the end of one, is refused."""
HEAD_FIELDS: Final = 100
LINGER_SECONDS: Final = 1.0
LINGER_BYTES: Final = 2**20
"""How long, and how much, a client whose head was refused may go on sending, so that it reads why."""
FRESH_SECONDS: Final = 1.0
"""How long a client that has just connected when the server ends may take to ask."""
SPARE_FILES: Final = 256
"""Open files that are not for connections."""

Refusal = Callable[[int, str], tuple[str, bytes]]
"""The media type and the body of an answer that refuses: from its status, and why."""


class Connection(HttpToolsProtocol):  # type: ignore[misc,unused-ignore]  # uvicorn is typed where it is installed
    """A client's connection.

    uvicorn makes these: what is not its own is bound before, by :func:`functools.partial`.

    :param refusal: how the server says what is wrong with a request that never reaches it.
    :param head_seconds: see :data:`HEAD_SECONDS`.
    :param most: connections of this process; see :func:`most_connections`.
    """

    def __init__(
        self, *arguments: Any, refusal: Refusal, head_seconds: float = HEAD_SECONDS, most: int = 2**20, **named: Any
    ) -> None:
        super().__init__(*arguments, **named)
        self._refusal = refusal
        self._head_seconds = head_seconds
        self._most = most
        self._in_head = True
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._refused = False
        self._dropped = 0
        self._ending = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """A client connects."""
        super().connection_made(transport)
        if len(self.connections) > self._most:
            transport.abort()
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request, or of several."""
        if self._refused:
            self._drop(data)
            return
        super().data_received(data)
        if self._in_head and not self._refused:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(431, _TOO_LARGE)
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
        if len(self.headers) > HEAD_FIELDS:
            self._refuse(431, _TOO_LARGE)
        elif not self._refused:
            super().on_headers_complete()
            if self._ending:
                self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """A part of the body, unless its head was refused."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if not self._refused:
            super().on_message_complete()

    def shutdown(self) -> None:
        """The server ends. A client that has just connected may ask once."""
        self._ending = True
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None and not self.transport.is_closing():
            self._stop_timer()
            self._head_timer = self.loop.call_later(FRESH_SECONDS, self.transport.close)
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is refused; uvicorn calls this."""
        self._refuse(400, f"{msg.rstrip('.')}: its request line, headers or framing are wrong; see RFC 9112")

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self._head_seconds, self._late)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _late(self) -> None:
        if self._head_bytes:
            self._refuse(408, f"the headers did not come whole within {self._head_seconds:g} s; send them faster")
        else:
            self.transport.close()

    def _refuse(self, status: int, why: str) -> None:
        """Answer without a request, and close. While another answer is on its way, that is the last one.

        What still comes is dropped for a moment: a connection that is closed with unread data is reset, and the answer
        may be lost with it.
        """
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        cycle: RequestResponseCycle | None = self.cycle  # there is none before the first request
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False
            if cycle.more_body:  # it would wait for it in vain
                self.transport.close()
            return
        self._unset_keepalive_if_required()
        media_type, body = self._refusal(status, why)
        head = b"content-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head % (media_type.encode(), len(body)) + body)
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _drop(self, data: bytes) -> None:
        self._dropped += len(data)
        if self._dropped > LINGER_BYTES:
            self.transport.close()


_TOO_LARGE: Final = (
    f"the head has more than {HEAD_BYTES:,} bytes or {HEAD_FIELDS} fields; send fewer or shorter headers"
)


def most_connections() -> int:
    """How many connections a process may have; raises its limit of open files as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard and hard != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return max(SPARE_FILES, soft - SPARE_FILES)
