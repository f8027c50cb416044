from __future__ import annotations

import gzip

import pytest

from airflow_agentic.serving.bodies import HttpError
from airflow_agentic.serving.headers import Headers, compressed, takes_gzip


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
    assert (found.content_encoding, found.accept_encoding) == (b" GZIP ", b"gzip")
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
