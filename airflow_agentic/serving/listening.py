"""A server's process: its sockets, uvicorn on them, and how it ends.

When it is told to stop, a server first says that it is not ready, and asks clients by ``Connection: close`` to go
elsewhere, while it still answers; after a delay it takes no new connections, answers what it was asked, and ends with
exit code 0. Ctrl-C ends it without the delay, a second signal at once.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import FrameType
from typing import Any, Final, Protocol

import uvicorn

from airflow_agentic.exceptions import InputError
from airflow_agentic.serving.bodies import Receive, Send
from airflow_agentic.serving.connections import HEAD_SECONDS, Connection, Refusal, most_connections

BACKLOG: Final = 2048
KEEP_ALIVE_SECONDS: Final = 75
"""An idle connection is kept for so long: longer than a proxy before the server keeps it, which is mostly 60 s."""


class Application(Protocol):
    """An ASGI application that can be drained."""

    def drain(self) -> None:
        """Say that no more requests are wanted; those that come are answered, and their connections closed."""

    def __call__(self, scope: Any, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request."""


def bind(addresses: Sequence[str], port: int) -> list[socket.socket]:
    """Sockets that are bound to the addresses, all of one port.

    :param port: 0 takes a free one.
    :raises InputError: an address is not this machine's, or its port is taken.
    """
    bound: list[socket.socket] = []
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            one = socket.socket(family, socket.SOCK_STREAM)
            bound.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6 and len(addresses) > 1:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((address, port))
        except OSError as error:
            for opened in bound:
                opened.close()
            raise InputError(
                f"cannot listen at {address!r}, port {port}: {error.strerror}; "
                "choose another address with --host or --port"
            ) from None
        port = one.getsockname()[1]
    return bound


class Server(uvicorn.Server):  # type: ignore[misc,unused-ignore]  # uvicorn is typed where it is installed
    """uvicorn's server of one application, which drains.

    :param refusal: how a request is refused that never reaches the application.
    :param delay: seconds between SIGTERM and the end of new connections.
    :param grace: seconds that requests under way may take then.
    """

    def __init__(
        self, app: Application, *, refusal: Refusal, delay: float, grace: float, head_seconds: float = HEAD_SECONDS
    ) -> None:
        connection: Any = partial(Connection, refusal=refusal, head_seconds=head_seconds, most=most_connections())
        config = uvicorn.Config(
            app,
            interface="asgi3",
            http=connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=grace,  # type: ignore[arg-type]  # it is given to asyncio.wait_for
        )
        super().__init__(config)
        self._drain = app.drain
        self._delay = delay
        self._ends: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came. It is not raised again at the end, as uvicorn does: stopping when told is success."""
        del frame
        if self._ends is not None:
            self.should_exit = self.force_exit = True
            return
        self._drain()
        self._ends = time.monotonic() + (self._delay if sig == signal.SIGTERM else 0.0)

    async def on_tick(self, counter: int) -> bool:
        """Whether to end now; uvicorn asks ten times a second."""
        if self._ends is not None and time.monotonic() >= self._ends:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nothing more, and wait for what runs.

        A connection that nobody has accepted when its listening socket is closed is reset, and a request lost with it.
        The last copy of the socket is closed here, at the moment in which none waits.
        """
        copies = [one.dup() for one in sockets or ()]
        for server in self.servers:
            server.close()
        for one in sockets or ():
            one.close()
            while one.fileno() >= 0:  # uvloop closes it a moment later
                await asyncio.sleep(0)
        waiting = [client for copy in copies for client in take_all(copy)]
        loop = asyncio.get_running_loop()
        connection: Any = self.config.http_protocol_class
        for client in waiting:
            made = partial(connection, config=self.config, server_state=self.server_state, app_state={})
            await loop.connect_accepted_socket(made, client)
        await super().shutdown(sockets)


def take_all(listening: socket.socket) -> list[socket.socket]:
    """The connections that wait at a listening socket, which is closed."""
    listening.setblocking(False)
    found: list[socket.socket] = []
    with listening:
        while True:
            try:
                client, _ = listening.accept()
            except BlockingIOError:
                return found
            client.setblocking(False)
            found.append(client)


def serve(server: Server, sockets: Sequence[socket.socket], lifespan: AbstractAsyncContextManager[None]) -> None:
    """Serve on ``sockets`` until a signal ends it.

    :param lifespan: entered when requests are taken, left when all are answered.
    """

    async def whole() -> None:
        for one in sockets:
            one.listen(BACKLOG)
        async with lifespan:
            gc.collect()
            gc.freeze()  # what is loaded stays: looking at it again and again took a tenth of all time
            await server.serve(list(sockets))

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(whole())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return None
    return uvloop.new_event_loop
