"""The model server's HTTP side: the Open Inference Protocol v2 over REST.

``POST …/infer`` is answered by a bare ASGI function that is chosen before FastAPI sees the request, and uses no
pydantic; everything else (health, metadata, documentation) is FastAPI.

Errors are the protocol's ``{"error": "…"}``:

=====  =================================================================================
400    the request is not what the protocol, or the model, says; a record cannot be answered
404    no such model, version or path
408    the body came too slowly
413    it is too large
415    its Content-Encoding is not known
429    too much waits for the model; ``Retry-After`` says for how long
500    the model raised an error, or gave an answer that breaks its card
503    the model is loading, restarting or draining; ``Retry-After``
504    the time that ``X-Request-Timeout-Ms`` gives is over
=====  =================================================================================
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

import orjson

from airflow_agentic.exceptions import ModelUnavailableError
from airflow_agentic.openinference.rest import decode_request, encode_response
from airflow_agentic.openinference.tensors import InferResponse
from airflow_agentic.serving.batching import whole_seconds
from airflow_agentic.serving.bodies import Bodies, ClientGoneError, HttpError, Message, Receive, Send, discard
from airflow_agentic.serving.errors import for_client, http_status, without_content
from airflow_agentic.serving.headers import Headers, compressed, takes_gzip
from airflow_agentic.serving.model_routes import application

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from airflow_agentic.serving.repository import Repository

log = logging.getLogger(__name__)

COMPRESS_FROM: Final = 1024
"""Bytes of an answer that is worth it."""
APART_FROM: Final = 64 * 2**10
"""Bytes that are compressed in a thread, so that other requests go on."""

_JSON: Final = (b"content-type", b"application/json")
_BINARY: Final = (b"content-type", b"application/octet-stream")
_CLOSE: Final = (b"connection", b"close")


class ModelServer:
    """The ASGI application.

    :param body_bytes: of a request, at most.
    :param body_seconds: that a client may take to send it.
    :param arriving_bytes: of all bodies that have begun to arrive, at most.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        body_bytes: int = 64 * 2**20,
        body_seconds: float = 30.0,
        arriving_bytes: int = 256 * 2**20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.repository = repository
        self.draining = False
        """Whether it is about to end: not ready any more, but it still answers."""
        self.failed = False
        """Whether a model could not be loaded at the start."""
        self.on_failure: Callable[[], object] = lambda: None
        """Ends the server."""
        self._bodies = Bodies(body_bytes, body_seconds, arriving_bytes, clock=clock)
        self._clock = clock
        self._app = application(self)

    def openapi(self) -> dict[str, Any]:
        """What it takes and gives, as OpenAPI."""
        return self._app.openapi()

    def drain(self) -> None:
        """Say that it is not ready, and ask clients to go."""
        self.draining = True

    def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one HTTP request."""
        if scope["type"] == "http" and scope["path"].endswith("/infer"):
            return self._infer(scope, receive, send)
        return self._app(scope, receive, self._closing(send) if self.draining else send)

    async def _infer(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        began = self._clock()
        headers = Headers(scope["headers"])
        body = None
        try:
            body = await self._bodies.read(receive, headers.length)
            path = scope["path"]
            model = self.repository.by_path.get(path)
            if model is None or scope["method"] != "POST":
                model = self.repository.at(path, *_target(scope))
            if headers.content_encoding:
                body = await self._bodies.decoded(body, headers.content_encoding)
            request = decode_request(body, headers.json_length)
            timeout_ms = headers.timeout_ms
            response = model.infer_now(request)
            if response is None:
                until = None if timeout_ms is None else began + timeout_ms / 1000.0
                response = await _while_connected(self.repository.infer(*_target(scope), request, until), receive)
            parts, json_length = encode_response(response, request)
        except ClientGoneError:
            return
        except Exception as error:  # noqa: BLE001  # a model is foreign code: the client is told, the server goes on
            await self._refuse(error, scope, send, None if body is not None else receive)
            return
        fields = (
            [_JSON] if json_length is None else [_BINARY, (b"inference-header-content-length", b"%d" % json_length)]
        )
        await self._send(send, 200, parts, fields, headers.accept_encoding)

    async def _send(
        self,
        send: Send,
        status: int,
        parts: Sequence[bytes],
        fields: list[tuple[bytes, bytes]],
        accepted: bytes = b"",
        unread: Receive | None = None,
    ) -> None:
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if accepted and len(body) >= COMPRESS_FROM and takes_gzip(accepted):
            body = compressed(body) if len(body) < APART_FROM else await asyncio.to_thread(compressed, body)
            fields = [*fields, (b"content-encoding", b"gzip")]
        fields = [*fields, (b"content-length", b"%d" % len(body))]
        if self.draining or unread is not None:
            fields.append(_CLOSE)
        await send({"type": "http.response.start", "status": status, "headers": fields})
        if unread is not None:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await discard(unread)
            body = b""
        await send({"type": "http.response.body", "body": body})

    async def _refuse(self, error: Exception, scope: dict[str, Any], send: Send, unread: Receive | None) -> None:
        """Answer by an error.

        :param unread: what receives the rest of a body that was not read to its end.
        """
        status = http_status(error)
        if status == 500:
            log.error("a request to %r failed: %s", scope["path"], without_content(error))
        fields = [_JSON]
        if isinstance(error, ModelUnavailableError) and status in {429, 503}:
            fields.append((b"retry-after", b"%d" % whole_seconds(error.retry_after)))
        if status == 405:
            fields.append((b"allow", b"POST"))
        await self._send(send, status, [orjson.dumps({"error": for_client(error)})], fields, unread=unread)

    @staticmethod
    def _closing(send: Send) -> Send:
        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), _CLOSE]
            await send(message)

        return closing


def refusal(status: int, why: str) -> tuple[str, bytes]:
    """The answer to a request that never reaches the application: its media type and body."""
    del status
    return "application/json", orjson.dumps({"error": why})


def _target(scope: dict[str, Any]) -> tuple[str, str | None]:
    """Name and version of ``/v2/models/NAME[/versions/VERSION]/infer``."""
    if scope["method"] != "POST":
        raise HttpError(405, f"{scope['method']} {scope['path']}: use POST")
    parts = scope["path"].split("/")
    if len(parts) == 5 and parts[1] == "v2" and parts[2] == "models":
        return parts[3], None
    if len(parts) == 7 and parts[1] == "v2" and parts[2] == "models" and parts[4] == "versions":
        return parts[3], parts[5]
    raise HttpError(404, f"no such path: {scope['path']}; it is /v2/models/NAME/infer")


async def _while_connected(answering: Any, receive: Receive) -> InferResponse:
    """The answer; where the client goes away first, it is not computed any more.

    :raises ClientGoneError: it went.
    """
    answer: asyncio.Task[InferResponse] = asyncio.ensure_future(answering)
    gone = asyncio.ensure_future(receive())
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientGoneError("the client closed the connection before it was answered")
        return answer.result()
    finally:
        answer.cancel()
        gone.cancel()
