"""What the gateway takes and gives, as OpenAPI: written by hand, because no model is built of a request.

The integration test with schemathesis holds it against what the gateway does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from airflow_agentic.serving.gateway.problems import KINDS, MEDIA_TYPE
from airflow_agentic.serving.gateway.stream import MEDIA_TYPE as NDJSON

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
NUMBER: Final[Schema] = {"type": "number"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_LIMIT: Final[Schema] = {"type": "number", "minimum": 0}


def _object(properties: Mapping[str, Schema], required: Sequence[str] = (), *, closed: bool = False) -> Schema:
    made: Schema = {"type": "object", "properties": dict(properties)}
    if required:
        made["required"] = list(required)
    return {**made, "additionalProperties": False} if closed else made


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _said(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


_RECORD: Final[dict[str, Schema]] = {
    "input": _said(
        {"anyOf": [TEXT, {"type": "object"}, {"type": "array"}]},
        "A text; lists of numbers; an object: a structure, or {uri}, {bytes} or {text} alone.",
    ),
    "text": _said(TEXT, "A text. One of input, text, uri and bytes is given."),
    "uri": _said(TEXT, "A file below a prefix that the gateway allows."),
    "bytes": _said({"type": "string", "contentEncoding": "base64"}, "A file's content."),
    "record_id": _said({"anyOf": [TEXT, {"type": "integer"}]}, "Else it is derived from content and place."),
    "task": TEXT,
    "language": _said(TEXT, "Only models that speak it are asked."),
    "max_latency_ms": _said(_LIMIT, "Of each model; of a single record also the whole request's deadline."),
    "max_cost": _said(_LIMIT, "Of one call of a model."),
    "min_quality": _said(_LIMIT, "Of each model."),
    "features": _said(
        {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}},
        "Columns that the workflow's conditions use.",
    ),
}
_REQUEST: Final[dict[str, Schema]] = {
    "task": _said(TEXT, "Finds the workflow, where none is named."),
    "workflow": TEXT,
    "mode": _said(
        {"enum": ["sync", "async", "dag"]}, "Answered at once; as a job; by a run of the workflow's Dag in Airflow."
    ),
}
_ERROR: Final = _object({"code": TEXT, "message": TEXT, "retryable": {"type": "boolean"}}, ["code", "message"])
_ANSWER: Final[dict[str, Schema]] = {
    "record_id": TEXT,
    "task": {"type": ["string", "null"]},
    "label": TEXT,
    "score": NUMBER,
    "value": NUMBER,
    "output": {},
    "error": _ERROR,
    "model": {"type": ["string", "null"]},
    "version": _said(TEXT, "Of the one model that answered."),
    "degraded": _said({"type": "boolean"}, "Whether a part of the plan was lost, and the answer is what is left."),
    "cost": _said(NUMBER, "Of all calls."),
    "calls": COUNT,
    "latency_ms": {"type": ["number", "null"]},
    "route": _object(
        {
            "rule": {"type": ["string", "null"]},
            "reason": {"type": ["string", "null"]},
            "predictions": {"type": "array", "items": {"type": "object"}},
        }
    ),
}
_MEMBER: Final = {"name": TEXT, "description": TEXT, "state": TEXT}

SCHEMAS: Final[dict[str, Schema]] = {
    "Record": _object(_RECORD, closed=True),
    "OneRecord": _object({**_RECORD, **_REQUEST}, closed=True),
    "ManyRecords": _object(
        {
            **_REQUEST,
            "records": {"type": "array", "minItems": 1, "items": {"anyOf": [TEXT, {"type": "object"}]}},
            "prepared": _said(
                {"type": "boolean"}, "They are preprocessed, as a run's shards; answers are whole rows. Not with dag."
            ),
        },
        ["records"],
        closed=True,
    ),
    "Answer": _object({**_ANSWER, "workflow": TEXT}, ["record_id", "degraded", "cost", "calls", "route"]),
    "Answers": _object(
        {
            "workflow": TEXT,
            "answers": {"type": "array", "items": _object(_ANSWER)},
            "records": COUNT,
            "failed": _said(COUNT, "How many of them have an error."),
        },
        ["answers", "records", "failed"],
    ),
    "Rows": _object(
        {
            "workflow": TEXT,
            "answers": {"type": "array", "items": {"type": "object"}},
            "records": COUNT,
            "failed": COUNT,
            "lost": _said({"type": "array", "items": TEXT}, "Models that were lost meanwhile."),
        },
        ["answers", "records", "failed", "lost"],
    ),
    "Job": _object(
        {
            "id": TEXT,
            "state": {
                "enum": [
                    "submitted", "working", "input-required", "completed", "failed", "canceled", "rejected"
                ]
            },
            "mode": {"enum": ["sync", "async", "dag"]},
            "workflow": TEXT,
            "created": {"type": "string", "format": "date-time"},
            "updated": {"type": "string", "format": "date-time"},
            "expires": {"type": "string", "format": "date-time"},
            "dag_run": TEXT,
            "result": {"anyOf": [_ref("Answer"), _ref("Answers"), _ref("Rows")]},
            "error": _ref("Problem"),
        },
        ["id", "state", "mode", "workflow", "created", "updated", "expires"],
    ),
    "Problem": _object(
        {
            "type": {"enum": [kind.type for kind in KINDS.values()]},
            "title": TEXT,
            "status": {"type": "integer"},
            "detail": _said(TEXT, "What was given, why it cannot be, and the way out."),
            "request_id": TEXT,
            "errors": {"type": "array", "items": _object({"pointer": TEXT, "detail": TEXT}, ["pointer", "detail"])},
            "answer": _said(_object(_ANSWER), "Of a record without one: its error, and the route that it took."),
        },
        ["type", "title", "status", "detail"],
    ),
    "Tasks": _object(
        {
            "tasks": {
                "type": "array",
                "items": _object({"task": TEXT, "workflows": {"type": "array", "items": _object(_MEMBER)}}, ["task"]),
            }
        },
        ["tasks"],
    ),
    "Models": _object({"models": {"type": "array", "items": _object({"name": TEXT, "state": TEXT})}}, ["models"]),
    "Plan": _object({"workflow": TEXT, "digest": TEXT, "drawing": TEXT, "mermaid": TEXT}, ["workflow", "drawing"]),
    "Kind": _object({"type": TEXT, "status": {"type": "integer"}, "title": TEXT, "way_out": TEXT}, ["type", "status"]),
    "Kinds": _object({"problems": {"type": "array", "items": _ref("Kind")}}, ["problems"]),
    "Health": _object({"status": TEXT}, ["status"]),
}  # fmt: skip

EXAMPLES: Final[dict[str, Any]] = {
    "a text": {"value": {"task": "text-analysis", "input": "This is a test sentence."}},
    "limits": {"value": {"task": "text-analysis", "input": "Cheap, please.", "max_cost": 0.001, "min_quality": 0.6}},
    "a file by its URI": {"value": {"task": "image-classification", "uri": "s3://photos/1.jpg"}},
    "several records": {
        "value": {"task": "text-analysis", "records": ["Good.", {"record_id": "b", "text": "Not so good."}]}
    },
    "later": {"value": {"task": "text-analysis", "input": "No hurry.", "mode": "async"}},
}
_HEADERS: Final = (
    ("X-Request-Timeout-Ms", {"type": "integer", "minimum": 1, "maximum": 999_999_999_999}, "How long it may take."),
    ("Idempotency-Key", {"type": "string", "pattern": "^[!-~]{1,255}$"}, "The same key is answered once."),
)

Status = int
_GIVES: Final[dict[tuple[str, str], dict[Status, Schema]]] = {
    ("post", "/predict"): {200: {"anyOf": [_ref("Answer"), _ref("Answers"), _ref("Rows")]}, 202: _ref("Job")},
    ("get", "/tasks"): {200: _ref("Tasks")},
    ("get", "/models"): {200: _ref("Models")},
    ("get", "/plans/{workflow}"): {200: _ref("Plan")},
    ("get", "/problems"): {200: _ref("Kinds")},
    ("get", "/problems/{name}"): {200: _ref("Kind")},
    ("get", "/jobs/{job_id}"): {200: _ref("Job")},
    ("post", "/jobs/{job_id}/cancel"): {200: _ref("Job")},
    ("delete", "/jobs/{job_id}"): {200: _ref("Job")},
    ("get", "/health/live"): {200: _ref("Health")},
    ("get", "/health/ready"): {200: _ref("Health"), 503: _ref("Health")},
}
_ASKED: Final = (401, 403, 421, 503)
_MORE: Final[dict[tuple[str, str], tuple[Status, ...]]] = {
    ("post", "/predict"): (400, 408, 409, 413, 415, 422, 429, 500, 502, 504),
    ("get", "/plans/{workflow}"): (404,),
    ("get", "/problems/{name}"): (404,),
    ("get", "/jobs/{job_id}"): (404, 422),
    ("post", "/jobs/{job_id}/cancel"): (404, 502),
    ("delete", "/jobs/{job_id}"): (404, 502),
}


def describe(app: FastAPI) -> None:
    """Let ``app`` give this description."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation extends it


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    document["components"] = {"schemas": SCHEMAS, "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            operation["responses"] = _responses(method, path)
    predict = document["paths"]["/predict"]["post"]
    predict["requestBody"] = _body()
    predict["parameters"] = [
        {"name": name, "in": "header", "required": False, "schema": schema, "description": said}
        for name, schema, said in _HEADERS
    ]
    return document


def _responses(method: str, path: str) -> dict[str, Any]:
    public = path.startswith(("/health", "/problems"))
    problems = [*(() if public else _ASKED), *_MORE.get((method, path), ())]
    found = {status: ({MEDIA_TYPE: {"schema": _ref("Problem")}}, "A problem (RFC 9457).") for status in problems}
    for status, schema in _GIVES[method, path].items():
        found[status] = ({"application/json": {"schema": schema}}, "The answer.")
    if path == "/predict":
        found[200][0][NDJSON] = {"schema": _said(TEXT, "One answer a line, as they are made.")}
    return {str(status): {"description": said, "content": content} for status, (content, said) in sorted(found.items())}


def _body() -> dict[str, Any]:
    one_file = {"file": {"type": "string", "contentMediaType": "application/octet-stream"}, **_REQUEST}
    return {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"anyOf": [_ref("OneRecord"), _ref("ManyRecords")]},
                "examples": EXAMPLES,
            },
            NDJSON: {"schema": _said(TEXT, "One record a line; task and workflow stand in the query.")},
            "multipart/form-data": {"schema": _object(one_file, ["file"])},
        },
    }
