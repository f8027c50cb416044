"""NDJSON: every line one answer, in order; memory bounded; a stream that stops."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from executing import World
from gateways import asking, gateway, moods

from airflow_agentic.serving.bodies import ClientGoneError, Message
from airflow_agentic.serving.gateway import lines as module
from airflow_agentic.serving.gateway.lines import Lines, Outbox
from airflow_agentic.serving.gateway.problems import ProblemError

NDJSON = {"content-type": "application/x-ndjson"}
PATH = "/predict?task=text-analysis"


def read(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


async def parts(*given: bytes) -> AsyncIterator[bytes]:
    for part in given:
        yield part


async def test_every_line_is_answered_in_order_however_the_body_is_cut() -> None:
    body = b"\n".join(json.dumps({"record_id": f"r{place}", "text": f"text {place}"}).encode() for place in range(700))
    cuts = [body[place : place + 37] for place in range(0, len(body), 37)]
    async with asking() as client:
        answer = await client.post(PATH, content=parts(*cuts), headers=NDJSON)
    documents = read(answer.content)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    assert [one["line"] for one in documents] == list(range(1, 701))
    assert [one["record_id"] for one in documents] == [f"r{place}" for place in range(700)]
    assert all("error" not in one for one in documents)


async def test_a_bad_line_is_one_error_and_empty_ones_are_none() -> None:
    body = b'"fine"\n\n{"text": \n{"texd": "x"}\n' + b'"' + b"x" * 200 + b'"\n"again"'
    async with asking(line_bytes=100) as client:
        answer = await client.post(PATH, content=body, headers=NDJSON)
    found = [(one["line"], one.get("error", {}).get("message")) for one in read(answer.content)]
    assert found == [
        (1, None),
        (3, "line 3: the line is no JSON: unexpected end of data at column 10"),
        (
            4,
            "line 4: /texd: 'texd' is no field; did you mean 'text'?; "
            "/input: expected one of input, text, uri, bytes, found none of them",
        ),
        (5, "line 5: the line has more than 100 bytes; send it in a request of its own"),
        (6, None),
    ]


async def test_an_id_may_come_again_and_ids_are_those_of_a_batch() -> None:
    body = b'{"record_id": "a", "text": "x"}\n{"record_id": "a", "text": "y"}\n"z"\n"z"\n'
    async with asking() as client:
        streamed = read((await client.post(PATH, content=body, headers=NDJSON)).content)
        batch = await client.post("/predict", json={"task": "text-analysis", "records": ["x", "y", "z", "z"]})
    assert [one["record_id"] for one in streamed[:2]] == ["a", "a"]
    ids = [one["record_id"] for one in batch.json()["answers"]]
    assert [one["record_id"] for one in streamed[2:]] == ids[2:]


@pytest.mark.parametrize(
    ("path", "body", "errors"),
    [
        ("/predict?taks=a", b'"x"', [("query:taks", "'taks' is no parameter; did you mean 'task'?")]),
        ("/predict?task=text-analysis&task=b", b'"x"', [("query", "a parameter stands twice; keep one of them")]),
        (PATH, b"\n \n", [("", "the body holds no line; send one record a line")]),
        ("/predict?workflow=mood", b'"x"', [("/workflow", "no workflow is called 'mood'; did you mean 'moods'?")]),
    ],
)
async def test_what_is_wrong_with_a_stream_as_a_whole(path: str, body: bytes, errors: list[tuple[str, str]]) -> None:
    async with asking() as client:
        answer = await client.post(path, content=body, headers=NDJSON)
    assert answer.status_code == 422
    assert [(one["pointer"], one["detail"]) for one in answer.json()["errors"]] == errors


async def test_only_so_many_streams_at_once() -> None:
    async with asking(streams=0) as client:
        answer = await client.post(PATH, content=b'"x"', headers=NDJSON)
    assert (answer.status_code, answer.json()["type"], answer.headers["retry-after"]) == (
        429,
        "/problems/overloaded",
        "1",
    )


async def test_an_answer_is_sent_before_the_next_line_has_come() -> None:
    """Driven by hand: the second line is only sent once the first answer is there."""
    sent: list[Message] = []
    answered = asyncio.Event()
    given = iter([b'"one"\n', b'"two"\n', b""])

    async def receive() -> Message:
        part = next(given)
        if part != b'"one"\n':
            await answered.wait()
        return {"type": "http.request", "body": part, "more_body": part != b""}

    async def send(message: Message) -> None:
        sent.append(message)
        if message.get("body"):
            answered.set()

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/predict",
        "query_string": b"task=text-analysis",
        "headers": [(b"content-type", b"application/x-ndjson")],
    }
    async with gateway() as app, asyncio.timeout(30):
        await app(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start"] + ["http.response.body"] * 3
    assert [one["line"] for one in read(b"".join(message.get("body", b"") for message in sent))] == [1, 2]


async def test_lines_that_are_lost_to_overload_later_are_errors_that_can_be_retried() -> None:
    world = World(lost=frozenset("abc"))
    async with asking(world, specs=[moods("a")]) as client:
        answer = await client.post(PATH, content=b'"x"\n"y"\n', headers=NDJSON)
    assert [(one["error"]["code"], one["error"]["retryable"]) for one in read(answer.content)] == [
        ("model_unavailable", True),
        ("model_unavailable", True),
    ]


def source(given: Sequence[bytes], *, hang: bool = False) -> Any:
    parts = iter(given)

    async def receive() -> Message:
        part = next(parts, None)
        if part is None:
            if hang:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": True}

    return receive


async def test_a_client_that_sends_nothing_more_is_told_and_one_that_left_is_not() -> None:
    slow = Lines(source([b'"x"\n'], hang=True), most=100, seconds=0.01)
    with pytest.raises(ProblemError) as caught:
        [part async for part in slow.parts(10)]
    assert caught.value.detail == ("the next bytes did not come within 0.01 s; send the lines faster, or end the body")
    with pytest.raises(ClientGoneError):
        [part async for part in Lines(source([b'"x"\n']), most=100, seconds=5).parts(10)]


async def test_a_line_without_an_end_takes_no_memory() -> None:
    lines = Lines(source([b"x" * 50] * 1000), most=100, seconds=5)
    with pytest.raises(ClientGoneError):
        [part async for part in lines.parts(10)]
    assert len(lines._rest) <= 100


async def test_answers_wait_for_a_slow_reader_up_to_a_bound() -> None:
    reading = asyncio.Event()
    sent: list[bytes] = []

    async def send(message: Message) -> None:
        await reading.wait()
        sent.append(message["body"])

    outbox = Outbox(send, seconds=30, most=10)
    await outbox.put(b"12345")
    await outbox.put(b"67890")
    third = asyncio.create_task(outbox.put(b"abc"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not third.done()
    reading.set()
    await third
    await outbox.end()
    assert sent == [b"12345", b"67890", b"abc"]


async def test_a_reader_that_takes_nothing_is_given_up() -> None:
    async def send(_: Message) -> None:
        await asyncio.Event().wait()

    outbox = Outbox(send, seconds=0.01, most=1)
    await outbox.put(b"12345")
    with pytest.raises(ClientGoneError):
        await outbox.put(b"6")
    await outbox.drop()
    assert module.AHEAD_BYTES == 8 * 2**20
