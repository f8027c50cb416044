"""A small server of the Open Inference Protocol for tests: what it answers, and how it fails, is the test's."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiohttp import web

from airflow_agentic.exceptions import ProtocolError
from airflow_agentic.openinference.rest import HEADER_LENGTH, decode_request, encode_response
from airflow_agentic.openinference.tensors import InferRequest, InferResponse, Tensor
from airflow_agentic.runtime import predict_records, record_tensors
from airflow_agentic.runtime.base import Predictor
from airflow_agentic.spec.model import ModelCard
from airflow_agentic.tables import RESULT

Answer = Callable[[InferRequest], Mapping[str, Any] | web.Response]
"""A request → the arrays of its outputs, or a response as it goes out."""


def records_of(card: ModelCard, predictor: Predictor) -> Answer:
    """How our own model server answers: records in, results out."""

    def answer(request: InferRequest) -> Mapping[str, Any]:
        given = {tensor.name: tensor.array for tensor in request.inputs}
        predicted = predict_records(predictor, card, record_tensors.to_records(card, given))
        found = record_tensors.from_results(card, predicted.select(RESULT.names))
        return {one.name: found[one.name] for one in request.outputs}

    return answer


def doubled(request: InferRequest) -> Mapping[str, Any]:
    """Twice the first input, as ``out``."""
    return {"out": request.inputs[0].array * 2}


@dataclass
class OipServer:
    """Answers ``models`` and remembers what it was asked.

    ``script`` holds responses that go out first, in order: a response, or bytes that are sent
    as they are before the connection is dropped.
    """

    models: dict[str, Answer] = field(default_factory=dict)
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    extensions: list[str] = field(default_factory=lambda: ["binary_tensor_data"])
    script: list[web.Response | bytes] = field(default_factory=list)
    ready: bool = True
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Path and headers (lower-case names) of every request."""
    inferred: list[InferRequest] = field(default_factory=list)
    peers: list[int] = field(default_factory=list)
    """The client's port of every request."""
    url: str = ""

    async def start(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        """Listen on a free port."""
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, 0, ssl_context=tls)
        await site.start()
        server = site._server
        assert isinstance(server, asyncio.Server)
        self.url = f"{'http' if tls is None else 'https'}://{host}:{server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Close every connection."""
        await self._runner.cleanup()

    @contextmanager
    def in_thread(self) -> Iterator[OipServer]:
        """Started in a thread of its own, for callers without a loop."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        asyncio.run_coroutine_threadsafe(self.start(), loop).result()
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self.stop(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def paths(self) -> list[str]:
        """Of every request, in order."""
        return [path for path, _ in self.requests]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.raw_path, headers))
        if request.transport is not None:
            self.peers.append(request.transport.get_extra_info("peername")[1])
        if self.script:
            scripted = self.script.pop(0)
            if isinstance(scripted, web.Response):
                return scripted
            assert request.transport is not None
            request.transport.write(scripted)
            request.transport.close()
            return web.Response()  # reaches nobody
        parts = request.path.strip("/").split("/")
        if parts == ["v2"]:
            return web.json_response({"name": "test", "version": "1", "extensions": self.extensions})
        if parts[1] == "health":
            return web.json_response({"ready": self.ready}, status=200 if self.ready else 503)
        return await self._model(parts[2], parts[-1], request, headers)

    async def _model(self, name: str, last: str, request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
        if name not in self.models:
            return web.json_response({"error": f"no model {name!r}"}, status=404)
        if last == "ready":
            return web.Response(status=200 if self.ready else 503)
        if last != "infer":
            return web.json_response({"name": name, "platform": "test", **self.metadata.get(name, {})})
        length = headers.get(HEADER_LENGTH)
        try:
            asked = decode_request(await request.read(), None if length is None else int(length))
        except ProtocolError as error:
            return web.json_response({"error": str(error)}, status=400)
        self.inferred.append(asked)
        try:
            found = await asyncio.to_thread(self.models[name], asked)
        except Exception as error:  # noqa: BLE001  # as a server does with what a model raises
            return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=500)
        if isinstance(found, web.Response):
            return found
        outputs = [Tensor.of(output, np.asarray(array)) for output, array in found.items()]
        body, header_length = encode_response(InferResponse(name, outputs, "1", asked.id), asked)
        own = {} if header_length is None else {HEADER_LENGTH: str(header_length)}
        return web.Response(body=b"".join(body), headers=own)
