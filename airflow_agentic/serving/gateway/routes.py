"""Everything but ``/predict``, by FastAPI: what there is, how it is, what the problems mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response as HttpResponse
from starlette.exceptions import HTTPException

from airflow_agentic._version import __version__
from airflow_agentic.serving.gateway.documents import invalid
from airflow_agentic.serving.gateway.jobs import job_document
from airflow_agentic.serving.gateway.openapi import describe
from airflow_agentic.serving.gateway.problems import (
    BAD_HTTP,
    KINDS,
    MEDIA_TYPE,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    FieldError,
    ProblemError,
)
from airflow_agentic.spec.base import nearest

if TYPE_CHECKING:
    from airflow_agentic.serving.access import Client
    from airflow_agentic.serving.gateway.exchange import Exchange
    from airflow_agentic.serving.gateway.modes import Modes
    from airflow_agentic.serving.gateway.readiness import Readiness
    from airflow_agentic.serving.gateway.views import Views

PUBLIC: Final = ("/health/", "/problems", "/openapi.json")
"""What needs no token: whether it lives, and what its words mean."""


class Json(HttpResponse):
    """An answer as orjson writes it."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Its body."""
        return orjson.dumps(content)


def client_of(request: Request) -> Client:
    """Who asks; the gateway has let it in."""
    client: Client = request.scope["agentic.client"]
    return client


def framework(views: Views, readiness: Readiness, modes: Modes) -> FastAPI:
    """The application of all routes but ``POST /predict``."""
    app = FastAPI(title="airflow-agentic gateway", version=__version__, docs_url=None, redoc_url=None)
    describe(app)
    _handle_errors(app)
    _show(app, views)
    _jobs(app, modes)
    _health(app, readiness)
    return app


def _show(app: FastAPI, views: Views) -> None:
    @app.post("/predict", tags=["answers"], summary="Answer records by a workflow")
    async def predict() -> HttpResponse:
        raise RuntimeError("the gateway answers this route before FastAPI's routing")

    @app.get("/tasks", tags=["what there is"], summary="The tasks that can be asked for")
    async def tasks(request: Request) -> HttpResponse:
        return Json(views.tasks(client_of(request)))

    @app.get("/models", tags=["what there is"], summary="The models that answer, and how far each is")
    async def models(request: Request) -> HttpResponse:
        return Json(views.models(client_of(request)))

    @app.get("/plans/{workflow}", tags=["what there is"], summary="A workflow's plan, and drawings of it")
    async def plan(workflow: str, request: Request) -> HttpResponse:
        return Json(views.plan(workflow, client_of(request)))

    @app.get("/problems", tags=["problems"], summary="The kinds of problems")
    async def problems() -> HttpResponse:
        return Json({"problems": [_kind(name) for name in KINDS]})

    @app.get("/problems/{name}", tags=["problems"], summary="What a kind of problem means")
    async def problem(name: str) -> HttpResponse:
        if name not in KINDS:
            near = nearest(name, KINDS)
            hint = f"did you mean {near!r}?" if near else "see GET /problems"
            raise ProblemError(NOT_FOUND, f"no problem is called {name[:80]!r}; {hint}")
        return Json(_kind(name))


def _jobs(app: FastAPI, modes: Modes) -> None:
    @app.get("/jobs/{job_id}", tags=["jobs"], summary="What became of a job")
    async def job(job_id: str, request: Request, result: bool = True) -> HttpResponse:  # a query parameter
        return Json(job_document(await modes.jobs.job(job_id, client_of(request)), result=result))

    @app.post("/jobs/{job_id}/cancel", tags=["jobs"], summary="End a job; one that is closed stays as it is")
    async def cancel(job_id: str, request: Request) -> HttpResponse:
        return Json(job_document(await modes.cancel(job_id, client_of(request))))

    @app.delete("/jobs/{job_id}", tags=["jobs"], summary="The same as cancel")
    async def delete(job_id: str, request: Request) -> HttpResponse:
        return Json(job_document(await modes.cancel(job_id, client_of(request))))


def _health(app: FastAPI, readiness: Readiness) -> None:
    @app.get("/health/live", tags=["health"], summary="Whether the process lives")
    async def live() -> HttpResponse:
        return Json({"status": "live"})

    @app.get("/health/ready", tags=["health"], summary="Whether every workflow can answer")
    async def ready() -> HttpResponse:
        return Json(readiness.document(), status_code=200 if readiness.ready else 503)


def _kind(name: str) -> dict[str, Any]:
    kind = KINDS[name]
    return {"type": kind.type, "status": kind.status, "title": kind.title, "way_out": kind.way_out}


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(ProblemError)
    async def problem(request: Request, error: ProblemError) -> HttpResponse:
        return _response(request, error)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> HttpResponse:
        return _response(request, _of_http(request, error))

    @app.exception_handler(RequestValidationError)
    async def validation(request: Request, error: RequestValidationError) -> HttpResponse:
        found = [FieldError("/".join(map(str, one["loc"])), str(one["msg"])) for one in error.errors()]
        return _response(request, invalid(found))


def _response(request: Request, error: ProblemError) -> HttpResponse:
    exchange: Exchange = request.scope["agentic.exchange"]
    made = error.response(exchange.request_id)
    return HttpResponse(made.body, status_code=made.status, media_type=MEDIA_TYPE, headers=dict(made.headers))


def _of_http(request: Request, error: HTTPException) -> ProblemError:
    path = request.url.path[:80]
    if error.status_code == METHOD_NOT_ALLOWED.status:
        allowed = (error.headers or {}).get("Allow", "")
        detail = f"{path!r} takes {allowed or 'other methods'}, not {request.method}"
        return ProblemError(METHOD_NOT_ALLOWED, detail, headers=[("allow", allowed)])
    if error.status_code == NOT_FOUND.status:
        return ProblemError(NOT_FOUND, f"there is nothing at {path!r}; see /openapi.json")
    return ProblemError(BAD_HTTP, str(error.detail))
