"""Problem details (RFC 9457): every way in which a request to ``/agentic`` ends without an answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from airflow_agentic.exceptions import AgenticError, ExpiredRunError, InputError, StoreError

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5.0


class ProblemError(AgenticError):
    """A request ends with a problem document; asking again can help where ``retry_after`` is given.

    :param detail: what was given, why it cannot be, and the way out.
    :param retry_after: seconds.
    :param extra: further members of the document.
    """

    def __init__(
        self, status: int, detail: str, *, retry_after: float | None = None, extra: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after = retry_after
        self.extra = dict(extra or {})

    def response(self) -> JSONResponse:
        """The problem as an answer."""
        title = HTTPStatus(self.status).phrase
        document = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail, **self.extra}
        headers = {"cache-control": "no-store"}
        if self.retry_after is not None:
            headers["retry-after"] = str(max(1, math.ceil(self.retry_after)))
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["www-authenticate"] = 'Bearer realm="airflow"'
        return JSONResponse(document, self.status, headers, MEDIA_TYPE)


def handle_errors(app: FastAPI) -> None:
    """Answer every error with a problem document; what is nobody's fault but ours goes on to Airflow, and its log."""

    @app.exception_handler(AgenticError)
    async def ours(request: Request, error: AgenticError) -> JSONResponse:
        return problem_of(error).response()

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        answer = ProblemError(error.status_code, _detail(request, error)).response()
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(RequestValidationError)
    async def validation(request: Request, error: RequestValidationError) -> JSONResponse:
        return ProblemError(422, _said(error.errors())).response()


def problem_of(error: AgenticError) -> ProblemError:
    """An error of the core as a problem."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, ExpiredRunError):
        return ProblemError(410, str(error))
    if isinstance(error, StoreError):
        return ProblemError(503, str(error), retry_after=RETRY_SECONDS if error.retryable else None)
    return ProblemError(422 if isinstance(error, InputError) else 500, str(error))


def _detail(request: Request, error: HTTPException) -> str:
    if error.status_code == HTTPStatus.NOT_FOUND and error.detail == HTTPStatus.NOT_FOUND.phrase:
        return f"there is nothing at {request.url.path[:80]!r}; docs/how-to/airflow-api.md lists the routes"
    return str(error.detail)


def _said(errors: Sequence[Any]) -> str:
    return "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in errors[:5])
