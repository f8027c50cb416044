"""The few headers that the inference path of the model server looks at, and compression of answers."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from airflow_agentic.serving.bodies import GZIP, HttpError


class Headers:
    """The headers that matter here, each read once from the scope's list; numbers are looked at when they are used."""

    __slots__ = ("_json_length", "_length", "_timeout_ms", "accept_encoding", "content_encoding")

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self._json_length: bytes | None = None
        self._timeout_ms: bytes | None = None
        self._length = b""
        self.content_encoding = self.accept_encoding = b""
        for name, value in pairs:
            if name == b"content-length":
                self._length = value
            elif name == b"inference-header-content-length":
                self._json_length = value
            elif name == b"x-request-timeout-ms":
                self._timeout_ms = value
            elif name == b"content-encoding":
                self.content_encoding = value
            elif name == b"accept-encoding":
                self.accept_encoding = value

    @property
    def length(self) -> int:
        """Bytes of the body, as the client says; 0 where it does not."""
        return int(self._length) if self._length.isdigit() else 0

    @property
    def json_length(self) -> int | None:
        """``Inference-Header-Content-Length``.

        :raises HttpError: it is no number.
        """
        return None if self._json_length is None else _number("Inference-Header-Content-Length", self._json_length)

    @property
    def timeout_ms(self) -> int | None:
        """``X-Request-Timeout-Ms``.

        :raises HttpError: it is no number.
        """
        return None if self._timeout_ms is None else _number("X-Request-Timeout-Ms", self._timeout_ms)


def _number(name: str, value: bytes) -> int:
    if not value.isdigit() or len(value) > 15:
        raise HttpError(400, f"{name}: expected a whole number, found {value.decode('latin-1')!r}")
    return int(value)


def takes_gzip(accepted: bytes) -> bool:
    """Whether a client that sends this ``Accept-Encoding`` takes gzip."""
    codings = accepted.replace(b" ", b"").lower().split(b",")
    return any(one.startswith(b"gzip") and not one.rstrip(b".0").endswith(b";q=") for one in codings)


def compressed(body: bytes) -> bytes:
    """The body as gzip."""
    writer = zlib.compressobj(1, zlib.DEFLATED, GZIP)
    return writer.compress(body) + writer.flush()
