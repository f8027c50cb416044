"""The processes of the model server: one, or several workers that share its socket, each with models of its own."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_agentic.exceptions import InputError
from airflow_agentic.registry import Registry
from airflow_agentic.serving.batching import Bounds
from airflow_agentic.serving.listening import Server, bind, serve
from airflow_agentic.serving.loaded import load
from airflow_agentic.serving.model_server import ModelServer, refusal
from airflow_agentic.serving.repository import POLL_SECONDS, Repository
from airflow_agentic.serving.workers import STARTUP_FAILURE, supervise
from airflow_agentic.spec.base import nearest

if TYPE_CHECKING:
    from airflow_agentic.spec.model import ModelCard

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a model server serves, and how."""

    cards: str
    """The folder of the cards."""
    models: Sequence[str] = ()
    """The names of those to serve; none: all."""
    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int | None = None
    """Where gRPC is answered, too; ``None``: nowhere."""
    workers: int = 1
    allowed_handlers: Sequence[str] = ()
    queue_requests: int = 1000
    queue_bytes: int = 256 * 2**20
    body_bytes: int = 64 * 2**20
    drain: float = 5.0
    """Seconds between SIGTERM and the end of new connections."""
    grace: float = 15.0
    """Seconds that requests under way may take then."""


def read_cards(options: Options) -> list[ModelCard]:
    """The cards to serve, as their files are now.

    :raises SpecError: a card is wrong.
    :raises InputError: a name is no card's, or there is none.
    """
    registry = Registry.load([Path(options.cards)])
    found = registry.cards
    wrong = next(
        (error for name, error in registry.broken.items() if not options.models or name in options.models), None
    )
    if wrong is not None:
        raise wrong
    unknown = next((name for name in options.models if name not in found), None)
    if unknown is not None:
        near = nearest(unknown, found)
        hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(sorted(found)) or 'none'}"
        raise InputError(f"no model is called {unknown!r}; {hint}")
    if not found:
        raise InputError(f"there is no model card in {options.cards!r}; name a folder that has one with --project")
    return [card for name, card in found.items() if not options.models or name in options.models]


def run(options: Options) -> bool:
    """Serve until a signal ends it.

    :returns: whether it ended well: not if a model could not be loaded.
    :raises InputError: the address cannot be listened at.
    """
    sockets = bind([options.host], options.port)
    options = replace(options, port=sockets[0].getsockname()[1])
    if options.workers == 1:
        return serve_models(options, sockets)
    return supervise(partial(_work, options, sockets), options.workers)


def serve_models(options: Options, sockets: list[socket.socket]) -> bool:
    """Serve in this process; see :func:`run`."""
    app = model_server(options)
    server = Server(app, refusal=refusal, delay=options.drain, grace=options.grace)
    app.on_failure = lambda: setattr(server, "should_exit", True)
    serve(server, sockets, lifespan(app, options))
    return not app.failed


def _work(options: Options, sockets: list[socket.socket]) -> None:
    """What one of several workers does."""
    log_to_stderr()
    if not serve_models(options, sockets):
        sys.exit(STARTUP_FAILURE)


def log_to_stderr() -> None:
    """Log what a server does; of libraries, and of what models print, only warnings."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s")
    logging.getLogger("airflow_agentic.serving").setLevel(logging.INFO)


def model_server(options: Options) -> ModelServer:
    """The application; its models are loaded once it listens."""

    def loaded(card: ModelCard) -> Any:
        return load(card, allowed_handlers=options.allowed_handlers)

    bounds = Bounds(requests=options.queue_requests, bytes=options.queue_bytes)
    repository = Repository(lambda: read_cards(options), loaded, bounds)

    return ModelServer(
        repository, body_bytes=options.body_bytes, arriving_bytes=max(options.queue_bytes, options.body_bytes)
    )


@asynccontextmanager
async def lifespan(server: ModelServer, options: Options) -> AsyncIterator[None]:
    """While it lasts, models are loaded and gRPC is answered; at the end the models are closed."""
    loading = asyncio.create_task(_load(server, options))
    try:
        async with _grpc(server, options):
            yield
    finally:
        loading.cancel()
        await asyncio.wait([loading])
        await server.repository.close()


@asynccontextmanager
async def _grpc(server: ModelServer, options: Options) -> AsyncIterator[None]:
    """While it lasts, gRPC is answered, where a port is given for it."""
    if options.grpc_port is None:
        yield
        return
    from airflow_agentic.serving.grpc import GrpcServer

    service = GrpcServer(server.repository, lambda: server.draining, message_bytes=options.body_bytes)
    host = f"[{options.host}]" if ":" in options.host else options.host
    port = await service.start(f"{host}:{options.grpc_port}", shared=options.workers > 1)
    log.info("gRPC listens at %s:%d", host, port)
    try:
        yield
    finally:
        await service.stop(options.grace)


async def _load(server: ModelServer, options: Options) -> None:
    try:
        await server.repository.start()
    except Exception as error:  # noqa: BLE001  # a framework raises what it likes
        log.error("the server ends, for a model cannot be loaded: %s", error)
        server.failed = True
        server.on_failure()
        return
    sys.stdout.write(greeting(options, sorted(server.repository.current)))
    sys.stdout.flush()
    await server.repository.follow(POLL_SECONDS)


def greeting(options: Options, names: Sequence[str]) -> str:
    """What is printed once all models answer."""
    host = "127.0.0.1" if options.host in {"0.0.0.0", "::"} else options.host  # noqa: S104  # compared, not listened at
    address = f"http://{f'[{host}]' if ':' in host else host}:{options.port}"
    return f"{', '.join(names)}: at {address}\n  curl {address}/v2/models/{names[0]}\n"
