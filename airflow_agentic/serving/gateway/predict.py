"""``POST /predict`` as a bare ASGI function: reached before FastAPI's routing, and no model is built of the request."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

import orjson

from airflow_agentic.exceptions import OverloadedError
from airflow_agentic.serving.bodies import Bodies, HttpError
from airflow_agentic.serving.gateway.documents import PredictRequest, invalid, parse_request
from airflow_agentic.serving.gateway.door import Door, require
from airflow_agentic.serving.gateway.exchange import Exchange
from airflow_agentic.serving.gateway.failures import body_problem
from airflow_agentic.serving.gateway.forms import form_document
from airflow_agentic.serving.gateway.modes import KEY
from airflow_agentic.serving.gateway.problems import (
    INVALID_JSON,
    UNSUPPORTED_MEDIA,
    FieldError,
    ProblemError,
)
from airflow_agentic.serving.gateway.stream import MEDIA_TYPES, Streams
from airflow_agentic.spec.base import nearest

if TYPE_CHECKING:
    from airflow_agentic.serving.access import Client
    from airflow_agentic.serving.gateway.catalog import Catalog, Served
    from airflow_agentic.serving.gateway.modes import Modes
    from airflow_agentic.serving.gateway.settings import Settings

TIMEOUT: Final = b"x-request-timeout-ms"
JSON: Final = "application/json"
FORM: Final = "multipart/form-data"
QUERY: Final = ("task", "workflow")
LESS: Final = "send less, name large inputs by uri, or send NDJSON"


class Predict:
    """The route ``POST /predict``."""

    def __init__(self, catalog: Catalog, modes: Modes, door: Door, settings: Settings) -> None:
        self.catalog = catalog
        self.modes = modes
        self.door = door
        self.limits = limits = settings.limits
        self.streams = Streams(modes.answering, door, settings.limits)
        self.bodies = Bodies(limits.body_bytes, limits.body_seconds, limits.held_bytes, way_out=LESS)

    async def answer(self, exchange: Exchange, client: Client) -> None:
        """Answer one request.

        :raises ProblemError: it has no answer.
        :raises ClientGoneError: nobody is there to read it.
        """
        given = exchange.header(b"content-type") or ""
        media_type = given.partition(";")[0].strip().lower()
        asked = timeout(exchange)
        if media_type in MEDIA_TYPES:
            await self._stream(exchange, client, asked)
            return
        if media_type not in {JSON, FORM}:
            raise _unsupported(given)
        query(exchange, ())
        with ExitStack() as held:
            body = await self._body(exchange, held)
            document = _parsed(body) if media_type == JSON else form_document(body, given, most=self.limits.records)
            await self._whole(exchange, client, document, asked)

    async def _whole(self, exchange: Exchange, client: Client, document: object, asked: float | None) -> None:
        """Answer a request whose body has come whole."""
        request = parse_request(document, most=self.limits.records)
        served = self.choose(exchange, client, workflow=request.workflow, task=_task(request))
        with self.door.admitted(client, records=len(request.records)):
            answer = await self.modes.answer(exchange, client, request, served, document=document, asked=asked)
        await exchange.respond(answer)

    def choose(self, exchange: Exchange, client: Client, *, workflow: str | None, task: str | None) -> Served:
        """The workflow that a request means.

        :raises ProblemError: there is none, or ``client`` may not use it; of one that it may not use it hears nothing.
        """
        if workflow is not None:
            require(client, workflow)
        served = self.catalog.choose(client, workflow=workflow, task=task)
        exchange.workflow = served.name
        return served

    async def _stream(self, exchange: Exchange, client: Client, asked: float | None) -> None:
        if exchange.header(b"content-encoding") not in {None, "identity"}:
            raise ProblemError(UNSUPPORTED_MEDIA, "NDJSON is read as it is; send it without Content-Encoding")
        if exchange.header(KEY) is not None:
            detail = "streams are not kept, so that a key cannot stand for one; send it without, or send JSON"
            raise invalid([FieldError("header:Idempotency-Key", detail)])
        given = query(exchange, QUERY)
        served = self.choose(exchange, client, workflow=given.get("workflow"), task=given.get("task"))
        await self.streams.answer(exchange, client, served, task=given.get("task"), timeout=asked)

    async def _body(self, exchange: Exchange, held: ExitStack) -> bytes:
        length = exchange.headers.get(b"content-length", b"")
        encoding = exchange.headers.get(b"content-encoding", b"")
        try:
            body = await self.bodies.read(exchange.receive, int(length) if length.isdigit() else 0)
            body = await self.bodies.decoded(body, encoding)
            held.enter_context(self.bodies.holding(len(body)))
        except (HttpError, OverloadedError) as error:
            raise body_problem(error) from error
        return body


def timeout(exchange: Exchange) -> float | None:
    """What ``X-Request-Timeout-Ms`` leaves, in seconds.

    :raises ProblemError: it is no whole number from 1.
    """
    given = exchange.header(TIMEOUT)
    if given is None:
        return None
    if not (given.isascii() and given.isdigit()) or len(given) > 12 or int(given) == 0:
        detail = f"{given[:60]!r} is no time; give the milliseconds that are left, a whole number from 1"
        raise invalid([FieldError("header:X-Request-Timeout-Ms", detail)])
    return int(given) / 1000.0


def query(exchange: Exchange, known: tuple[str, ...]) -> dict[str, str]:
    """The query's parameters.

    :raises ProblemError: one is not among ``known``, or stands twice.
    """
    raw = exchange.scope["query_string"]
    if not raw:
        return {}
    pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=100)
    found = dict(pairs)
    for name in found:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near!r}?" if near else _no_query(known)
            raise invalid([FieldError(f"query:{name[:60]}", f"{name[:60]!r} is no parameter; {hint}")])
    if len(found) < len(pairs):
        raise invalid([FieldError("query", "a parameter stands twice; keep one of them")])
    return found


def _no_query(known: tuple[str, ...]) -> str:
    return f"there are: {', '.join(known)}" if known else "what JSON and forms say stands in the body"


def _unsupported(given: str) -> ProblemError:
    said = f"the body is {given[:60]!r}" if given else "the request states no Content-Type"
    detail = f"{said}; send application/json, application/x-ndjson or multipart/form-data"
    return ProblemError(UNSUPPORTED_MEDIA, detail, headers=[("connection", "close")])


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
