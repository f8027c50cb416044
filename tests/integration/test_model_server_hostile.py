"""Clients that are slow, wrong or hostile, against a real model server: it refuses them, and answers the others."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from described import held_against_its_description
from model_servers import TEXT, Server, asked, serving
from oip_fuzzing import fuzzed, record_message, tensor_message

QUICK = "/v2/models/quick/infer"
MEBIBYTE = 2**20
TOO_MANY_HEADERS = "the head has more than 65,536 bytes or 100 fields; send fewer or shorter headers"
SLOW = 500
"""Clients of each kind of slowness."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("hostile"), "quick", "double") as found:
        yield found


@pytest.fixture(autouse=True)
def still_well(server: Server) -> Iterator[None]:
    """After each test it still answers, and nothing was logged as an error."""
    yield
    assert asyncio.run(post(server, TEXT))[0] == 200
    assert [line for line in server.log.read_text().splitlines() if " ERROR " in line or "Traceback" in line] == []


async def post(server: Server, content: bytes, path: str = QUICK, **headers: str) -> tuple[int, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session,
        session.post(server.url + path, data=content, headers=named) as response,
    ):
        return response.status, await response.text()


async def connect(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", server.port)


def head(length: int | None, path: str = QUICK) -> bytes:
    how = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    return f"POST {path} HTTP/1.1\r\nhost: x\r\n{how}\r\n\r\n".encode()


async def answered(reader: asyncio.StreamReader) -> tuple[int, str]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    length = next(int(line.partition(": ")[2]) for line in lines if line.startswith("content-length"))
    return int(lines[0].split()[1]), (await reader.readexactly(length)).decode()


async def test_a_thousand_slow_clients_hold_up_no_quick_one(server: Server) -> None:
    writers = []
    for _ in range(SLOW):
        for begin in (b"POST /v2/mod", head(1000) + b'{"inp'):
            _, writer = await connect(server)
            writer.write(begin)
            writers.append(writer)
    try:
        for _ in range(100):
            assert (await post(server, TEXT))[0] == 200
    finally:
        for writer in writers:
            writer.close()


async def test_what_follows_a_body_is_no_request_and_ends_the_connection(server: Server) -> None:
    reader, writer = await connect(server)
    writer.write(head(len(TEXT)) + TEXT)
    assert (await answered(reader))[0] == 200
    writer.write(b"and more\r\n\r\n")
    assert (await answered(reader))[0] == 400
    assert await reader.read() == b""
    writer.close()


async def test_a_body_shorter_than_it_says_gets_no_answer(server: Server) -> None:
    reader, writer = await connect(server)
    writer.write(head(len(TEXT) + 1) + TEXT)
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()


async def test_a_gigabyte_is_refused_before_it_is_sent(server: Server) -> None:
    before = server.memory()
    reader, writer = await connect(server)
    writer.write(head(10**9))
    status, text = await answered(reader)
    assert status == 413
    assert json.loads(text) == {"error": "the body has more than 67,108,864 bytes; send fewer records at once"}
    writer.close()
    assert server.memory() - before < 16 * MEBIBYTE


async def test_a_client_that_sends_a_gigabyte_all_the_same_reads_why_not(server: Server) -> None:
    before = server.memory()
    reader, writer = await connect(server)
    answer = asyncio.create_task(answered(reader))
    writer.write(head(None))
    chunk = b"100000\r\n" + bytes(MEBIBYTE) + b"\r\n"
    for _ in range(1000):
        if answer.done():
            break
        writer.write(chunk)
        await writer.drain()
    assert (await answer)[0] == 413
    writer.close()
    assert server.memory() - before < 200 * MEBIBYTE


async def test_many_headers_and_long_ones_are_refused(server: Server) -> None:
    for flood in (b"x: y\r\n" * 20_000, b"x: " + b"y" * 120_000):
        reader, writer = await connect(server)
        writer.write(b"POST /v2/models/quick/infer HTTP/1.1\r\nhost: x\r\n" + flood)
        status, text = await answered(reader)
        assert (status, json.loads(text)) == (431, {"error": TOO_MANY_HEADERS})
        writer.close()


async def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    reader, writer = await connect(server)
    texts = ["good", "x", "y", "good", "z"]
    writer.write(b"".join(head(len(asked(text))) + asked(text) for text in texts))
    found = [json.loads((await answered(reader))[1])["outputs"][0]["data"][0] for _ in texts]
    assert found == ["good" if text == "good" else "bad" for text in texts]
    writer.close()


async def test_bombs_and_damaged_bodies_are_refused(server: Server) -> None:
    before = server.memory()
    bomb = gzip.compress(bytes(1000 * MEBIBYTE), 9)
    assert (await post(server, bomb, Content_Encoding="gzip"))[0] == 413
    assert server.memory() - before < 200 * MEBIBYTE
    assert (await post(server, gzip.compress(TEXT)[:-4], Content_Encoding="gzip"))[0] == 400
    deep = b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert (await post(server, deep))[0] == 400
    tensor = {"name": "x", "datatype": "FP32", "shape": [4, 3], "parameters": {"binary_data_size": 48}}
    document = json.dumps({"inputs": [tensor]}).encode()
    content = document + bytes(47)
    length = str(len(document))
    status, text = await post(server, content, "/v2/models/double/infer", Inference_Header_Content_Length=length)
    assert status == 400
    assert json.loads(text)["error"].startswith("inputs[0].parameters.binary_data_size: 48 bytes, but 47 are left")


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_fuzzed_requests_are_answered_or_refused(server: Server, seed: int) -> None:
    chance = random.Random(seed)
    counts: dict[int, int] = {}
    timeout = aiohttp.ClientTimeout(30)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for _ in range(1500):
            path, make = chance.choice([(QUICK, record_message), ("/v2/models/double/infer", tensor_message)])
            body, headers = fuzzed(chance, make)
            async with session.post(server.url + path, data=body, headers=headers) as response:
                found = await response.read()
                assert response.status in {200, 400, 413, 415, 504}, (response.status, found, path, headers, body)
                counts[response.status] = counts.get(response.status, 0) + 1
    assert counts[200] > 200
    assert counts[400] > 200


def test_all_but_inference_does_what_its_description_says(server: Server, tmp_path: Path) -> None:
    held_against_its_description(server.url, tmp_path)


async def test_memory_is_flat_over_many_requests(server: Server) -> None:
    sizes = []
    async with aiohttp.ClientSession() as session:

        async def ask(count: int) -> None:
            for number in range(count):
                content = TEXT if number % 3 else b"{"
                async with session.post(server.url + QUICK, data=content) as response:
                    await response.read()

        for _ in range(4):
            await asyncio.gather(*(ask(400) for _ in range(8)))
            sizes.append(server.memory())
    assert sizes[-1] - sizes[0] < 8 * MEBIBYTE
