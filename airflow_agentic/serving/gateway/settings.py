"""What a gateway is started with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

from airflow_agentic.exceptions import InputError
from airflow_agentic.spec.base import nearest, seconds, size

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
    """Requests of one workflow in its coordinator at once, at most; a part of an NDJSON stream counts as one."""
    waiting: int = 256
    """Requests of one workflow that wait for that; further ones are answered 429."""
    streams: int = 32
    """NDJSON streams at once; further ones are answered 429."""
    held_bytes: int = 512 * MIB
    """Of the bodies of all requests under way together; then further ones are answered 429."""
    jobs: int = 8
    """Jobs that one gateway works on at once; the others wait in the store."""
    job_seconds: float = 3600.0
    """Of a job whose request says nothing."""
    seconds: float = 60.0
    """Of a request that brings no deadline and whose workflow has none."""
    head_seconds: float = 10.0
    """Until a request's line and headers must have come."""
    body_seconds: float = 30.0
    """Until a request's body must have come; of NDJSON until the next bytes must have."""
    uri_seconds: float = 20.0
    """One URI may take to be read."""
    drain_delay_seconds: float = 5.0
    """How long a gateway that is told to stop (SIGTERM) says so and goes on, until nobody sends more."""
    drain_seconds: float = 30.0
    """How long after that running requests may go on."""

    @classmethod
    def of(cls, given: Sequence[str]) -> Limits:
        """Limits with some of them changed, as ``body_bytes=128Mi`` or ``body_seconds=10s``.

        :raises InputError: one is no limit, or no value of its kind.
        """
        changes: dict[str, float] = {}
        for text in given:
            name, equals, value = text.partition("=")
            kind = next((field.type for field in fields(cls) if field.name == name), None)
            if kind is None or not equals:
                near = nearest(name, [field.name for field in fields(cls)])
                hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(f.name for f in fields(cls))}"
                raise InputError(f"--limit {text!r} is no NAME=VALUE of a limit; {hint}")
            changes[name] = _value(text, name, value)
        return replace(cls(), **changes)  # type: ignore[arg-type]  # each is of its field's type


def _value(text: str, name: str, value: str) -> float:
    try:
        found = _number(name, value)
    except ValueError as error:
        raise InputError(f"--limit {text!r}: {str(error).splitlines()[0]}") from error
    if found <= 0 and not name.startswith("drain"):
        raise InputError(f"--limit {text!r} lets nothing through; give a value above 0")
    return found


def _number(name: str, value: str) -> float:
    if name.endswith("_bytes"):
        return size(value)
    if name.endswith("seconds"):
        return seconds(float(value) if value.replace(".", "", 1).isdigit() else value)
    return int(value)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How requests are read."""

    allowed_uris: tuple[str, ...] = ()
    """Prefixes of URIs that requests may name; by default none."""
    limits: Limits = Limits()
