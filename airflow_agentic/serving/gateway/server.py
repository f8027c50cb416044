"""The gateway's process: sockets, a server on them, and how it ends."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Final

import uvicorn

from airflow_agentic.exceptions import InputError
from airflow_agentic.serving.gateway.http import BoundedHttp

if TYPE_CHECKING:
    from airflow_agentic.serving.gateway.app import Gateway
    from airflow_agentic.serving.gateway.settings import Limits

BACKLOG: Final = 2048
KEEP_ALIVE_SECONDS: Final = 75
"""An idle connection is kept; longer than proxies keep theirs, so that these do not meet a closed one."""


def bind(addresses: Sequence[str], port: int) -> list[socket.socket]:
    """Listening sockets, all of one port.

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
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((address, port))
        except OSError as error:
            for opened in bound:
                opened.close()
            raise InputError(
                f"cannot listen on {address} port {port}: {error.strerror}; choose another with --host or --port"
            ) from error
        port = one.getsockname()[1]
    return bound


class Server(uvicorn.Server):
    """Drains when it is told to stop: first it says so and goes on, then it lets what runs end, then it ends.

    A second signal ends it at once.

    :param delay: seconds that it goes on, so that who balances the load looks elsewhere; after Ctrl-C none.
    """

    def __init__(self, config: uvicorn.Config, app: Gateway, *, delay: float) -> None:
        super().__init__(config)
        self.app = app
        self.delay = delay
        self._ends: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came. It is not raised again at the end, as uvicorn does: stopping when told is success."""
        del frame
        if self._ends is not None:
            self.should_exit = self.force_exit = True
            return
        self.app.drain()
        self._ends = time.monotonic() + (self.delay if sig == signal.SIGTERM else 0.0)

    async def on_tick(self, counter: int) -> bool:
        """Whether to end now; uvicorn asks ten times a second."""
        if self._ends is not None and time.monotonic() >= self._ends:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nothing more, and wait for what runs."""
        self.app.closed = True
        await super().shutdown(sockets)


def serve(app: Gateway, sockets: Sequence[socket.socket], limits: Limits, *, started: Callable[[], None]) -> None:
    """Serve on ``sockets`` until SIGTERM or Ctrl-C; then end the models.

    :param started: is called once requests are taken.
    """
    config = uvicorn.Config(
        app,
        http=BoundedHttp.within(limits.head_seconds),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(limits.drain_seconds)),
    )
    server = Server(config, app, delay=limits.drain_delay_seconds)

    async def whole() -> None:
        app.start()
        try:
            for one in sockets:
                one.listen(BACKLOG)
            started()
            await server.serve(list(sockets))
        finally:
            await app.stop()

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(whole())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return None
    return uvloop.new_event_loop
