"""What a body that is not taken is answered with."""

from __future__ import annotations

import gzip

import pytest
from gateways import asking

from airflow_agentic.exceptions import OverloadedError
from airflow_agentic.serving.bodies import HttpError
from airflow_agentic.serving.gateway.failures import body_problem
from airflow_agentic.serving.gateway.problems import refusal

CLOSES = ("connection", "close")


@pytest.mark.parametrize(
    ("error", "kind", "headers"),
    [
        (HttpError(400, "why"), "invalid-json", ()),
        (HttpError(408, "why"), "request-timeout", (CLOSES,)),
        (HttpError(413, "why"), "too-large", (CLOSES,)),
        (HttpError(415, "why"), "unsupported-media-type", (("accept-encoding", "gzip, deflate"),)),
        (OverloadedError("why", 1.0), "overloaded", (CLOSES,)),
    ],
)
def test_each_fault_of_a_body_is_a_problem(
    error: HttpError | OverloadedError, kind: str, headers: tuple[tuple[str, str], ...]
) -> None:
    found = body_problem(error)
    assert (found.kind.name, found.detail, found.headers) == (kind, "why", headers)
    assert found.kind.status == getattr(error, "status", 429)
    assert found.retry_after == getattr(error, "retry_after", None)


@pytest.mark.parametrize(("status", "kind"), [(400, "bad-http"), (408, "request-timeout"), (431, "headers-too-large")])
def test_a_request_that_is_refused_before_it_is_read_is_answered_by_a_problem(status: int, kind: str) -> None:
    media_type, body = refusal(status, "why")
    assert media_type == "application/problem+json"
    assert f'"type":"/problems/{kind}"'.encode() in body
    assert f'"status":{status},"detail":"why"'.encode() in body


async def test_a_large_request_is_refused_and_the_next_is_answered() -> None:
    async with asking(body_bytes=100, held_bytes=150) as client:
        large = await client.post("/predict", json={"task": "text-analysis", "input": "x" * 100})
        held = [await client.post("/predict", json={"input": "x" * 60}) for _ in range(4)]
    assert (large.status_code, large.json()["type"]) == (413, "/problems/too-large")
    assert (
        large.json()["detail"]
        == "the body has more than 100 bytes; send less, name large inputs by uri, or send NDJSON"
    )
    assert [one.status_code for one in held] == [200] * 4


async def test_a_compressed_request_is_answered_and_an_unknown_encoding_refused() -> None:
    async with asking() as client:
        content = gzip.compress(b'{"input": "x"}')
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        fine = await client.post("/predict", content=content, headers=headers)
        other = await client.post("/predict", content=content, headers={**headers, "content-encoding": "br"})
    assert fine.status_code == 200
    assert (other.status_code, other.headers["accept-encoding"]) == (415, "gzip, deflate")
    assert other.json()["detail"] == "Content-Encoding 'br' is not known; use gzip, deflate or none"
