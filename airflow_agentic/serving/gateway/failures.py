"""Which problem it is that a request ends with: of its body, its record, the models, time, a job, or Airflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from airflow_agentic.exceptions import (
    AirflowApiError,
    AirflowUnavailableError,
    JobError,
    JobKeyError,
    JobTooLargeError,
    KeyReusedError,
    OverloadedError,
    UnknownJobError,
)
from airflow_agentic.serving.bodies import HttpError
from airflow_agentic.serving.gateway.problems import (
    AIRFLOW_FAILED,
    CONFLICT,
    DEADLINE,
    INTERNAL,
    INVALID_JSON,
    INVALID_REQUEST,
    KEY_REUSED,
    KINDS,
    MODEL_FAILED,
    NO_MODEL_FITS,
    NOT_FOUND,
    NOT_READY,
    OVERLOADED,
    RECORD_REFUSED,
    TIMED_OUT,
    TOO_LARGE,
    UNAVAILABLE,
    UNSUPPORTED_MEDIA,
    FieldError,
    Kind,
    ProblemError,
)

if TYPE_CHECKING:
    from airflow_agentic.serving.jobs import Job

_UNAVAILABLE: Final = frozenset({"all_unhealthy", "model_unavailable"})
_NO_FIT: Final = frozenset({"no_route", "no_candidate"})
_MODEL: Final = frozenset({"bad_output", "model_error", "model_failed"})
SOON_SECONDS: Final = 1.0
LATER_SECONDS: Final = 5.0
KEY_POINTER: Final = "header:Idempotency-Key"
_AGAIN: Final = (NOT_READY, OVERLOADED, UNAVAILABLE)
_KNOWN: Final = frozenset({"type", "title", "status", "detail", "request_id", "errors"})


def body_problem(error: HttpError | OverloadedError) -> ProblemError:
    """A body that is not taken, as a problem. What of it was not read ends the connection."""
    if isinstance(error, OverloadedError):
        return ProblemError(OVERLOADED, str(error), retry_after=error.retry_after, headers=[("connection", "close")])
    kinds = {400: INVALID_JSON, 408: TIMED_OUT, 413: TOO_LARGE, 415: UNSUPPORTED_MEDIA}
    headers = {415: [("accept-encoding", "gzip, deflate")], 400: []}.get(error.status, [("connection", "close")])
    return ProblemError(kinds[error.status], str(error), headers=headers)


def failed(document: Mapping[str, Any], *, late: bool) -> ProblemError:
    """The problem of a record that has an ``error``.

    :param document: the answer document.
    :param late: whether the request's time is over.
    """
    error = document["error"]
    codes = _codes(document)
    unavailable = not codes.isdisjoint(_UNAVAILABLE)
    kind = _kind(codes, unavailable, late)
    again = SOON_SECONDS if unavailable and not late and "all_unhealthy" not in codes else None
    detail = f"{error['code']}: {error['message']}"
    if kind is DEADLINE:
        detail = f"there was no answer in the time that the request allows: {error['message']}"
    return ProblemError(kind, detail, retry_after=again, extra={"answer": dict(document)})


def _codes(document: Mapping[str, Any]) -> set[str]:
    """What went wrong; for a quorum that was not met, of its members."""
    code = str(document["error"]["code"])
    members = {one["error"] for one in document["route"]["predictions"] if one.get("error") is not None}
    return members if code == "quorum_not_met" and members else {code}


def _kind(codes: set[str], unavailable: bool, late: bool) -> Kind:
    if unavailable:
        return DEADLINE if late else UNAVAILABLE
    if not codes.isdisjoint(_NO_FIT):
        return NO_MODEL_FITS
    return RECORD_REFUSED if codes.isdisjoint(_MODEL) else MODEL_FAILED


def job_problem(error: JobError) -> ProblemError:
    """An error of the job store as a problem."""
    detail = str(error)
    if isinstance(error, UnknownJobError):
        return ProblemError(NOT_FOUND, detail)
    if isinstance(error, KeyReusedError):
        return ProblemError(KEY_REUSED, detail, errors=[FieldError(KEY_POINTER, detail)])
    if isinstance(error, JobKeyError):
        return ProblemError(INVALID_REQUEST, detail, errors=[FieldError(KEY_POINTER, detail)])
    if isinstance(error, JobTooLargeError):
        return ProblemError(TOO_LARGE, detail)
    if error.retryable:
        return ProblemError(NOT_READY, detail, retry_after=LATER_SECONDS)
    return ProblemError(CONFLICT, detail)


def airflow_problem(error: AirflowApiError) -> ProblemError:
    """An error of Airflow's API as a problem."""
    if isinstance(error, AirflowUnavailableError):
        return ProblemError(NOT_READY, str(error), retry_after=LATER_SECONDS)
    return ProblemError(AIRFLOW_FAILED, str(error))


def closed_problem(job: Job) -> ProblemError:
    """The problem that a job without a result ended with."""
    if job.error is None:
        return ProblemError(CONFLICT, f"the job {job.id} was {job.state}; send the request under another key")
    said = dict(job.error)
    kind = KINDS.get(str(said.get("type", "")).removeprefix("/problems/"), INTERNAL)
    errors = [FieldError(one["pointer"], one["detail"]) for one in said.get("errors", ())]
    extra = {name: value for name, value in said.items() if name not in _KNOWN}
    again = LATER_SECONDS if kind in _AGAIN else None
    return ProblemError(kind, str(said.get("detail", "")), errors=errors, extra=extra, retry_after=again)
