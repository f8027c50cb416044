"""URIs of requests: nothing but what is allowed, and no way round it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from gateways import asking

from airflow_agentic.exceptions import InputError, RecordError
from airflow_agentic.serving.gateway.uris import Held, UriReader, reachable


def reader(*prefixes: str, most: int = 100) -> UriReader:
    return UriReader(prefixes, most=most, seconds=20)


async def said(reading: UriReader, uri: str) -> tuple[str, str]:
    """The code and message that reading ``uri`` ends with."""
    with pytest.raises(RecordError) as caught:
        await reading.read(reading.check(uri))
    await reading.close()
    return caught.value.code, str(caught.value)


async def test_what_is_below_a_prefix_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"content")
    reading = reader(str(tmp_path))
    assert await reading.read(reading.check(f"file://{tmp_path}/a.txt")) == b"content"
    await reading.close()


@pytest.mark.parametrize(
    "uri",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "/allowed/../etc/passwd",
        "/allowedother/x",
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost:8000/tasks",
        "s3://bucket/other/x",
        "s3://bucket2/x",
    ],
)
async def test_nothing_else_is(uri: str) -> None:
    code, message = await said(reader("/allowed", "s3://bucket/photos"), uri)
    assert (code, message) == (
        "uri_not_allowed",
        f"the uri {uri!r} may not be read: it is below no allowed prefix; send the content itself, "
        "or have the gateway started with --allow-uri PREFIX",
    )


@pytest.mark.parametrize(
    "uri", ["s3://bucket/photos/../x", "s3://bucket/photos/%2e%2e/x", "zip://a::s3://bucket/photos/x"]
)
async def test_forms_that_lead_elsewhere_are_refused(uri: str) -> None:
    code, _ = await said(reader("s3://bucket/photos"), uri)
    assert code == "bad_record"


async def test_by_default_a_request_may_name_nothing() -> None:
    async with asking() as client:
        answer = await client.post("/predict", json={"uri": "/etc/passwd"})
        batch = await client.post("/predict", json={"records": [{"input": {"uri": "/etc/passwd"}}, "fine"]})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/record-refused")
    assert answer.json()["detail"] == (
        "uri_not_allowed: record: the uri '/etc/passwd' may not be read: this gateway reads no URIs; "
        "send the content itself, or have the gateway started with --allow-uri PREFIX"
    )
    assert [one.get("error", {}).get("code") for one in batch.json()["answers"]] == ["uri_not_allowed", None]


async def test_a_file_that_is_read_is_the_same_record_as_its_bytes(tmp_path: Path) -> None:
    """The models here take texts: both are refused alike."""
    (tmp_path / "a.bin").write_bytes(b"content")
    async with asking(uris=[str(tmp_path)]) as client:
        by_uri = (await client.post("/predict", json={"uri": f"{tmp_path}/a.bin"})).json()
        by_bytes = (await client.post("/predict", json={"bytes": base64.b64encode(b"content").decode()})).json()
    for document in (by_uri, by_bytes):
        document.pop("request_id")
        document["answer"].pop("latency_ms")
    assert by_uri["answer"].pop("record_id") != by_bytes["answer"].pop("record_id")
    assert by_uri == by_bytes


async def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(101))
    assert await said(reader(str(tmp_path)), f"{tmp_path}/large") == (
        "too_large",
        f"the input's URI '{tmp_path}/large' has more than 100 bytes, which is the most that is read",
    )
    code, message = await said(reader(str(tmp_path)), f"{tmp_path}/absent")
    assert code == "unreadable"
    assert "No such file" in message


def test_a_prefix_that_is_no_uri_is_refused_at_the_start() -> None:
    with pytest.raises(InputError, match=r"^--allow-uri: the uri 'photos' is relative"):
        reader("photos")


def test_what_the_uris_of_one_request_hold_is_bounded() -> None:
    held = Held(10)
    assert held.add(b"12345") == b"12345"
    with pytest.raises(RecordError) as caught:
        held.add(b"678901")
    assert str(caught.value) == ("the URIs of one request hold more than 10 bytes together; send several, or NDJSON")


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ("93.184.216.34", True),
        ("10.0.0.5", True),
        ("192.168.1.1", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("127.8.8.8", False),
        ("0.0.0.0", False),
        ("0.1.2.3", False),
        ("169.254.169.254", False),
        ("100.100.100.200", False),
        ("168.63.129.16", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_which_addresses_a_request_may_reach(address: str, may: bool) -> None:
    assert reachable(address) is may


@pytest.fixture
async def site() -> AsyncIterator[int]:
    """A web server on loopback; its port."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/moved":
            raise web.HTTPFound("/file")
        if request.path == "/absent":
            raise web.HTTPNotFound
        return web.Response(body=b"x" * int(request.query.get("size", "5")))

    app = web.Application()
    app.router.add_get("/{path}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield int(runner.addresses[0][1])
    await runner.cleanup()


async def test_a_prefix_may_name_this_machine_and_nothing_is_followed(site: int) -> None:
    base = f"http://127.0.0.1:{site}"
    reading = reader(base)
    assert await reading.read(reading.check(f"{base}/file")) == b"xxxxx"
    await reading.close()
    assert await said(reader(base), f"{base}/moved") == (
        "unreadable",
        f"the input's URI '{base}/moved' is redirected (HTTP 302), which is not followed; name where it leads",
    )
    assert await said(reader(base), f"{base}/absent") == (
        "unreadable",
        f"the input's URI '{base}/absent' is answered with HTTP 404; name a file that can be read",
    )
    assert (await said(reader(base), f"{base}/file?size=101"))[0] == "too_large"


async def test_a_name_that_leads_to_this_machine_is_not_connected_to(site: int) -> None:
    base = f"http://localhost:{site}"
    code, message = await said(reader(base), f"{base}/file")
    assert code == "unreadable"
    assert "is an address of this machine, its link or a group" in message


async def test_a_uri_that_is_no_text_is_a_wrong_field() -> None:
    wrong: list[Any] = [3, ["x"], {"a": 1}]
    async with asking() as client:
        answers = [await client.post("/predict", json={"uri": one}) for one in wrong]
    assert [one.json()["errors"][0]["pointer"] for one in answers] == ["/uri"] * 3
