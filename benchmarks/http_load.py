"""A load generator for one URL, small enough that it is not what is measured: raw HTTP/1.1 over asyncio protocols.

*Closed loop*: each connection sends its next request when it has its answer: what a server can do. *Open loop*:
requests are sent at a constant rate whatever comes back, and latency is counted from the time at which a request was to
be sent, so that a server that stalls is charged for all who wait (no coordinated omission).

``python -m benchmarks.http_load`` prints one line of JSON; :func:`load` runs it as a process on a core of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks.base import ROOT, environment

_LENGTH: Final = b"content-length: "


@dataclass(frozen=True, kw_only=True)
class Load:
    """What came back."""

    seconds: float
    statuses: dict[str, int]
    """Answers by HTTP status; ``lost``: the connection closed first."""
    p50: float
    """Milliseconds, of answers with status 200."""
    p99: float

    @property
    def good(self) -> int:
        """Answers with status 200."""
        return self.statuses.get("200", 0)

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.good / self.seconds


def load(
    url: str,
    body: bytes | Sequence[bytes],
    *,
    folder: Path,
    connections: int = 32,
    seconds: float = 5.0,
    rate: float = 0.0,
    headers: dict[str, str] | None = None,
    core: int | None = None,
) -> Load:
    """Load ``url`` from another process.

    :param body: of every request, or those that are sent in turn (then without a line's end inside).
    :param rate: requests a second in an open loop; 0: a closed loop.
    :param core: that the process is pinned to.
    """
    path = folder / "body"
    path.write_bytes(body if isinstance(body, bytes) else b"\n".join(body))
    pin = [] if core is None else ["taskset", "-c", str(core)]
    command = [
        *pin,
        sys.executable,
        "-m",
        "benchmarks.http_load",
        url,
        str(path),
        f"--connections={connections}",
        f"--seconds={seconds}",
        f"--rate={rate}",
        *([] if isinstance(body, bytes) else ["--lines"]),
        *(f"--header={name}: {value}" for name, value in (headers or {}).items()),
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the load generator failed:\n{done.stderr}")
    return Load(**json.loads(done.stdout))


class Connection(asyncio.Protocol):
    """One connection: takes answers, tells who asked."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._buffer = b""
        self._left = 0
        self._status = ""
        self.transport: Any = None
        self.due = 0.0
        """When the request under way was to be sent."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open."""
        self.transport = transport

    def ask(self, due: float) -> None:
        """Send a request."""
        self.due = due
        self.transport.write(next(self._generator.requests))

    def data_received(self, data: bytes) -> None:
        """A part of an answer."""
        if self._left:
            self._left -= len(data)
        else:
            self._buffer += data
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            place = head.find(_LENGTH)
            if place < 0:
                raise ValueError(f"an answer without a Content-Length: {head!r}")
            length = int(head[place + len(_LENGTH) :].partition(b"\r\n")[0])
            self._status = head[9:12].decode()
            self._left = length - (len(self._buffer) - end - 4)
            self._buffer = b""
        if self._left <= 0:
            self._left = 0
            self._generator.answered(self, self._status)

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed by the server."""
        self._generator.lost(self)


class Generator:
    """Sends requests until the time is over."""

    def __init__(self, url: str, bodies: list[bytes], headers: list[str], rate: float) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        head = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", *headers]
        if not any(line.lower().startswith("content-type") for line in headers):
            head.append("Content-Type: application/json")
        self.requests = cycle(
            ["\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body for body in bodies]
        )
        self._rate = rate
        self._latencies: list[float] = []
        self._statuses: Counter[str] = Counter()
        self._free: deque[Connection] = deque()
        self._opening: set[asyncio.Future[None]] = set()
        self._waiting: deque[float] = deque()
        self._ending = False
        self._under_way = 0

    async def run(self, connections: int, seconds: float) -> Load:
        """Load for ``seconds``, then wait for what is under way."""
        for _ in range(connections):
            self._free.append(await self._open())
        began = time.perf_counter()
        if self._rate:
            await self._paced(began, seconds)
        else:
            while self._free:
                self._ask(self._free.popleft(), time.perf_counter())
            await asyncio.sleep(seconds)
        took = time.perf_counter() - began
        self._ending = True
        until = time.perf_counter() + 30.0
        while self._under_way and time.perf_counter() < until:
            await asyncio.sleep(0.01)
        self._statuses["lost"] += self._under_way + len(self._waiting)
        ordered = sorted(self._latencies)
        return Load(
            seconds=took, statuses=dict(self._statuses), p50=_quantile(ordered, 0.5), p99=_quantile(ordered, 0.99)
        )

    async def _paced(self, began: float, seconds: float) -> None:
        sent, count = 0, int(seconds * self._rate)
        while sent < count:
            now = time.perf_counter()
            while sent < count and began + sent / self._rate <= now:
                due = began + sent / self._rate
                sent += 1
                if self._free:
                    self._ask(self._free.popleft(), due)
                else:
                    self._waiting.append(due)
            await asyncio.sleep(0.0005)

    def _ask(self, connection: Connection, due: float) -> None:
        self._under_way += 1
        connection.ask(due)

    def answered(self, connection: Connection, status: str) -> None:
        """A whole answer has come."""
        now = time.perf_counter()
        self._under_way -= 1
        self._statuses[status] += 1
        if status == "200":
            self._latencies.append(now - connection.due)
        self._next(connection, now)

    def _next(self, connection: Connection, now: float) -> None:
        if self._waiting:
            self._ask(connection, self._waiting.popleft())
        elif self._rate or self._ending:
            self._free.append(connection)
        else:
            self._ask(connection, now)

    def lost(self, connection: Connection) -> None:
        """A connection was closed, which a server may do with one that is idle; another takes its place."""
        if connection in self._free:
            self._free.remove(connection)
        else:
            self._under_way -= 1
            self._statuses["lost"] += 1
        if not self._ending:
            self._opening.add(asyncio.ensure_future(self._replace()))

    async def _replace(self) -> None:
        self._next(await self._open(), time.perf_counter())

    async def _open(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self), self._host, self._port)
        return connection


def _quantile(ordered: list[float], share: float) -> float:
    return (
        round(ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] * 1000.0, 3) if ordered else math.nan
    )


def main() -> None:
    """Load what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("body", type=Path)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--lines", action="store_true")
    options = parser.parse_args()
    content = options.body.read_bytes()
    generator = Generator(
        options.url, content.split(b"\n") if options.lines else [content], options.header, options.rate
    )
    try:
        import uvloop as loops
    except ImportError:
        loops = asyncio  # type: ignore[assignment]
    found = loops.run(generator.run(options.connections, options.seconds))
    print(json.dumps({"seconds": found.seconds, "statuses": found.statuses, "p50": found.p50, "p99": found.p99}))


if __name__ == "__main__":
    main()
