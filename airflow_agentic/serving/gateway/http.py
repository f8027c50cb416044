"""HTTP/1.1 by uvicorn, with what it leaves open: a bound on the head of a request, in bytes and in time.

httptools collects a header until its end has come, however long that takes and however large it grows.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Final

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from airflow_agentic.serving.gateway.problems import (
    BAD_HTTP,
    HEADERS_TOO_LARGE,
    MEDIA_TYPE,
    TIMED_OUT,
    Kind,
    ProblemError,
)

HEAD_BYTES: Final = 32 * 1024
HEAD_FIELDS: Final = 100
LINGER_BYTES: Final = 2**20
LINGER_SECONDS: Final = 1.0


class BoundedHttp(HttpToolsProtocol):
    """A connection whose requests begin within bounds; else it is answered with a problem and closed."""

    head_seconds: ClassVar[float] = 10.0
    """Until the head of a request must have come whole."""

    @classmethod
    def within(cls, seconds: float) -> type[BoundedHttp]:
        """The same with other ``head_seconds``: uvicorn makes the connections, and passes nothing on."""
        return type("BoundedHttp", (cls,), {"head_seconds": seconds})

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head = 0
        self._in_head = True
        self._heads = 0
        self._refused = False
        self._dropped = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and look how large the head has become."""
        if self._refused:
            self._dropped += len(data)
            if self._dropped > LINGER_BYTES:
                self.transport.close()
            return
        if self._in_head and self._head_timer is None:
            self._expect_head()
        heads = self._heads
        super().data_received(data)
        if self._in_head and heads == self._heads and not self._refused:
            self._head += len(data)
            if self._head > HEAD_BYTES:
                self._refuse(HEADERS_TOO_LARGE, _TOO_LARGE)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._stop_timer()
        self._in_head, self._head, self._heads = False, 0, self._heads + 1
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > HEAD_BYTES or len(self.headers) > HEAD_FIELDS:
            self._refuse(HEADERS_TOO_LARGE, _TOO_LARGE)
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body, unless its head was refused."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole; a head may follow."""
        self._in_head = True
        if not self._refused:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is answered with a problem; uvicorn calls this."""
        if not self._refused:
            self._refuse(BAD_HTTP, f"{msg.rstrip('.')}: its request line, headers or framing are wrong; see RFC 9112")

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_seconds, self._too_late)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_late(self) -> None:
        self._head_timer = None
        if self._refused or self.transport.is_closing():
            return
        if self._head:
            self._refuse(TIMED_OUT, f"the headers did not come whole within {self.head_seconds:g} s; send them faster")
        else:
            self.transport.close()

    def _refuse(self, kind: Kind, detail: str) -> None:
        """Answer and close. While another answer is on its way, that is the last one.

        What still comes is read and dropped for a moment: a connection closed with unread data is reset, and the
        answer may be lost with it.
        """
        self._refused = True
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False
            if cycle.more_body:  # it would wait for it in vain
                self.transport.close()
            return
        self._unset_keepalive_if_required()
        body = orjson.dumps(ProblemError(kind, detail).document("-"))
        head = b"content-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[kind.status] + head % (MEDIA_TYPE.encode(), len(body)) + body)
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)


_TOO_LARGE: Final = (
    f"the head has more than {HEAD_BYTES:,} bytes or {HEAD_FIELDS} fields; send fewer or shorter headers"
)
