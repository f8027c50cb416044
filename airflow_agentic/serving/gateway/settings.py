"""What a gateway is started with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIB: Final = 2**20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request, and all requests together, may take of the gateway."""

    body_bytes: int = 64 * MIB
    """Of a request's body, also after decompression. NDJSON is counted by line, not as a whole."""
    line_bytes: int = 4 * MIB
    """Of a line of NDJSON."""
    records: int = 1000
    """Of one JSON request. NDJSON has no such limit."""
    running: int = 64
    """Requests in the coordinator at once; a part of an NDJSON stream counts as one."""
    waiting: int = 256
    """Requests that wait for that; further ones are answered 429."""
    streams: int = 32
    """NDJSON streams at once; further ones are answered 429."""
    held_bytes: int = 512 * MIB
    """Of the bodies of all requests under way together; then further ones are answered 429."""
    seconds: float = 60.0
    """Of a request that brings no deadline and whose workflow has none."""
    body_seconds: float = 30.0
    """Until a request's body must have come; of NDJSON until the next bytes must have."""
    uri_seconds: float = 20.0
    """One URI may take to be read."""
    drain_seconds: float = 30.0
    """How long a stopped gateway lets running requests go on."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How requests are read."""

    allowed_uris: tuple[str, ...] = ()
    """Prefixes of URIs that requests may name; by default none."""
    limits: Limits = Limits()
