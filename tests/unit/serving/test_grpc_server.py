"""The gRPC service over a repository that answers as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_calls import call, request, tensors_of
from serving_samples import errors

from airflow_agentic import __version__
from airflow_agentic.exceptions import (
    DeadlineError,
    InputError,
    ModelError,
    ModelUnavailableError,
    OverloadedError,
    ProtocolError,
    RecordError,
    UnknownModelError,
)
from airflow_agentic.openinference.grpc_messages import INFERENCE, RPC
from airflow_agentic.openinference.tensors import InferRequest, InferResponse, ModelMetadata, Tensor, TensorSpec
from airflow_agentic.serving.grpc import GrpcServer

ONE = [Tensor("x", "FP32", np.array([1.5, 2.5], "<f4"))]


@dataclass
class Model:
    """Gives what it is given, at once or after ``wait``."""

    ready: bool = True
    wait: asyncio.Event | None = None
    error: Exception | None = None
    until: float | None = None
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    metadata: ModelMetadata = field(
        default_factory=lambda: ModelMetadata("m", ("1",), "echo", (TensorSpec("x", "FP32", (-1,)),))
    )

    def infer_now(self, asked: InferRequest) -> InferResponse | None:
        if self.error is not None:
            raise self.error
        return None if self.wait is not None else InferResponse("m", asked.inputs, "1", asked.id)

    async def infer(self, asked: InferRequest, until: float | None) -> InferResponse:
        self.until = until
        self.asked.set()
        assert self.wait is not None
        try:
            await self.wait.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return InferResponse("m", asked.inputs, "1", asked.id)


@dataclass
class Repository:
    """One model, ``m``, of version 1."""

    model: Model = field(default_factory=Model)
    ready: bool = True

    def find(self, name: str, version: str | None = None) -> Model:
        if name != "m" or version not in {None, "1"}:
            raise UnknownModelError(f"no model is called {name!r} here, version {version!r}")
        return self.model

    async def infer(self, name: str, version: str | None, request: InferRequest, until: float | None) -> InferResponse:
        return await self.find(name, version).infer(request, until)

    def versions(self, name: str) -> tuple[str, ...]:
        return ("0", "1")


@dataclass
class Served:
    """A service and a channel to it."""

    repository: Repository
    server: GrpcServer
    channel: Any
    draining: bool = False

    async def call(self, method: str, message: Any = None, **options: Any) -> Any:
        return await call(self.channel, method, message, **options)

    async def refused(self, message: Any, **options: Any) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call("ModelInfer", message, **options)
        return caught.value


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    repository = Repository()
    found: list[Served] = []
    server = GrpcServer(
        repository,  # type: ignore[arg-type]
        lambda: found[0].draining,
        message_bytes=100_000,
        clock=lambda: 1000.0,
    )
    port = await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        found.append(Served(repository, server, channel))
        yield found[0]
    await server.stop(0)


async def test_health(served: Served) -> None:
    named = INFERENCE["ModelReadyRequest"](name="m")
    assert (await served.call("ServerLive")).live
    assert (await served.call("ServerReady")).ready
    assert (await served.call("ModelReady", named)).ready
    served.draining = True
    assert (await served.call("ServerLive")).live
    assert not (await served.call("ServerReady")).ready
    assert not (await served.call("ModelReady", named)).ready
    served.draining, served.repository.ready, served.repository.model.ready = False, False, False
    assert not (await served.call("ServerReady")).ready
    assert not (await served.call("ModelReady", named)).ready


async def test_metadata(served: Served) -> None:
    found = await served.call("ServerMetadata")
    assert (found.name, found.version, list(found.extensions)) == ("airflow-agentic", __version__, [])
    found = await served.call("ModelMetadata", INFERENCE["ModelMetadataRequest"](name="m", version="1"))
    assert (found.name, list(found.versions), found.platform, found.inputs[0].name) == ("m", ["0", "1"], "echo", "x")


@pytest.mark.parametrize("method", ["ModelReady", "ModelMetadata"])
async def test_a_model_that_is_not_there(served: Served, method: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.call(method, INFERENCE[f"{method}Request"](name="m", version="2"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "no model is called 'm' here, version '2'"


@pytest.mark.parametrize("as_raw", [True, False])
@pytest.mark.parametrize("waits", [True, False])
async def test_an_answer(served: Served, as_raw: bool, waits: bool) -> None:
    if waits:
        served.repository.model.wait = asyncio.Event()
        served.repository.model.wait.set()
    found = await served.call("ModelInfer", request("m", ONE, as_raw=as_raw, id="7"))
    assert (found.model_name, found.model_version, found.id) == ("m", "1", "7")
    assert tensors_of(found)[0].array.tolist() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("error", "code", "details"),
    [
        (ProtocolError("wrong"), grpc.StatusCode.INVALID_ARGUMENT, "wrong"),
        (RecordError("wrong_input", "no"), grpc.StatusCode.INVALID_ARGUMENT, "no"),
        (RecordError("bad_output", "oh"), grpc.StatusCode.INTERNAL, "oh"),
        (OverloadedError("full"), grpc.StatusCode.RESOURCE_EXHAUSTED, "full"),
        (DeadlineError("late"), grpc.StatusCode.DEADLINE_EXCEEDED, "late"),
        (ModelUnavailableError("gone"), grpc.StatusCode.UNAVAILABLE, "gone"),
        (KeyError("x"), grpc.StatusCode.INTERNAL, "the model raised KeyError: 'x'"),
        (ProtocolError("é" * 2000), grpc.StatusCode.INVALID_ARGUMENT, "é" * 999 + "…"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_errors(served: Served, error: Exception, code: Any, details: str) -> None:
    served.repository.model.error = error
    found = await served.refused(request("m", ONE))
    assert (found.code(), found.details()) == (code, details)


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (KeyError("a secret"), "a request by gRPC failed: KeyError, raised at"),
        (RecordError("bad_output", "a secret"), "a request by gRPC failed: its record has the error 'bad_output'"),
        (ModelError("it has no weights"), "a request by gRPC failed: it has no weights"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_the_log_has_nothing_of_a_record(
    served: Served, error: Exception, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    served.repository.model.error = error
    await served.refused(request("m", ONE))
    (found,) = errors(caplog)
    assert found.startswith(logged)
    assert "secret" not in caplog.text


async def test_an_overloaded_server_says_when_to_ask_again(served: Served) -> None:
    served.repository.model.error = OverloadedError("full", 1.25)
    found = await served.refused(request("m", ONE))
    metadata = dict(found.trailing_metadata() or ())
    status = RPC["Status"].FromString(metadata["grpc-status-details-bin"])
    assert (status.code, status.message) == (8, "full")
    assert status.details[0].type_url == "type.googleapis.com/google.rpc.RetryInfo"
    delay = RPC["RetryInfo"].FromString(status.details[0].value).retry_delay
    assert (delay.seconds, delay.nanos) == (1, 250_000_000)


async def test_a_message_that_is_none(served: Served) -> None:
    found = await served.refused(b"\xff\xff")
    assert found.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert str(found.details()).startswith("the message is no inference.ModelInferRequest: ")


async def test_a_message_that_is_too_large(served: Served) -> None:
    found = await served.refused(request("m", [Tensor("x", "UINT8", np.zeros(100_001, "u1"))], as_raw=True))
    assert found.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_the_deadline_is_the_requests(served: Served) -> None:
    model = served.repository.model
    model.wait = asyncio.Event()
    found = await served.refused(request("m", ONE), timeout=0.2)
    assert found.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert model.until is not None
    assert 1000.0 < model.until <= 1000.2
    await model.cancelled.wait()
    model.wait.set()
    await served.call("ModelInfer", request("m", ONE), timeout=None)
    assert model.until is None


async def test_a_client_that_goes_takes_its_request_with_it(served: Served) -> None:
    model = served.repository.model
    model.wait = asyncio.Event()
    asking = asyncio.ensure_future(served.call("ModelInfer", request("m", ONE)))
    await model.asked.wait()
    asking.cancel()
    await model.cancelled.wait()


async def test_what_is_under_way_is_answered_before_the_end(served: Served) -> None:
    model = served.repository.model
    model.wait = asyncio.Event()
    asking = asyncio.ensure_future(served.call("ModelInfer", request("m", ONE, id="last")))
    await model.asked.wait()
    ending = asyncio.ensure_future(served.server.stop(20))
    await asyncio.sleep(0)
    model.wait.set()
    assert (await asking).id == "last"
    await ending
    found = await served.refused(request("m", ONE))
    assert found.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_port_that_is_taken(served: Served) -> None:
    other = GrpcServer(served.repository, lambda: False)  # type: ignore[arg-type]
    port = await other.start("127.0.0.1:0")
    third = GrpcServer(served.repository, lambda: False)  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        await third.start(f"127.0.0.1:{port}")
    assert str(caught.value).startswith(f"gRPC cannot listen at 127.0.0.1:{port}: ")
    assert str(caught.value).endswith("; choose another --grpc-port")
    await other.stop(0)
