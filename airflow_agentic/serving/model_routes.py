"""The model server's routes beside inference, by FastAPI, and the description of all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from airflow_agentic import __version__
from airflow_agentic.exceptions import AgenticError
from airflow_agentic.openinference.datatypes import DATATYPES
from airflow_agentic.serving.errors import http_status

if TYPE_CHECKING:
    from airflow_agentic.serving.model_server import ModelServer

NAME: Final = "airflow-agentic"
EXTENSIONS: Final = ("binary_tensor_data", "model_repository")

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_PARAMETERS: Final[Schema] = {
    "type": "object",
    "additionalProperties": {"type": ["string", "number", "boolean"]},
}
_TENSOR: Final[Schema] = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": _TEXT,
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"enum": list(DATATYPES)},
        "parameters": _PARAMETERS,
        "data": {"type": "array", "description": "Flat, or nested as shape; not with binary_data_size."},
    },
}
_OUTPUT: Final[Schema] = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": _TEXT, "parameters": _PARAMETERS},
}
_REQUEST: Final[Schema] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {**_TEXT, "description": "Comes back in the response."},
        "parameters": _PARAMETERS,
        "inputs": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Tensor"}},
        "outputs": {"type": "array", "items": _OUTPUT, "description": "Those that are wanted; all by default."},
    },
}
_RESPONSE: Final[Schema] = {
    "type": "object",
    "required": ["model_name", "outputs"],
    "properties": {
        "model_name": _TEXT,
        "model_version": _TEXT,
        "id": _TEXT,
        "parameters": _PARAMETERS,
        "outputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
    },
}
_SCHEMAS: Final = {"Tensor": _TENSOR, "InferenceRequest": _REQUEST, "InferenceResponse": _RESPONSE}


def application(server: ModelServer) -> FastAPI:
    """Health, metadata and documentation."""

    async def refuse(request: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, HTTPException):
            return JSONResponse({"error": str(error)}, http_status(error))
        allowed = (error.headers or {}).get("Allow")
        way_out = f"use {allowed}" if allowed else "see /docs for those that there are"
        what = f"{request.method} {request.url.path}" if allowed else f"no such path: {request.url.path}"
        return JSONResponse({"error": f"{what}{':' if allowed else ';'} {way_out}"}, error.status_code, error.headers)

    app = FastAPI(
        title="airflow-agentic model server",
        version=__version__,
        summary="Open Inference Protocol v2",
        responses={"4XX": _answer("What is wrong with the request", "error", "string")},
    )
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]  # FastAPI says to do so
    app.add_exception_handler(HTTPException, refuse)
    app.add_exception_handler(AgenticError, refuse)
    _health(app, server)
    _metadata(app, server)
    return app


def _health(app: FastAPI, server: ModelServer) -> None:
    repository = server.repository
    readiness: dict[int | str, dict[str, Any]] = {
        200: _answer("It is", "ready", "boolean"),
        503: _answer("It is not", "ready", "boolean"),
    }

    @app.get("/v2/health/live")
    async def server_live() -> dict[str, bool]:
        """Whether the server lives."""
        return {"live": True}

    @app.get("/v2/health/ready", response_model=None, responses=readiness)
    async def server_ready() -> JSONResponse:
        """Whether every model was loaded, and one answers."""
        ready = repository.ready and not server.draining
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    @app.get("/v2/models/{name}/ready", response_model=None, responses=readiness)
    @app.get("/v2/models/{name}/versions/{version}/ready", response_model=None, responses=readiness)
    async def model_ready(name: str, version: str | None = None) -> JSONResponse:
        """Whether a model answers."""
        model = repository.find(name, version)
        ready = model.ready and not server.draining
        return JSONResponse({"name": name, "ready": ready}, 200 if ready else 503)


def _metadata(app: FastAPI, server: ModelServer) -> None:
    repository = server.repository

    @app.get("/v2")
    async def server_metadata() -> dict[str, Any]:
        """Name, version and extensions of the server."""
        return {"name": NAME, "version": __version__, "extensions": list(EXTENSIONS)}

    @app.get("/v2/models")
    async def models() -> dict[str, list[str]]:
        """The names of the models."""
        return {"models": sorted(repository.current)}

    @app.get("/v2/models/{name}")
    @app.get("/v2/models/{name}/versions/{version}")
    async def model_metadata(name: str, version: str | None = None) -> dict[str, Any]:
        """Versions, inputs and outputs of a model."""
        model = repository.find(name, version)
        return model.metadata.to_json() | {"versions": list(repository.versions(name))}

    @app.post("/v2/repository/index")
    async def index() -> list[dict[str, str]]:
        """Every version of every model: its state, and why it is not ready."""
        return [
            {"name": name, "version": version, "state": model.state.upper(), "reason": model.why}
            for name in sorted(repository.current)
            for version in repository.versions(name)
            for model in [repository.find(name, version)]
        ]


def _document(app: FastAPI) -> dict[str, Any]:
    """The description of all routes; inference is no route of FastAPI."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        document.setdefault("components", {}).setdefault("schemas", {}).update(_SCHEMAS)
        for path in ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"):
            document["paths"][path] = {"post": _inference(path)}
        app.openapi_schema = document
    return app.openapi_schema


def _inference(path: str) -> Schema:
    failures = {
        "4XX": "What is wrong with the request; 429: too much waits",
        "500": "The model raised an error, or broke its card",
        "503": "The model is loading or restarting, or the server ends",
        "504": "The request's time was over",
    }
    names = [name for name in ("name", "version") if f"{{{name}}}" in path]
    return {
        "summary": "Ask a model",
        "operationId": "infer_" + "_".join(names),
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": _TEXT} for name in names),
            {"name": "X-Request-Timeout-Ms", "in": "header", "schema": {"type": "integer", "minimum": 1}},
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _named("InferenceRequest")}}},
        "responses": {
            "200": {
                "description": "The answer",
                "content": {"application/json": {"schema": _named("InferenceResponse")}},
            },
            **{status: _answer(said, "error", "string") for status, said in failures.items()},
        },
    }


def _named(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _answer(what: str, key: str, kind: str) -> Schema:
    """A response: an object with a key."""
    schema = {"type": "object", "required": [key], "properties": {key: {"type": kind}}}
    return {"description": what, "content": {"application/json": {"schema": schema}}}
