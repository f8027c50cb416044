"""Problem details (RFC 9457): every way in which a request ends without an answer.

A kind's ``type`` is ``/problems/{name}``, which the gateway itself answers with what the kind means.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

from airflow_agentic.exceptions import AgenticError

MEDIA_TYPE: Final = "application/problem+json"


@dataclass(frozen=True)
class Kind:
    """A documented kind of problem."""

    name: str
    status: int
    title: str
    way_out: str
    """What a client can do about it, in general."""

    @property
    def type(self) -> str:
        """Its URI, relative to the gateway."""
        return f"/problems/{self.name}"


INVALID_JSON: Final = Kind("invalid-json", 400, "The body is no JSON", "Send a JSON object.")
BAD_HTTP: Final = Kind("bad-http", 400, "The request is no HTTP that this gateway understands", "See detail.")
UNAUTHENTICATED: Final = Kind("unauthenticated", 401, "Who asks is not known", "Send `Authorization: Bearer TOKEN`.")
FORBIDDEN: Final = Kind("forbidden", 403, "Who asks may not do this", "Ask for another workflow, or for the right.")
NOT_FOUND: Final = Kind("not-found", 404, "There is nothing here", "See `GET /tasks` and `/openapi.json`.")
METHOD_NOT_ALLOWED: Final = Kind("method-not-allowed", 405, "The method does not fit", "Use one of header `Allow`.")
TIMED_OUT: Final = Kind("request-timeout", 408, "The request came too slowly", "Send it faster, or a smaller one.")
CONFLICT: Final = Kind("conflict", 409, "What is there does not allow it", "See detail.")
TOO_LARGE: Final = Kind("too-large", 413, "The request is too large", "Send less, or many records as NDJSON.")
UNSUPPORTED_MEDIA: Final = Kind(
    "unsupported-media-type", 415, "The body is of a kind that is not read", "Send `Content-Type: application/json`."
)
MISDIRECTED: Final = Kind("misdirected", 421, "The host is not this gateway's", "Use an address it was started for.")
KEY_REUSED: Final = Kind(
    "key-reused", 422, "The idempotency key stands for another request", "Use a new key, or send that request again."
)
INVALID_REQUEST: Final = Kind("invalid-request", 422, "A field is wrong", "Change the fields that `errors` names.")
RECORD_REFUSED: Final = Kind(
    "record-refused", 422, "The record cannot be answered as it is", "Change the input: `answer.error` says what."
)
NO_MODEL_FITS: Final = Kind(
    "no-model-fits", 422, "No model fits what the record asks", "Ask less: `answer.route` says who was left out."
)
OVERLOADED: Final = Kind("overloaded", 429, "Too many requests at once", "Try again after `Retry-After` seconds.")
QUOTA_EXCEEDED: Final = Kind(
    "quota-exceeded", 429, "The client asks more than its quota", "Try again after `Retry-After` seconds."
)
HEADERS_TOO_LARGE: Final = Kind("headers-too-large", 431, "The headers are too large", "Send fewer or shorter ones.")
INTERNAL: Final = Kind("internal-error", 500, "The gateway failed", "Report it with the request id.")
MODEL_FAILED: Final = Kind("model-failed", 502, "A model failed on this record", "Another try gives the same.")
AIRFLOW_FAILED: Final = Kind("airflow-failed", 502, "Airflow did not answer the request", "See detail, and the run.")
UNAVAILABLE: Final = Kind("no-model-available", 503, "No model could answer", "Try again where `Retry-After` is sent.")
NOT_READY: Final = Kind("not-ready", 503, "What it takes to answer is away", "Try again after `Retry-After` seconds.")
DEADLINE: Final = Kind("deadline-exceeded", 504, "There was no answer in time", "Allow more time, or ask for less.")

KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind for kind in list(globals().values()) if isinstance(kind, Kind)
}  # fmt: skip


class FieldError(NamedTuple):
    """One field that is wrong."""

    pointer: str
    """JSON Pointer (RFC 6901) into the body; of a header, ``header:NAME``."""
    detail: str


class ProblemError(AgenticError):
    """A request ends with a problem document; whether asking again can help is said by ``retry_after``.

    :param detail: what was given, why it cannot be, and the way out.
    :param retry_after: seconds.
    :param extra: further members of the document.
    """

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        retry_after: float | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after = retry_after
        self.extra = dict(extra or {})
        self.headers = tuple(headers)

    def document(self, request_id: str) -> dict[str, Any]:
        """The problem as a JSON object."""
        found: dict[str, Any] = {
            "type": self.kind.type,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "request_id": request_id,
        }
        if self.errors:
            found["errors"] = [error._asdict() for error in self.errors]
        return {**found, **self.extra}

    def response(self, request_id: str) -> Response:
        """The problem as an answer."""
        headers = list(self.headers)
        if self.retry_after is not None:
            headers.append(("retry-after", str(max(1, math.ceil(self.retry_after)))))
        return Response(self.kind.status, orjson.dumps(self.document(request_id)), MEDIA_TYPE, headers)


@dataclass(frozen=True)
class Response:
    """An answer that is known as a whole."""

    status: int
    body: bytes
    media_type: str = "application/json"
    headers: Sequence[tuple[str, str]] = field(default_factory=tuple)


def refusal(status: int, why: str) -> tuple[str, bytes]:
    """The answer to a request that never reaches the application: its media type and body."""
    kind = {400: BAD_HTTP, 408: TIMED_OUT, 431: HEADERS_TOO_LARGE}[status]
    return MEDIA_TYPE, ProblemError(kind, why).response("-").body
