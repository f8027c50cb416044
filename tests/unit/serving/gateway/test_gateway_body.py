"""Bodies: counted as they come, whatever the headers say, in a bounded time."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest
from gateways import asking

from airflow_agentic.serving.gateway.admission import HeldBytes
from airflow_agentic.serving.gateway.body import ClientGoneError, Message, read_body
from airflow_agentic.serving.gateway.problems import ProblemError


def receiving(*parts: bytes, then: str = "end") -> Any:
    """A body in parts, which then ends, hangs, or is given up."""
    given = iter(parts)

    async def receive() -> Message:
        part = next(given, None)
        if part is None:
            if then == "hang":
                await asyncio.Event().wait()
            return {"type": "http.disconnect"} if then == "leave" else {"type": "http.request", "body": b""}
        return {"type": "http.request", "body": part, "more_body": True}

    return receive


async def read(headers: dict[bytes, bytes], receive: Any, taken: list[int] | None = None) -> bytes:
    take = (taken if taken is not None else []).append
    return await read_body(headers, receive, most=10, seconds=0.02, take=take)


async def test_the_whole_body_is_counted_as_it_comes() -> None:
    taken: list[int] = []
    assert await read({}, receiving(b"123", b"", b"456"), taken) == b"123456"
    assert sum(taken) == 6


async def test_a_body_that_says_it_is_too_large_is_refused_unread() -> None:
    async def never() -> Message:
        raise AssertionError("it was read")

    with pytest.raises(ProblemError) as caught:
        await read({b"content-length": b"11"}, never)
    assert caught.value.detail == (
        "the body has more than 10 bytes; send less, name large inputs by uri, or send NDJSON"
    )
    assert caught.value.headers == (("connection", "close"),)


@pytest.mark.parametrize("told", [b"3", b"-1", b"abc", b""])
@pytest.mark.parametrize("parts", [(b"x" * 11,), (b"x" * 6, b"x" * 6)])
async def test_a_body_that_lies_about_its_size_is_refused_at_the_limit(told: bytes, parts: Sequence[bytes]) -> None:
    with pytest.raises(ProblemError, match="more than 10 bytes"):
        await read({b"content-length": told}, receiving(*parts))


async def test_a_body_that_stops_is_timed_out_and_one_that_is_given_up_is_nobodys() -> None:
    with pytest.raises(ProblemError) as caught:
        await read({}, receiving(b"123", then="hang"))
    assert (caught.value.kind.status, caught.value.detail) == (
        408,
        "the body did not come whole within 0.02 s; send it faster, or a smaller one",
    )
    with pytest.raises(ClientGoneError):
        await read({}, receiving(b"123", then="leave"))


async def test_gzip_is_read_within_the_same_bound() -> None:
    headers = {b"content-encoding": b"gzip"}
    bomb = gzip.compress(bytes(10_000_000))
    with pytest.raises(ProblemError, match="more than 20,000 bytes"):
        await read_body(headers, receiving(bomb[:9000], bomb[9000:]), most=20_000, seconds=1, take=lambda _: None)
    fine = gzip.compress(b"0123456789")
    assert await read_body(headers, receiving(fine), most=100, seconds=1, take=lambda _: None) == b"0123456789"
    for damaged, why in ((fine[:-3], "cut off"), (fine + b"x", "cut off"), (b"nogzip", "is no gzip")):
        with pytest.raises(ProblemError, match=why):
            await read_body(headers, receiving(damaged), most=100, seconds=1, take=lambda _: None)


async def test_a_bomb_is_not_unpacked_beyond_the_bound() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(ProblemError, match="more than 100,000 bytes"):
            await read_body(
                {b"content-encoding": b"gzip"}, receiving(bomb), most=100_000, seconds=60, take=lambda _: None
            )
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


async def test_other_encodings_are_refused() -> None:
    with pytest.raises(ProblemError) as caught:
        await read({b"content-encoding": b"br"}, receiving(b""))
    assert caught.value.detail == "the encoding 'br' is not read; send gzip, or none"


async def test_what_all_requests_hold_is_bounded_and_given_back() -> None:
    held = HeldBytes(10)
    held.take(8)
    with pytest.raises(ProblemError) as caught:
        held.take(3)
    assert caught.value.detail == "the requests under way hold 8 bytes and may hold 10; try again later"
    held.give_back(8)
    held.take(10)


async def test_a_large_request_is_refused_and_the_next_is_answered() -> None:
    async with asking(body_bytes=100, held_bytes=150) as client:
        large = await client.post("/predict", json={"task": "text-analysis", "input": "x" * 100})
        held = [await client.post("/predict", json={"input": "x" * 60}) for _ in range(4)]
    assert (large.status_code, large.json()["type"]) == (413, "/problems/too-large")
    assert [one.status_code for one in held] == [200] * 4
