"""The processes of the model server: uvicorn's, with a graceful end.

On SIGTERM a server first says that it is not ready, and asks clients by ``Connection: close`` to go elsewhere, while it
still answers; after ``drain`` seconds it takes no new connections, answers what it was asked, and ends. Ctrl-C ends it
without that wait.

Several workers share one socket, each with models of its own; one that dies is replaced (uvicorn's supervisor).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_agentic.exceptions import AgenticError, InputError
from airflow_agentic.registry import Registry
from airflow_agentic.serving.batching import Bounds
from airflow_agentic.serving.loaded import load
from airflow_agentic.serving.model_server import ModelServer
from airflow_agentic.serving.repository import POLL_SECONDS, Repository
from airflow_agentic.spec.base import nearest

if TYPE_CHECKING:
    from airflow_agentic.spec.model import ModelCard

log = logging.getLogger(__name__)

OPTIONS: Final = "AIRFLOW_AGENTIC_MODEL_SERVER"
"""Carries :class:`Options` to workers, as JSON."""
BACKLOG: Final = 2048
GRACE_SECONDS: Final = 30
"""How long requests under way may take once nothing new is taken."""
STARTUP_FAILURE: Final = 3
"""The exit status by which uvicorn's supervisor knows that another worker would fail, too."""


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
    """
    import uvicorn

    if options.workers == 1:
        server = model_server(options)
        config = uvicorn.Config(server, **_settings(options))
        process = uvicorn.Server(config)
        server.on_failure = lambda: setattr(process, "should_exit", True)
        process.run()
        return not server.failed
    os.environ[OPTIONS] = json.dumps(asdict(options))
    uvicorn.run(f"{__name__}:worker", factory=True, workers=options.workers, **_settings(options))
    return True


def worker() -> ModelServer:
    """The application of one of several workers."""
    values: dict[str, Any] = json.loads(os.environ[OPTIONS])
    server = model_server(Options(**values))
    server.on_failure = lambda: os._exit(STARTUP_FAILURE)
    return server


def model_server(options: Options) -> ModelServer:
    """The application; its models are loaded once it listens."""

    def loaded(card: ModelCard) -> Any:
        return load(card, allowed_handlers=options.allowed_handlers)

    bounds = Bounds(requests=options.queue_requests, bytes=options.queue_bytes)
    repository = Repository(lambda: read_cards(options), loaded, bounds)

    @asynccontextmanager
    async def lifespan(server: ModelServer) -> AsyncIterator[None]:
        loading = asyncio.create_task(_load(server))
        async with _grpc(server, options):
            with draining(server.drain, options.drain):
                yield
        loading.cancel()
        await repository.close()

    return ModelServer(repository, lifespan, body_bytes=options.body_bytes)


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
    log.warning("gRPC listens at %s:%d", host, port)
    try:
        yield
    finally:
        await service.stop(GRACE_SECONDS)


async def _load(server: ModelServer) -> None:
    try:
        await server.repository.start()
    except AgenticError as error:
        log.error("%s", error)
        server.failed = True
        server.on_failure()
        return
    log.warning("all models answer: %s", ", ".join(sorted(server.repository.current)))
    await server.repository.follow(POLL_SECONDS)


@contextmanager
def draining(begin: Callable[[], None], seconds: float) -> Iterator[None]:
    """While it lasts, SIGTERM calls ``begin``, and ``seconds`` later does what it did before.

    To be entered on the event loop of the main thread, once uvicorn has its handlers; elsewhere it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGTERM)

    def end() -> None:
        if callable(before):
            before(signal.SIGTERM, None)

    def handle(*_: object) -> None:
        loop.call_soon_threadsafe(begin)
        loop.call_soon_threadsafe(loop.call_later, seconds, end)

    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _settings(options: Options) -> dict[str, Any]:
    return {
        "host": options.host,
        "port": options.port,
        "interface": "asgi3",
        "http": "httptools",
        "ws": "none",
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,
        "server_header": False,
        "date_header": False,
        "backlog": BACKLOG,
        "timeout_graceful_shutdown": GRACE_SECONDS,
    }
