from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from airflow_agentic.exceptions import InputError
from airflow_agentic.serving.listening import Server, bind, take_all
from airflow_agentic.serving.model_server import refusal

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class Application:
    """Answers when it may."""

    def __init__(self) -> None:
        self.drained = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def drain(self) -> None:
        self.drained += 1

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


class Running:
    """A server on a free port."""

    def __init__(self, delay: float) -> None:
        self.app = Application()
        (self.bound,) = bind(["127.0.0.1"], 0)
        self.place = self.bound.getsockname()
        self.server = Server(self.app, refusal=refusal, delay=delay, grace=30.0)

    async def ask(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self.place)
        writer.write(REQUEST)
        return reader, writer


@asynccontextmanager
async def running(delay: float = 0.0) -> AsyncIterator[Running]:
    """A server that must have ended when the context does."""
    found = Running(delay)
    serving = asyncio.create_task(found.server.serve(sockets=[found.bound]))
    while not found.server.started:
        await asyncio.sleep(0)
    yield found
    async with asyncio.timeout(30):
        await serving


def test_several_addresses_have_one_port() -> None:
    four, six = bind(["127.0.0.1", "::1"], 0)
    with four, six:
        assert four.getsockname()[1] == six.getsockname()[1]


def test_an_address_that_is_taken_or_not_ours() -> None:
    (bound,) = bind(["127.0.0.1"], 0)
    with bound:
        bound.listen()
        port = bound.getsockname()[1]
        with pytest.raises(InputError) as raised:
            bind(["127.0.0.1"], port)
        assert str(raised.value) == (
            f"cannot listen at '127.0.0.1', port {port}: Address already in use; "
            "choose another address with --host or --port"
        )
    with pytest.raises(InputError, match=r"^cannot listen at '192\.0\.2\.1', port 0: "):
        bind(["192.0.2.1"], 0)


def test_those_that_wait_are_taken_and_nobody_else() -> None:
    (bound,) = bind(["127.0.0.1"], 0)
    bound.listen()
    with socket.socket() as before, socket.socket() as after:
        before.connect(bound.getsockname())
        before.sendall(b"hello")
        place = bound.getsockname()
        (taken,) = take_all(bound)
        with taken:
            taken.setblocking(True)
            assert taken.recv(5) == b"hello"
        with pytest.raises(ConnectionRefusedError):
            after.connect(place)


async def test_sigterm_ends_it_after_the_delay() -> None:
    async with running(delay=0.0) as found:
        signal.raise_signal(signal.SIGTERM)
    assert (found.app.drained, found.server.should_exit, found.server.force_exit) == (1, True, False)


async def test_until_the_delay_is_over_it_goes_on() -> None:
    async with running(delay=1000.0) as found:
        signal.raise_signal(signal.SIGTERM)
        assert found.app.drained == 1
        reader, writer = await found.ask()
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        assert not found.server.should_exit
        writer.close()
        found.server.should_exit = True


async def test_ctrl_c_ends_without_the_delay_and_answers_what_runs() -> None:
    async with running(delay=1000.0) as found:
        found.app.may_answer.clear()
        reader, writer = await found.ask()
        while not found.server.server_state.tasks:
            await asyncio.sleep(0)
        signal.raise_signal(signal.SIGINT)
        while not found.server.should_exit:
            await asyncio.sleep(0)
        found.app.may_answer.set()
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        writer.close()
    assert found.app.drained == 1


async def test_a_second_signal_ends_at_once() -> None:
    async with running(delay=1000.0) as found:
        found.app.may_answer.clear()
        _, writer = await found.ask()
        while not found.server.server_state.tasks:
            await asyncio.sleep(0)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert found.app.drained == 1
    assert found.server.force_exit
    found.app.may_answer.set()
    writer.close()


async def test_who_has_connected_when_it_ends_is_answered() -> None:
    found = Running(0.0)
    found.bound.listen()
    server, config = found.server, found.server.config
    config.load()
    server.servers, server.lifespan = [], config.lifespan_class(config)  # nobody has accepted anything yet
    reader, writer = await found.ask()
    await server.shutdown([found.bound])
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer
    writer.close()
