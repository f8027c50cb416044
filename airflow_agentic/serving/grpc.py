"""The model server's gRPC side: ``inference.GRPCInferenceService``.

A request's gRPC deadline is the time that it is given; a client that cancels takes its waiting request with it. Errors
are gRPC's status codes:

====================  ==================================================================================
INVALID_ARGUMENT      the request is not what the protocol, or the model, says; a record has no answer
NOT_FOUND             no such model or version
RESOURCE_EXHAUSTED    too much waits for the model, with ``google.rpc.RetryInfo``; the message is too large
UNAVAILABLE           the model is loading, restarting or draining
DEADLINE_EXCEEDED     the deadline is over
INTERNAL              the model raised an error, or gave an answer that breaks its card
====================  ==================================================================================
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.message import DecodeError

from airflow_agentic import __version__
from airflow_agentic.exceptions import InputError, OverloadedError, ProtocolError
from airflow_agentic.openinference.grpc import decode_request, encode_metadata, encode_response
from airflow_agentic.openinference.grpc_messages import INFERENCE, RPC, SERVICE
from airflow_agentic.serving.errors import for_client, grpc_code, without_content
from airflow_agentic.serving.model_routes import NAME

if TYPE_CHECKING:
    from airflow_agentic.serving.repository import Repository

log = logging.getLogger(__name__)

Message = Any
Context = Any
Method = Callable[[Message, Context], Awaitable[Message]]

MAX_DETAILS: Final = 1000
"""Characters of an error's text: gRPC bounds the headers in which it travels."""
RETRY_SECONDS: Final = 1.0


class GrpcServer:
    """The service, on a port of its own.

    :param draining: whether the server is about to end: not ready any more, but it still answers.
    :param message_bytes: of a request, at most.
    """

    def __init__(
        self,
        repository: Repository,
        draining: Callable[[], bool],
        *,
        message_bytes: int = 64 * 2**20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._repository = repository
        self._draining = draining
        self._message_bytes = message_bytes
        self._clock = clock
        self._server: Any = None

    async def start(self, address: str, *, shared: bool = False) -> int:
        """Listen.

        :param address: host and port; port 0 is any free one.
        :param shared: whether other processes may have the same port.
        :returns: the port.
        :raises InputError: it is taken, or not to be had.
        """
        server = self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", self._message_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", int(shared)),
            ]
        )
        methods: dict[str, Method] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ServerMetadata": self._server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._infer,
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(_answering(INFERENCE[f"{name}Request"], method))
            for name, method in methods.items()
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        try:
            port: int = server.add_insecure_port(address)
        except RuntimeError as error:
            raise InputError(f"gRPC cannot listen at {address}: {error}; choose another --grpc-port") from error
        await server.start()
        return port

    async def stop(self, grace: float) -> None:
        """Take no new requests, and answer those under way.

        :param grace: seconds that they may take.
        """
        await self._server.stop(grace)

    async def _server_live(self, _: Message, __: Context) -> Message:
        return INFERENCE["ServerLiveResponse"](live=True)

    async def _server_ready(self, _: Message, __: Context) -> Message:
        return INFERENCE["ServerReadyResponse"](ready=self._repository.ready and not self._draining())

    async def _server_metadata(self, _: Message, __: Context) -> Message:
        return INFERENCE["ServerMetadataResponse"](name=NAME, version=__version__)

    async def _model_ready(self, request: Message, _: Context) -> Message:
        model = self._repository.find(request.name, request.version or None)
        return INFERENCE["ModelReadyResponse"](ready=model.ready and not self._draining())

    async def _model_metadata(self, request: Message, _: Context) -> Message:
        model = self._repository.find(request.name, request.version or None)
        found = encode_metadata(model.metadata)
        found.versions[:] = self._repository.versions(request.name)
        return found

    async def _infer(self, message: Message, context: Context) -> Message:
        name, version = message.model_name, message.model_version or None
        model = self._repository.find(name, version)
        request = decode_request(message)
        response = model.infer_now(request)
        if response is None:
            left = context.time_remaining()
            until = None if left is None else self._clock() + left
            response = await self._repository.infer(name, version, request, until)
        return encode_response(response, request)


def _answering(kind: Any, method: Method) -> Callable[[bytes, Context], Awaitable[bytes]]:
    """``method`` from bytes to bytes, its errors as gRPC's."""

    async def answer(content: bytes, context: Context) -> bytes:
        try:
            try:
                message = kind.FromString(content)
            except DecodeError as error:
                raise ProtocolError(f"the message is no {kind.DESCRIPTOR.full_name}: {error}") from None
            found: bytes = (await method(message, context)).SerializeToString()
        except Exception as error:  # noqa: BLE001  # a model is foreign code: the client is told, the server goes on
            return await _abort(error, context)
        return found

    return answer


async def _abort(error: Exception, context: Context) -> bytes:
    """End the call with ``error``; gRPC raises to do so."""
    code = grpc.StatusCode[grpc_code(error)]
    if code is grpc.StatusCode.INTERNAL:
        log.error("a request by gRPC failed: %s", without_content(error))
    text = for_client(error)
    text = text if len(text) <= MAX_DETAILS else f"{text[: MAX_DETAILS - 1]}…"
    metadata: tuple[tuple[str, bytes], ...] = ()
    if isinstance(error, OverloadedError):
        metadata = (("grpc-status-details-bin", _retry_info(code, text, error.retry_after or RETRY_SECONDS)),)
    ended: bytes = await context.abort(code, text, metadata)
    return ended


def _retry_info(code: Any, text: str, seconds: float) -> bytes:
    """The ``google.rpc.Status`` of an error, with when to ask again."""
    nanos = round(seconds * 1e9)
    delay = RPC["Duration"](seconds=nanos // 10**9, nanos=nanos % 10**9)
    info = RPC["Any"](
        type_url="type.googleapis.com/google.rpc.RetryInfo",
        value=RPC["RetryInfo"](retry_delay=delay).SerializeToString(),
    )
    status: bytes = RPC["Status"](code=code.value[0], message=text, details=[info]).SerializeToString()
    return status
