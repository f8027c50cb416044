"""The routes that ask the configured gateway, for somebody who is logged in here. Off without a gateway."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from airflow_agentic.plugins.api.access import Caller
from airflow_agentic.plugins.api.problems import ProblemError
from airflow_agentic.plugins.api.runs import NO_STORE
from airflow_agentic.plugins.api.upstream import document

if TYPE_CHECKING:
    from airflow_agentic.plugins.api.access import Access
    from airflow_agentic.plugins.api.upstream import Reply, Upstream

MOST_BODY: Final = 8 * 2**20
BODY_SECONDS: Final = 30.0
SECONDS: Final = 60.0
"""Of a request that states no time."""
MOST_SECONDS: Final = 600.0
LIST_SECONDS: Final = 10.0

_JOB: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEY: Final = "idempotency-key"
_TIMEOUT: Final = "x-request-timeout-ms"


def gateway_routes(access: Access, upstream: Upstream) -> APIRouter:
    """``/predict``, ``/gateway/tasks``, ``/gateway/models`` and ``/gateway/jobs/{id}``: no other path is handed on."""
    router = APIRouter()
    logged_in: Any = Depends(access.caller)

    @router.post("/predict")
    async def predict(request: Request, caller: Caller = logged_in) -> Response:
        return await _predict(request, caller, upstream)

    @router.get("/gateway/tasks")
    async def tasks(caller: Caller = logged_in) -> Response:
        found = await _entries(upstream, "tasks", caller)
        seen = await run_in_threadpool(caller.visible, [each["name"] for one in found for each in one["workflows"]])
        kept = [{**one, "workflows": [each for each in one["workflows"] if each["name"] in seen]} for one in found]
        return _shown("tasks", kept)

    @router.get("/gateway/models")
    async def models(caller: Caller = logged_in) -> Response:
        found = await _entries(upstream, "models", caller)
        seen = await run_in_threadpool(caller.visible, [name for one in found for name in one["workflows"]])
        return _shown("models", [{**one, "workflows": [n for n in one["workflows"] if n in seen]} for one in found])

    @router.get("/gateway/jobs/{job_id}")
    async def job(job_id: str, request: Request, caller: Caller = logged_in) -> Response:
        if _JOB.fullmatch(job_id) is None:
            raise ProblemError(404, f"there is no job {job_id[:80]!r}; give the id that the gateway gave you")
        reply = await upstream.ask("GET", f"/jobs/{job_id}", user=caller.name, seconds=LIST_SECONDS)
        return _handed(reply, request)

    return router


async def _predict(request: Request, caller: Caller, upstream: Upstream) -> Response:
    """Ask for what the body says; the workflow is named in what is sent, so that the gateway chooses no other one."""
    until = time.monotonic() + _seconds(request)
    asked = await _body(request)
    workflow = asked.get("workflow")
    if workflow is None:
        workflow = await _workflow_of(asked.get("task"), caller, upstream)
    if not isinstance(workflow, str):
        raise ProblemError(422, f"'workflow' is a {type(workflow).__name__}; give a workflow's name")
    await run_in_threadpool(caller.require_predict, workflow)
    key = request.headers.get(_KEY)
    reply = await upstream.ask(
        "POST",
        "/predict",
        user=caller.name,
        seconds=max(0.001, until - time.monotonic()),
        body=json.dumps({**asked, "workflow": workflow}).encode(),
        headers={"Content-Type": "application/json", **({} if key is None else {"Idempotency-Key": key})},
    )
    return _handed(reply, request)


async def _workflow_of(task: Any, caller: Caller, upstream: Upstream) -> str:
    """The workflow that does ``task``, of those whose Dags the caller sees."""
    if not isinstance(task, str):
        raise ProblemError(422, "the body names no workflow; give 'workflow', or the 'task' that one does")
    found = await _entries(upstream, "tasks", caller)
    named = [each["name"] for one in found if one["task"] == task for each in one["workflows"]]
    seen = sorted(await run_in_threadpool(caller.visible, named))
    if not seen:
        raise ProblemError(422, f"no workflow that you may see does the task {task[:80]!r}; see /agentic/gateway/tasks")
    if len(seen) > 1:
        raise ProblemError(422, f"several workflows do {task!r} ({', '.join(seen)}); choose one with 'workflow'")
    return str(seen[0])


async def _entries(upstream: Upstream, what: str, caller: Caller) -> list[dict[str, Any]]:
    """What the gateway lists."""
    reply = await upstream.ask("GET", f"/{what}", user=caller.name, seconds=LIST_SECONDS)
    found = document(reply)
    if reply.status != 200 or not isinstance(found, dict) or not isinstance(found.get(what), list):
        raise ProblemError(502, f"the gateway answers {reply.status} where it should list its {what}")
    entries: list[dict[str, Any]] = found[what]
    return entries


def _shown(what: str, entries: list[dict[str, Any]]) -> Response:
    """Entries of workflows that the caller sees."""
    return JSONResponse({what: [one for one in entries if one["workflows"]]}, headers=NO_STORE)


def _handed(reply: Reply, request: Request) -> Response:
    """The gateway's answer as ours. Only JSON: a page from elsewhere has no business on Airflow's origin."""
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {"application/json", "application/problem+json"}:
        raise ProblemError(502, f"what is at the gateway's address answers {reply.status} without JSON")
    headers = {**reply.headers, **NO_STORE, "x-content-type-options": "nosniff"}
    if "location" in headers:
        headers["location"] = f"{request.scope['root_path']}/gateway{headers['location']}"
    return Response(reply.body, reply.status, headers)


def _seconds(request: Request) -> float:
    given = request.headers.get(_TIMEOUT)
    if given is None:
        return SECONDS
    if not (given.isascii() and given.isdigit()) or len(given) > 9 or int(given) == 0:
        raise ProblemError(422, f"X-Request-Timeout-Ms is {given[:60]!r}; give the milliseconds that are left, from 1")
    return min(int(given) / 1000.0, MOST_SECONDS)


async def _body(request: Request) -> dict[str, Any]:
    """The body, a JSON object, read within bounds."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ProblemError(415, "only application/json is handed on; send files and NDJSON to the gateway itself")
    held = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                held += chunk
                if len(held) > MOST_BODY:
                    raise ProblemError(413, f"the body has more than {MOST_BODY:,} bytes; send less")
    except TimeoutError:
        raise ProblemError(408, f"the body did not come within {BODY_SECONDS:g} s; send it faster") from None
    except ClientDisconnect:
        raise ProblemError(400, "the client went away before its body had come") from None
    try:
        found = json.loads(held)
    except (ValueError, RecursionError):
        raise ProblemError(400, 'the body is no JSON; send an object, as {"task": …, "input": …}') from None
    if not isinstance(found, dict):
        raise ProblemError(400, 'the body is no JSON object; send one, as {"task": …, "input": …}')
    return found
