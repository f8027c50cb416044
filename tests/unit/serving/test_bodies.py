from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from typing import Any

import pytest
from serving_samples import Clock

from airflow_agentic.exceptions import OverloadedError
from airflow_agentic.serving import bodies as module
from airflow_agentic.serving.bodies import (
    Bodies,
    ClientGoneError,
    HttpError,
    discard,
)

CUT_OFF = "the compressed body is cut off, or something follows it; send it whole"
TOO_LARGE = "the body has more than 10 bytes; send less"


class Parts:
    """A client that sends parts, and then nothing more, or goes."""

    def __init__(self, *parts: bytes, more: bool = False, gone: bool = False) -> None:
        self.messages: list[Any] = [
            {"type": "http.request", "body": part, "more_body": more or gone or place < len(parts) - 1}
            for place, part in enumerate(parts)
        ]
        if gone:
            self.messages.append({"type": "http.disconnect"})
        self.read = 0

    async def __call__(self) -> Any:
        if not self.messages:
            return await asyncio.get_running_loop().create_future()
        self.read += 1
        return self.messages.pop(0)


def bodies(limit: int = 10, together: int = 1000, clock: Clock | None = None) -> Bodies:
    return Bodies(limit, 30.0, together, way_out="send less", clock=clock or Clock())


@pytest.mark.parametrize("parts", [(b"",), (b"0123456789",), (b"01234", b"", b"56789")])
async def test_a_body_within_the_limit_is_read_whole(parts: tuple[bytes, ...]) -> None:
    assert await bodies().read(Parts(*parts)) == b"".join(parts)


@pytest.mark.parametrize("parts", [(b"0123456789x",), (b"01234", b"56789", b"x")])
async def test_a_body_over_the_limit_is_refused(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(HttpError) as raised:
        await bodies().read(Parts(*parts))
    assert (raised.value.status, str(raised.value)) == (413, TOO_LARGE)


async def test_a_body_that_says_it_is_over_the_limit_is_refused_before_it_is_read() -> None:
    client = Parts(b"0")
    with pytest.raises(HttpError) as raised:
        await bodies().read(client, 11)
    assert (raised.value.status, str(raised.value), client.read) == (413, TOO_LARGE, 0)


async def test_a_slow_body_is_refused() -> None:
    clock = Clock()
    shared = bodies(clock=clock)
    task = asyncio.create_task(shared.read(Parts(b"0", more=True)))
    await asyncio.sleep(0)
    clock.now += 29.0
    shared.end_late()
    await asyncio.sleep(0)
    assert not task.done()
    clock.now += 1.0
    shared.end_late()
    with pytest.raises(HttpError) as raised:
        await task
    assert raised.value.status == 408
    assert str(raised.value) == "the body did not come whole within 30 s; send it faster, or a smaller one"
    assert task.cancelling() == 0


async def test_another_cancellation_is_not_taken_for_slowness() -> None:
    task = asyncio.create_task(bodies().read(Parts(b"0", more=True)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("client", [Parts(gone=True), Parts(b"0", gone=True)])
async def test_a_client_that_goes_is_noticed(client: Parts) -> None:
    with pytest.raises(ClientGoneError):
        await bodies().read(client)


async def test_bodies_that_arrive_together_are_bounded_but_a_lone_one_is_not() -> None:
    shared = bodies(limit=100, together=8)
    waiting = asyncio.create_task(shared.read(Parts(b"012345", more=True)))
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError) as raised:
        await shared.read(Parts(b"01", b"2"))
    assert str(raised.value) == "the requests under way hold 8 bytes and may hold 8; try again later"
    assert raised.value.retry_after == 1.0
    assert await shared.read(Parts(b"a whole one")) == b"a whole one"
    waiting.cancel()
    await asyncio.wait([waiting])
    assert await shared.read(Parts(b"01234", b"56789", b"x")) == b"0123456789x"


async def test_the_rest_of_a_refused_body_is_read_until_it_ends() -> None:
    client = Parts(b"1", b"2", b"3")
    await discard(client)
    assert client.messages == []
    gone = Parts(b"1", gone=True)
    await discard(gone)
    assert gone.messages == []


async def test_the_rest_of_a_refused_body_is_neither_waited_for_nor_read_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LINGER_SECONDS", 0.0)
    await discard(Parts(b"1", more=True))
    monkeypatch.setattr(module, "LINGER_SECONDS", 30.0)
    monkeypatch.setattr(module, "LINGER_BYTES", 2)
    client = Parts(b"1", b"2", b"3", more=True)
    await discard(client)
    assert client.read == 2


async def test_bodies_that_are_held_are_bounded_and_given_back() -> None:
    shared = bodies(together=10)
    with shared.holding(8):
        with pytest.raises(OverloadedError) as raised, shared.holding(3):
            pass
        assert str(raised.value) == "the requests under way hold 8 bytes and may hold 10; try again later"
        with pytest.raises(OverloadedError):
            await shared.read(Parts(b"01", b"2"))
        with shared.holding(2):
            pass
    with shared.holding(10):
        pass
    with shared.holding(11):
        pass


@pytest.mark.parametrize(
    ("encoding", "encoded"),
    [
        (b"", b"0123456789"),
        (b" GZIP ", gzip.compress(b"0123456789", mtime=0)),
        (b"identity", b"0123456789"),
        (b"gzip", gzip.compress(b"0123456789", mtime=0)),
        (b"x-gzip", gzip.compress(b"0123456789", mtime=0)),
        (b"deflate", zlib.compress(b"0123456789")),
    ],
)
async def test_encodings(encoding: bytes, encoded: bytes) -> None:
    assert await bodies().decoded(encoded, encoding) == b"0123456789"


@pytest.mark.parametrize(
    ("encoding", "body", "status", "message"),
    [
        (b"br", b"", 415, "Content-Encoding 'br' is not known; use gzip, deflate or none"),
        (b"gzip, gzip", b"", 415, "Content-Encoding 'gzip, gzip' is not known; use gzip, deflate or none"),
        (
            b"gzip",
            b"x" * 20,
            400,
            "the body is not compressed as Content-Encoding says: "
            "Error -3 while decompressing data: incorrect header check",
        ),
        (b"gzip", b"", 400, CUT_OFF),
        (b"gzip", gzip.compress(b"0123", mtime=0)[:-1], 400, CUT_OFF),
        (b"gzip", gzip.compress(b"0123", mtime=0) + b"x", 400, CUT_OFF),
        (b"gzip", gzip.compress(bytes(10_000_000), mtime=0), 413, TOO_LARGE),
    ],
)
async def test_bad_encodings(encoding: bytes, body: bytes, status: int, message: str) -> None:
    with pytest.raises(HttpError) as raised:
        await bodies().decoded(body, encoding)
    assert (raised.value.status, str(raised.value)) == (status, message)


async def test_a_bomb_is_not_unpacked_beyond_the_bound() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(HttpError, match="more than 100,000 bytes"):
            await bodies(limit=100_000).decoded(bomb, b"gzip")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
