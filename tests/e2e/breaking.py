"""What stands between and can fail: the way to the Kubernetes API server, and a store that takes nothing."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHUNK: Final = 2**16
FULL: Final = ("507 Insufficient Storage", "XMinioStorageFull")
READ_ONLY: Final = ("403 Forbidden", "AccessDenied")


class Way:
    """A TCP way to a server, which can be cut.

    :param host: of the server; ``port`` likewise.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._open: set[socket.socket] = set()
        self._cut = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.turned_away = 0
        """Connections that were closed at once while it was cut."""
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, seconds: float) -> None:
        """Break every connection, and turn all away for so long."""
        self._cut = True
        for each in tuple(self._open):
            _end(each)
        time.sleep(seconds)
        self._cut = False

    def close(self) -> None:
        """Take no connection any more."""
        for each in (self._listener, *self._open):
            _end(each)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self._cut:
                    near.close()
                    self.turned_away += 1
                    continue
                far = socket.create_connection(self._server)
                self._open |= {near, far}
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=[one, other], daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(CHUNK):
                other.sendall(data)
        for each in (one, other):
            _end(each)


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def way_to_the_api_server(kubeconfig: Path, copy: Path) -> Iterator[Way]:
    """``copy`` becomes a kubeconfig that goes to the same cluster by a way that can be cut."""
    settings: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
    context = next(one for one in settings["contexts"] if one["name"] == settings["current-context"])["context"]
    cluster = next(one for one in settings["clusters"] if one["name"] == context["cluster"])["cluster"]
    server = urlsplit(cluster["server"])
    assert server.hostname is not None
    way = Way(server.hostname, server.port or 443)
    cluster |= {"server": f"https://127.0.0.1:{way.port}", "tls-server-name": server.hostname}
    copy.write_text(yaml.safe_dump(settings))
    try:
        yield way
    finally:
        way.close()


@contextmanager
def store_that_refuses(address: str, status: str, code: str) -> Iterator[str]:
    """The endpoint of an S3 server with the objects of every other one here, in which nothing can be changed."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    served: Any = DomainDispatcherApplication(create_backend_app)

    def refusing(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if environ["REQUEST_METHOD"] in {"GET", "HEAD"}:
            return served(environ, start_response)
        start_response(status, [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code><Message>nothing can be written here</Message></Error>".encode()]

    server = make_server(address, 0, refusing, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{address}:{server.server_port}"
    finally:
        server.shutdown()
