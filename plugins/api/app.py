"""The routes below ``/agentic`` as one application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI

from airflow_agentic.plugins.api.gateway import gateway_routes
from airflow_agentic.plugins.api.problems import handle_errors
from airflow_agentic.plugins.api.runs import run_routes
from airflow_agentic.plugins.api.workflow import workflow_routes

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_agentic.plugins.api.access import Access
    from airflow_agentic.plugins.api.desk import Desk
    from airflow_agentic.plugins.api.shelf import Shelf
    from airflow_agentic.plugins.api.upstream import Upstream
    from airflow_agentic.plugins.api.workflow import Dag


def create(
    access: Access, *, shelf: Shelf, find_dag: Callable[[str], Dag | None], upstream: Upstream, desk: Desk
) -> FastAPI:
    """The application; it shows no description of itself, which would need no login."""
    app = FastAPI(title="airflow-agentic", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    handle_errors(app)
    app.include_router(workflow_routes(access, find_dag, desk))
    app.include_router(run_routes(access, shelf, desk))
    app.include_router(gateway_routes(access, upstream))
    return app
