"""The processes of the model server: uvicorn's, with a graceful end.

On SIGTERM a server first says that it is not ready, and asks clients by ``Connection: close`` to go elsewhere, while it
still answers; after ``drain`` seconds it takes no new connections, answers what it was asked, and ends with exit code
0. Ctrl-C ends it without that wait.

Several workers share one socket, each with models of its own; one that dies is replaced (uvicorn's supervisor). One
that cannot load its models ends them all.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_agentic.exceptions import InputError
from airflow_agentic.registry import Registry
from airflow_agentic.serving.batching import Bounds
from airflow_agentic.serving.last_call import refuse_new
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
LAST_CALL_SECONDS: Final = 0.3
"""For clients that are just connecting to say what they want."""
KEEP_ALIVE_SECONDS: Final = 75
"""An idle connection is kept for so long: longer than a proxy before the server keeps it, which is mostly 60 s."""
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
    grace: float = 15.0
    """Seconds that requests under way may take then."""
    failure: str = ""
    """A file that a worker makes where it cannot load its models."""


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
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again at its end, which is no error here
    listening = listen(options.host, options.port)
    options = replace(options, port=listening.getsockname()[1])
    return _run_one(options, listening) if options.workers == 1 else _run_workers(options, listening)


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound to the address.

    :raises InputError: it is taken, or is none of this machine.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise InputError(
            f"cannot listen at {host!r}, port {port}: {error.strerror}; choose another address with --host or --port"
        ) from None
    return bound


def _run_one(options: Options, listening: socket.socket) -> bool:
    import uvicorn

    server = model_server(options)
    process = uvicorn.Server(uvicorn.Config(server, **_settings(options)))
    server.on_failure = lambda: setattr(process, "should_exit", True)
    server.on_last_call = lambda: refuse_new(listening)
    process.run(sockets=[listening])
    return not server.failed


def _run_workers(options: Options, listening: socket.socket) -> bool:
    import uvicorn

    listening.close()  # uvicorn's supervisor binds it again
    with tempfile.TemporaryDirectory() as folder:
        failure = Path(folder) / "failed"
        os.environ[OPTIONS] = json.dumps(asdict(replace(options, failure=str(failure))))
        uvicorn.run(f"{__name__}:worker", factory=True, workers=options.workers, **_settings(options))
        return not failure.exists()


def worker() -> ModelServer:
    """The application of one of several workers."""
    values: dict[str, Any] = json.loads(os.environ[OPTIONS])
    options = Options(**values)
    log_to_stderr()
    server = model_server(options)

    def fail() -> None:
        with suppress(OSError):  # the supervisor is gone
            Path(options.failure).touch()
        os._exit(STARTUP_FAILURE)

    server.on_failure = fail
    return server


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

    @asynccontextmanager
    async def lifespan(server: ModelServer) -> AsyncIterator[None]:
        loading = asyncio.create_task(_load(server, options))
        async with _grpc(server, options):
            with draining(server.drain, server.last_call, options.drain):
                yield
        loading.cancel()
        await asyncio.wait([loading])
        await repository.close()

    return ModelServer(
        repository, lifespan, body_bytes=options.body_bytes, arriving_bytes=max(options.queue_bytes, options.body_bytes)
    )


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


@contextmanager
def draining(begin: Callable[[], None], last_call: Callable[[], None], seconds: float) -> Iterator[None]:
    """While it lasts, SIGTERM calls ``begin``, ``seconds`` later ``last_call``, and then does what it did before.

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

    def call() -> None:
        last_call()
        loop.call_later(LAST_CALL_SECONDS, end)

    def handle(*_: object) -> None:
        log.info("SIGTERM: not ready any more; no new connections in %g s", seconds)
        loop.call_soon_threadsafe(begin)
        loop.call_soon_threadsafe(loop.call_later, seconds, call)

    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _settings(options: Options) -> dict[str, Any]:
    from airflow_agentic.serving.connections import Connection, most_connections

    Connection.most = most_connections()
    return {
        "host": options.host,
        "port": options.port,
        "interface": "asgi3",
        "http": Connection,
        "ws": "none",
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,
        "server_header": False,
        "date_header": False,
        "backlog": BACKLOG,
        "timeout_keep_alive": KEEP_ALIVE_SECONDS,
        "timeout_graceful_shutdown": options.grace,
    }
