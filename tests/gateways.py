"""Gateways without a network: fake models, the application called by httpx."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from queue import Queue
from typing import Any

import httpx
from aiohttp import web
from aiohttp.test_utils import TestServer
from builders import workflow
from executing import ALLOWED, CARDS, World

from airflow_agentic.coordinator import Coordinator, ModelPool
from airflow_agentic.project import Workflow
from airflow_agentic.registry import Registry
from airflow_agentic.serving.access import Authenticator
from airflow_agentic.serving.gateway.app import Gateway
from airflow_agentic.serving.gateway.catalog import Catalog, Served
from airflow_agentic.serving.gateway.dags import DagRuns
from airflow_agentic.serving.gateway.settings import Limits, Settings
from airflow_agentic.serving.jobs import SqlJobs
from airflow_agentic.spec import ModelCard, WorkflowSpec

VOTE = {"ensemble": ["a", "b", "c"], "quorum": 2}


def moods(use: Any = VOTE, **changes: Any) -> WorkflowSpec:
    """A workflow for texts: three models vote."""
    return workflow([{"name": "main", "use": use}], **{"name": "moods", **changes})


def served(spec: WorkflowSpec, pool: ModelPool) -> Served:
    whole = Workflow(spec, Registry.of(*CARDS), allowed_handlers=ALLOWED)
    return Served(whole, Coordinator(whole.plan, pool=pool, allowed_handlers=ALLOWED, frozen=True))


@asynccontextmanager
async def gateway(
    world: World | None = None,
    *,
    specs: Sequence[WorkflowSpec] = (),
    uris: Sequence[str] = (),
    authenticator: Authenticator | None = None,
    dags: DagRuns | None = None,
    jobs: str = "sqlite://",
    starter: Callable[[ModelCard], Any] | None = None,
    **limits: Any,
) -> AsyncIterator[Gateway]:
    """An application; its models end with it."""
    pool = ModelPool(starter=starter or (world or World()).start)
    catalog = Catalog({spec.name: served(spec, pool) for spec in specs or [moods()]})
    settings = Settings(allowed_uris=tuple(uris), limits=Limits(**limits))
    app = Gateway(catalog, settings, store=SqlJobs.open(jobs), authenticator=authenticator, dags=dags)
    try:
        yield app
    finally:
        await app.stop()


@asynccontextmanager
async def asking(world: World | None = None, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of such an application."""
    async with gateway(world, **options) as app, client_of(app) as client:
        yield client


def client_of(app: Gateway) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost")


async def forwarding(app: Gateway) -> TestServer:
    """A server in front of an application without a network."""
    client = client_of(app)

    async def forward(request: web.Request) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        given: httpx.Response = await client.request(
            request.method, str(request.rel_url), content=await request.read(), headers=headers
        )
        return web.Response(status=given.status_code, body=given.content, headers={"Content-Type": "application/json"})

    server = web.Application(client_max_size=2**26)
    server.router.add_route("*", "/{tail:.*}", forward)
    made = TestServer(server)
    await made.start_server()
    return made


@contextmanager
def in_thread(world: World | None = None, **options: Any) -> Iterator[str]:
    """The URL of such an application, which also works on its jobs, for callers without a loop."""
    url: Queue[str] = Queue()
    ending = threading.Event()

    async def serve() -> None:
        async with gateway(world, **options) as app:
            app.modes.jobs.start()
            server = await forwarding(app)
            url.put(str(server.make_url("")).rstrip("/"))
            await asyncio.to_thread(ending.wait)
            await server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        yield url.get(timeout=30)
    finally:
        ending.set()
        thread.join()
