"""A real server of uvicorn on a free port, with an application that answers whatever it is asked."""

from __future__ import annotations

import asyncio
import json
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import uvicorn

from airflow_agentic.serving.connections import Connection, most_connections
from airflow_agentic.serving.listening import bind
from airflow_agentic.serving.model_server import refusal

REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"


async def application(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    head = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    await send(head)
    await send({"type": "http.response.body", "body": scope["method"][:2].encode()})


@asynccontextmanager
async def listening(**bounds: Any) -> AsyncIterator[Any]:
    """A function that connects."""
    (bound,) = bind(["127.0.0.1"], 0)
    http: Any = partial(Connection, refusal=refusal, **bounds)
    config = uvicorn.Config(application, http=http, lifespan="off", log_config=None, timeout_keep_alive=75)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    while not server.started:
        await asyncio.sleep(0)
    writers = []

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*bound.getsockname())
        writers.append(writer)
        return reader, writer

    try:
        yield connect
    finally:
        for writer in writers:
            writer.close()
        server.should_exit = True
        await serving


async def answered(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


async def refused(reader: asyncio.StreamReader) -> tuple[int, str]:
    status, headers, body = await answered(reader)
    assert headers["connection"] == "close"
    assert await reader.read() == b""
    return status, json.loads(body)["error"]


async def test_requests_one_after_the_other_and_pipelined_are_answered_in_order() -> None:
    async with listening() as connect:
        reader, writer = await connect()
        for _ in range(2):
            writer.write(REQUEST)
            assert (await answered(reader))[0] == 200
        writer.write(REQUEST + REQUEST.replace(b"POST", b"PUT") + REQUEST.replace(b"POST", b"GET"))
        assert [(await answered(reader))[2] for _ in range(3)] == [b"PO", b"PU", b"GE"]


async def test_headers_that_come_in_pieces_are_waited_for() -> None:
    async with listening() as connect:
        reader, writer = await connect()
        for place in range(0, len(REQUEST), 7):
            writer.write(REQUEST[place : place + 7])
            await writer.drain()
            await asyncio.sleep(0)
        assert (await answered(reader))[0] == 200


async def test_headers_that_are_too_slow_are_refused_and_who_asks_nothing_is_let_go() -> None:
    async with listening(head_seconds=0.05) as connect:
        late, writer = await connect()
        writer.write(REQUEST)
        assert (await answered(late))[0] == 200
        writer.write(REQUEST[:20])
        assert await refused(late) == (408, "the headers did not come whole within 0.05 s; send them faster")
        silent, _ = await connect()
        assert await silent.read() == b""


@pytest.mark.parametrize("head", [b"x: y\r\n" * 11_000, b"x: y\r\n" * 101 + b"\r\n", b"x: " + b"y" * 66_000])
async def test_headers_that_are_too_large_or_too_many_are_refused(head: bytes) -> None:
    async with listening() as connect:
        reader, writer = await connect()
        writer.write(b"GET / HTTP/1.1\r\n" + head)
        assert await refused(reader) == (
            431,
            "the head has more than 65,536 bytes or 100 fields; send fewer or shorter headers",
        )


async def test_what_is_no_http_is_refused() -> None:
    async with listening() as connect:
        reader, writer = await connect()
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        assert await refused(reader) == (
            400,
            "Invalid HTTP request received: its request line, headers or framing are wrong; see RFC 9112",
        )


async def test_a_client_that_is_refused_may_send_for_a_while_but_not_for_ever() -> None:
    async with listening() as connect:
        reader, writer = await connect()
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        assert (await answered(reader))[0] == 400
        writer.write(bytes(2**19))
        await writer.drain()
        sent = 0
        with suppress(ConnectionError):
            while sent < 2**28:
                writer.write(bytes(2**19))
                await writer.drain()
                sent += 2**19
        assert sent < 2**28


async def test_a_connection_too_many_is_closed_at_once() -> None:
    async with listening(most=1) as connect:
        first, writer = await connect()
        writer.write(REQUEST)
        assert (await answered(first))[0] == 200
        second, _ = await connect()
        assert await second.read() == b""
        writer.write(REQUEST)
        assert (await answered(first))[0] == 200


def test_a_process_takes_as_many_connections_as_it_may_open_files_but_for_some(monkeypatch: pytest.MonkeyPatch) -> None:
    given = [(1024, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: given[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: given.append(limits))
    assert most_connections() == 4096 - 256
    assert given == [(1024, 4096), (4096, 4096)]
    given.append((300, 300))
    assert most_connections() == 256
