"""``POST /predict`` as a bare ASGI function: reached before FastAPI's routing, and no model is built of the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from airflow_agentic.serving.gateway.body import ClientGoneError, Receive, Scope, Send, read_body
from airflow_agentic.serving.gateway.documents import PredictRequest, parse_request
from airflow_agentic.serving.gateway.exchange import Exchange
from airflow_agentic.serving.gateway.problems import (
    INVALID_JSON,
    INVALID_REQUEST,
    UNSUPPORTED_MEDIA,
    FieldError,
    ProblemError,
    Response,
)

if TYPE_CHECKING:
    from airflow_agentic.serving.gateway.answering import Answering
    from airflow_agentic.serving.gateway.catalog import Catalog, Served
    from airflow_agentic.serving.gateway.settings import Settings

TIMEOUT = b"x-request-timeout-ms"


class Predict:
    """The route ``POST /predict``."""

    def __init__(self, catalog: Catalog, answering: Answering, settings: Settings) -> None:
        self.catalog = catalog
        self.answering = answering
        self.limits = settings.limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong is a problem document."""
        exchange = Exchange(scope, receive, send)
        try:
            await self._json(exchange)
        except ProblemError as error:
            await exchange.refuse(error)
        except ClientGoneError:
            exchange.logged(499)
        except Exception:  # noqa: BLE001  # the last one to catch it: it is logged, and answered as a problem
            await exchange.fail()

    async def _json(self, exchange: Exchange) -> None:
        _check_media_type(exchange)
        asked = timeout(exchange)
        body = await read_body(
            exchange.headers, exchange.receive, most=self.limits.body_bytes, seconds=self.limits.body_seconds
        )
        request = parse_request(_parsed(body), most=self.limits.records)
        served = self.catalog.choose(workflow=request.workflow, task=_task(request))
        exchange.workflow = served.name
        until = self.answering.until(served, asked, request.deadline)
        document = await exchange.while_connected(self._answer(request, served, until))
        await exchange.respond(Response(200, orjson.dumps(document)))

    async def _answer(self, request: PredictRequest, served: Served, until: float) -> dict[str, Any]:
        if request.single:
            (record,) = request.records
            if not isinstance(record, dict):
                raise TypeError("a single record that is wrong is a problem")
            document = await self.answering.one(record, served, task=request.task, until=until)
            return {**document, "workflow": served.name}
        answers: list[dict[str, Any]] = []
        async for piece in self.answering.many(request.records, served, task=request.task, until=until):
            answers += piece
        failed = sum("error" in answer for answer in answers)
        return {"workflow": served.name, "answers": answers, "records": len(answers), "failed": failed}


def timeout(exchange: Exchange) -> float | None:
    """What ``X-Request-Timeout-Ms`` leaves, in seconds.

    :raises ProblemError: it is no whole number from 1.
    """
    given = exchange.header(TIMEOUT)
    if given is None:
        return None
    if not (given.isascii() and given.isdigit()) or len(given) > 12 or int(given) == 0:
        detail = f"X-Request-Timeout-Ms is {given[:60]!r}; give the milliseconds that are left, a whole number from 1"
        raise ProblemError(INVALID_REQUEST, detail, errors=[FieldError("header:X-Request-Timeout-Ms", detail)])
    return int(given) / 1000.0


def _check_media_type(exchange: Exchange) -> None:
    given = exchange.header(b"content-type") or ""
    if given.partition(";")[0].strip().lower() != "application/json":
        said = f"the body is {given[:60]!r}" if given else "the request states no Content-Type"
        detail = f"{said}; send application/json, application/x-ndjson or multipart/form-data"
        raise ProblemError(UNSUPPORTED_MEDIA, detail, headers=[("connection", "close")])


def _parsed(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        detail = f"the body is no JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise ProblemError(INVALID_JSON, detail) from error


def _task(request: PredictRequest) -> str | None:
    """What finds the workflow: the request's task, else that of its first record with one."""
    if request.task is not None:
        return request.task
    named = (record.get("task") for record in request.records if isinstance(record, dict))
    return next((task for task in named if isinstance(task, str)), None)
