from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import Any

import pytest
from serving_samples import Clock

from airflow_agentic.exceptions import OverloadedError
from airflow_agentic.serving.body import (
    Bodies,
    ClientGoneError,
    Headers,
    HttpError,
    compressed,
    decompressed,
    discard,
    takes_gzip,
)

TOO_LARGE = "the body is larger than the 10 bytes that this server takes; send fewer records at once"


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
    return Bodies(limit, 30.0, together, clock or Clock())


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
    assert str(raised.value) == "the body did not arrive within 30 s; send it faster, or fewer records at once"
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
    with pytest.raises(OverloadedError, match=r"^0 MiB of requests are arriving already; ask later, or less at once$"):
        await shared.read(Parts(b"01", b"2"))
    assert await shared.read(Parts(b"a whole one")) == b"a whole one"
    waiting.cancel()
    await asyncio.wait([waiting])
    assert await shared.read(Parts(b"01234", b"56789", b"x")) == b"0123456789x"


async def test_the_rest_of_a_refused_body_is_read_until_it_ends() -> None:
    client = Parts(b"1", b"2", b"3")
    await discard(client, 10.0)
    assert client.messages == []
    gone = Parts(b"1", gone=True)
    await discard(gone, 10.0)
    assert gone.messages == []


async def test_the_rest_of_a_refused_body_is_not_waited_for_for_ever() -> None:
    await discard(Parts(b"1", more=True), 0.0)


@pytest.mark.parametrize(
    ("encoding", "encoded"),
    [
        (b"", b"0123456789"),
        (b"identity", b"0123456789"),
        (b"gzip", gzip.compress(b"0123456789", mtime=0)),
        (b"x-gzip", gzip.compress(b"0123456789", mtime=0)),
        (b"deflate", zlib.compress(b"0123456789")),
    ],
)
def test_encodings(encoding: bytes, encoded: bytes) -> None:
    assert decompressed(encoded, encoding, 10) == b"0123456789"


@pytest.mark.parametrize(
    ("encoding", "body", "status", "message"),
    [
        (b"br", b"", 415, "Content-Encoding 'br' is not known; use gzip, deflate or none"),
        (b"gzip, gzip", b"", 415, "Content-Encoding 'gzip, gzip' is not known; use gzip, deflate or none"),
        (b"gzip", b"x" * 20, 400, "the body is no gzip: Error -3 while decompressing data: incorrect header check"),
        (b"gzip", b"", 400, "the body is no whole gzip stream"),
        (b"gzip", gzip.compress(b"0123", mtime=0)[:-1], 400, "the body is no whole gzip stream"),
        (b"gzip", gzip.compress(b"0123", mtime=0) + b"x", 400, "the body is no whole gzip stream"),
        (
            b"gzip",
            gzip.compress(bytes(10_000_000), mtime=0),
            413,
            "the body is larger than the 10 bytes that this server takes, once decompressed; "
            "send fewer records at once",
        ),
    ],
)
def test_bad_encodings(encoding: bytes, body: bytes, status: int, message: str) -> None:
    with pytest.raises(HttpError) as raised:
        decompressed(body, encoding, 10)
    assert (raised.value.status, str(raised.value)) == (status, message)


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        (b"gzip", True),
        (b"br, GZIP;q=0.5", True),
        (b"gzip;q=1.0", True),
        (b"gzip; q=0", False),
        (b"gzip;q=0.000", False),
        (b"br", False),
        (b"", False),
    ],
)
def test_gzip_is_given_to_who_takes_it(accepted: bytes, takes: bool) -> None:
    assert takes_gzip(accepted) is takes


def test_compressed() -> None:
    assert gzip.decompress(compressed(b"0" * 5000)) == b"0" * 5000


def test_headers() -> None:
    found = Headers(
        [
            (b"host", b"x"),
            (b"content-length", b"12"),
            (b"inference-header-content-length", b"7"),
            (b"x-request-timeout-ms", b"250"),
            (b"content-encoding", b" GZIP "),
            (b"accept-encoding", b"gzip"),
        ]
    )
    assert (found.length, found.json_length, found.timeout_ms) == (12, 7, 250)
    assert (found.content_encoding, found.accept_encoding) == (b"gzip", b"gzip")
    none = Headers([])
    assert (none.length, none.json_length, none.timeout_ms, none.content_encoding) == (0, None, None, b"")


@pytest.mark.parametrize("value", [b"-1", b"1.5", b"x", b"", b"1" * 16, "²".encode("latin-1")])
def test_headers_that_are_no_numbers(value: bytes) -> None:
    found = Headers([(b"inference-header-content-length", value), (b"x-request-timeout-ms", value)])
    shown = value.decode("latin-1")
    with pytest.raises(HttpError) as raised:
        _ = found.json_length
    assert str(raised.value) == f"Inference-Header-Content-Length: expected a whole number, found {shown!r}"
    with pytest.raises(HttpError) as raised:
        _ = found.timeout_ms
    assert str(raised.value) == f"X-Request-Timeout-Ms: expected a whole number, found {shown!r}"
