"""Gateways without a network: fake models, the application called by httpx."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
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
