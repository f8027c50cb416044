"""A gateway as a process of its own: what it is asked over real sockets, by friends and others, and how it ends."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_process import Process, healthy, project, running

BODY = b'{"task": "text-analysis", "input": "This is a test sentence."}'
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = project(tmp_path_factory.mktemp("project"))
    limits = "head_seconds=0.5,body_seconds=0.5,body_bytes=1Mi"
    with running(folder, "--limit", limits) as process:
        yield process


def connect(gateway: Process) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=30)


def received(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """The status and document of an answer after which the connection is closed."""
    content = b""
    while part := connection.recv(65536):
        content += part
    head, _, body = content.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    return int(head.split()[1]), json.loads(body)


def asked(gateway: Process, *parts: bytes) -> tuple[int, dict[str, Any]]:
    with connect(gateway) as connection:
        for part in parts:
            connection.sendall(part)
        return received(connection)


def test_the_command_of_the_docs_is_answered(gateway: Process) -> None:
    assert healthy(gateway)


def test_a_gigabyte_is_refused_before_it_is_sent(gateway: Process) -> None:
    before = gateway.memory
    status, problem = asked(gateway, HEAD + b"Content-Length: 1073741824\r\n\r\n", b"x" * 100)
    assert (status, problem["type"]) == (413, "/problems/too-large")
    assert problem["detail"] == (
        "the body has more than 1,048,576 bytes; send less, name large inputs by uri, or send NDJSON"
    )
    assert gateway.memory - before < 20 * 2**20
    assert healthy(gateway)


def test_a_gigabyte_that_says_nothing_of_its_size_is_cut_off(gateway: Process) -> None:
    before = gateway.memory
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with connect(gateway) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        sent = 0
        try:
            while sent < 2**30:
                connection.sendall(chunk)
                sent += 0x10000
        except OSError:
            pass
    assert sent < 2**28
    assert gateway.memory - before < 40 * 2**20
    assert healthy(gateway)


@pytest.mark.parametrize("sent", [b"", BODY[:-1]])
def test_a_body_that_is_shorter_than_it_says_is_timed_out(gateway: Process, sent: bytes) -> None:
    status, problem = asked(gateway, HEAD + b"Content-Length: 1000\r\n\r\n", sent)
    assert (status, problem["detail"]) == (
        408,
        "the body did not come whole within 0.5 s; send it faster, or a smaller one",
    )


def test_a_body_that_is_longer_than_it_says_is_answered_and_the_rest_is_not(gateway: Process) -> None:
    with connect(gateway) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY + b"garbage\r\n\r\n")
        content = b""
        while part := connection.recv(65536):
            content += part
    assert content.startswith(b"HTTP/1.1 200")
    assert content.count(b"HTTP/1.1") == 1
    assert healthy(gateway)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /tasks HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 100_000,
        b"GET /tasks HTTP/1.1\r\nHost: localhost\r\n" + b"X-Many: y\r\n" * 200 + b"\r\n",
        b"GET /" + b"x" * 100_000,
        b"GET /tasks HTTP/1.1\r\n" + b"X-Many: y\r\n" * 20_000,
    ],
)
def test_a_flood_of_headers_is_refused(gateway: Process, head: bytes) -> None:
    status, problem = asked(gateway, head)
    assert (status, problem["type"]) == (431, "/problems/headers-too-large")
    assert healthy(gateway)


@pytest.mark.parametrize(
    "head",
    [
        b"hello\r\n\r\n",
        b"GET /tasks HTTP/9.9\r\n\r\n",
        b"GET /tasks HTTP/1.1\r\nHost : x\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Content-Length: -5\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    ],
)
def test_what_is_no_http_is_a_problem(gateway: Process, head: bytes) -> None:
    status, problem = asked(gateway, head)
    assert (status, problem["type"]) == (400, "/problems/bad-http")
    assert healthy(gateway)


def test_a_head_that_comes_slowly_is_timed_out(gateway: Process) -> None:
    status, problem = asked(gateway, b"GET /tasks HTTP/1.1\r\nHost: ")
    assert (status, problem["detail"]) == (408, "the headers did not come whole within 0.5 s; send them faster")


def test_a_thousand_slow_clients_disturb_nobody_and_are_let_go(gateway: Process) -> None:
    before = gateway.memory
    slow = [connect(gateway) for _ in range(1000)]
    try:
        for place, connection in enumerate(slow):
            connection.sendall(HEAD + (b"X: " if place % 2 else b"Content-Length: 1000\r\n\r\n{"))
        assert healthy(gateway)
        assert {received(connection)[0] for connection in slow} == {408}
    finally:
        for connection in slow:
            connection.close()
    assert gateway.memory - before < 100 * 2**20
    assert healthy(gateway)


def test_a_client_that_goes_away_is_noticed(gateway: Process) -> None:
    body = json.dumps({"workflow": "slow", "records": ["x"] * 100}).encode()
    with connect(gateway) as connection:
        connection.sendall(HEAD + b"X-Request-Id: gone\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    until = time.monotonic() + 30
    while "gone POST /predict 499" not in gateway.log.read_text(encoding="utf-8"):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_no_record_stands_in_the_log(gateway: Process) -> None:
    httpx.post(f"{gateway.url}/predict", json={"task": "text-analysis", "input": "SECRET"})
    httpx.post(f"{gateway.url}/predict", json={"task": "text-analysis", "input": {"SECRET": 1}})
    assert "SECRET" not in gateway.log.read_text(encoding="utf-8")


async def test_a_gateway_that_is_stopped_under_load_fails_no_request(tmp_path: Path) -> None:
    with running(project(tmp_path), "--limit", "drain_delay_seconds=1s") as gateway:
        outcomes: Counter[object] = Counter()
        stopped = asyncio.Event()

        async def ask() -> None:
            async with httpx.AsyncClient(timeout=60) as client:
                while True:
                    try:
                        answer = await client.post(f"{gateway.url}/predict", json={"workflow": "slow", "input": "x"})
                    except httpx.ConnectError:  # it listens no more
                        assert stopped.is_set()
                        return
                    outcomes[answer.status_code] += 1

        clients = [asyncio.create_task(ask()) for _ in range(8)]
        while outcomes[200] < 20:
            await asyncio.sleep(0.01)
        stopped.set()
        gateway.terminate()
        await asyncio.gather(*clients)
        assert await asyncio.to_thread(gateway.wait) == 0
    assert set(outcomes) <= {200, 503}
    assert outcomes[200] > 20
    assert gateway.log.read_text(encoding="utf-8").rstrip().endswith("the gateway has stopped")


def test_without_tokens_it_listens_on_loopback_only(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "airflow_agentic", "gateway", "--project", str(project(tmp_path)), "--port", "0"]
    ended = subprocess.run([*command, "--host", "0.0.0.0"], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "without authentication everybody who reaches it could use every workflow" in ended.stderr
