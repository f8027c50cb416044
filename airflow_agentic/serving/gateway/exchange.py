"""One request and its answer over ASGI: ids, headers, problems, a client that goes away."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from airflow_agentic.serving.bodies import ClientGoneError, Receive, Scope, Send, discard
from airflow_agentic.serving.gateway.problems import INTERNAL, ProblemError, Response

T = TypeVar("T")

REQUEST_ID: Final = b"x-request-id"

_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
log = logging.getLogger("airflow_agentic.gateway")


class Exchange:
    """What is known of a request beside its body. No content of a record is logged."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        given = self.headers.get(REQUEST_ID, b"")
        self.request_id = given.decode() if _ID.fullmatch(given) else secrets.token_hex(8)
        self.began = time.perf_counter()
        self.client = "-"
        self.workflow = "-"
        self.closing = False
        """Whether the connection is to be closed after the answer."""

    @property
    def seconds(self) -> float:
        """Since it came."""
        return time.perf_counter() - self.began

    def header(self, name: bytes) -> str | None:
        """A header's value, by its lower-case name."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    async def respond(self, response: Response, *, linger: bool = False) -> None:
        """Send a whole answer.

        :param linger: the body was not read to its end: what still comes is read and dropped for a moment.
        """
        await self.start(response.status, response.media_type, response.headers, length=len(response.body))
        if not linger:
            await self.send({"type": "http.response.body", "body": response.body})
            return
        await self.send({"type": "http.response.body", "body": response.body, "more_body": True})
        await discard(self.receive)
        await self.send({"type": "http.response.body", "body": b""})

    async def start(self, status: int, media_type: str, headers: Any = (), *, length: int | None = None) -> None:
        """Send status and headers; of an answer whose length is known, also log the line of this request."""
        fields = [(b"content-type", media_type.encode()), *self.own_headers()]
        if length is not None:
            fields.append((b"content-length", b"%d" % length))
        fields += [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers]
        if length is not None:
            self.logged(status)
        await self.send({"type": "http.response.start", "status": status, "headers": fields})

    def own_headers(self) -> list[tuple[bytes, bytes]]:
        """What every answer has."""
        own = [(REQUEST_ID, self.request_id.encode())]
        return [*own, (b"connection", b"close")] if self.closing else own

    def logged(self, status: int) -> None:
        """One line a request."""
        if log.isEnabledFor(logging.INFO):
            log.info(
                "%s %s %s %d %.1f ms client=%s workflow=%s",
                self.request_id,
                self.scope["method"],
                self.scope["path"],
                status,
                self.seconds * 1000,
                self.client,
                self.workflow,
            )

    async def refuse(self, error: ProblemError) -> None:
        """Send a problem."""
        closes = any(name == "connection" for name, _ in error.headers)
        await self.respond(error.response(self.request_id), linger=closes)

    async def fail(self) -> None:
        """Send ``internal-error``; the traceback is in the log, by the request id."""
        log.exception("request %s failed", self.request_id)
        await self.refuse(ProblemError(INTERNAL, "the gateway failed on this request; its log knows more, by the id"))

    async def while_connected(self, work: Coroutine[Any, Any, T]) -> T:
        """``work``, which is cancelled when the client goes away.

        :raises ClientGoneError: it did.
        """
        task = asyncio.ensure_future(work)
        watch = asyncio.ensure_future(self._gone())
        watch.add_done_callback(lambda _: task.cancel())
        try:
            return await task
        except asyncio.CancelledError:
            if watch.done() and not watch.cancelled():
                raise ClientGoneError from None
            task.cancel()
            raise
        finally:
            watch.cancel()

    async def _gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
