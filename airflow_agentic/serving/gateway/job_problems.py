"""What goes wrong with jobs and Dag runs, as problems."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_agentic.exceptions import (
    AirflowApiError,
    AirflowUnavailableError,
    JobError,
    JobKeyError,
    JobTooLargeError,
    KeyReusedError,
    UnknownJobError,
)
from airflow_agentic.serving.gateway.problems import (
    AIRFLOW_FAILED,
    CONFLICT,
    INTERNAL,
    INVALID_REQUEST,
    KEY_REUSED,
    KINDS,
    NOT_FOUND,
    NOT_READY,
    OVERLOADED,
    TOO_LARGE,
    UNAVAILABLE,
    FieldError,
    ProblemError,
)

if TYPE_CHECKING:
    from airflow_agentic.serving.jobs import Job

RETRY_SECONDS = 5.0
KEY_POINTER = "header:Idempotency-Key"
_AGAIN = (NOT_READY, OVERLOADED, UNAVAILABLE)
_KNOWN = frozenset({"type", "title", "status", "detail", "request_id", "errors"})


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
        return ProblemError(NOT_READY, detail, retry_after=RETRY_SECONDS)
    return ProblemError(CONFLICT, detail)


def airflow_problem(error: AirflowApiError) -> ProblemError:
    """An error of Airflow's API as a problem."""
    if isinstance(error, AirflowUnavailableError):
        return ProblemError(NOT_READY, str(error), retry_after=RETRY_SECONDS)
    return ProblemError(AIRFLOW_FAILED, str(error))


def closed_problem(job: Job) -> ProblemError:
    """The problem that a job without a result ended with."""
    if job.error is None:
        return ProblemError(CONFLICT, f"the job {job.id} was {job.state}; send the request under another key")
    said = dict(job.error)
    kind = KINDS.get(str(said.get("type", "")).removeprefix("/problems/"), INTERNAL)
    errors = [FieldError(one["pointer"], one["detail"]) for one in said.get("errors", ())]
    extra = {name: value for name, value in said.items() if name not in _KNOWN}
    again = RETRY_SECONDS if kind in _AGAIN else None
    return ProblemError(kind, str(said.get("detail", "")), errors=errors, extra=extra, retry_after=again)
