"""What becomes of an error at the model server: HTTP status, gRPC code, what the client is told, and what the log."""

from __future__ import annotations

import traceback
from typing import Final

from airflow_agentic.exceptions import (
    AgenticError,
    DeadlineError,
    ModelError,
    ModelUnavailableError,
    OverloadedError,
    ProtocolError,
    RecordError,
    UnknownModelError,
)
from airflow_agentic.serving.bodies import HttpError
from airflow_agentic.serving.loaded import OURS

_FAILED: Final = (500, "INTERNAL")
_REFUSED: Final = (400, "INVALID_ARGUMENT")
_CODES: Final[tuple[tuple[type[Exception], tuple[int, str]], ...]] = (
    (ProtocolError, _REFUSED),
    (UnknownModelError, (404, "NOT_FOUND")),
    (OverloadedError, (429, "RESOURCE_EXHAUSTED")),
    (DeadlineError, (504, "DEADLINE_EXCEEDED")),
    (ModelUnavailableError, (503, "UNAVAILABLE")),
)
"""HTTP status and gRPC code; the first kind that an error is of counts."""


def http_status(error: Exception) -> int:
    """The HTTP status of an error."""
    return error.status if isinstance(error, HttpError) else _codes(error)[0]


def grpc_code(error: Exception) -> str:
    """The name of an error's gRPC status code."""
    return _codes(error)[1]


def _codes(error: Exception) -> tuple[int, str]:
    if isinstance(error, RecordError):
        return _FAILED if error.code in OURS else _REFUSED
    return next((codes for kind, codes in _CODES if isinstance(error, kind)), _FAILED)


def for_client(error: Exception) -> str:
    """What the client is told."""
    return str(error) if isinstance(error, AgenticError) else f"the model raised {type(error).__name__}: {error}"


def without_content(error: Exception) -> str:
    """An error for the log: where it was raised, but not its text, which may have a record's content."""
    if isinstance(error, RecordError):
        return f"its record has the error {error.code!r}, which the client was told"
    if isinstance(error, ModelError):
        return str(error)
    return f"{type(error).__name__}, raised at\n{''.join(traceback.format_tb(error.__traceback__)).rstrip()}"
