"""``airflow-agentic gateway``: answer requests over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from airflow_agentic.cli.options import HandlersOption, ProjectOption, UrisOption, listed


def gateway(
    *,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    workflow: Annotated[
        list[str] | None, typer.Option("--workflow", "-w", metavar="NAME", help="Serve this one. Repeatable; else all.")
    ] = None,
    project: ProjectOption = Path(),
    allow_handler: HandlersOption = None,
    allow_uri: UrisOption = None,
) -> None:
    """Answer requests over HTTP: POST /predict runs a workflow."""
    from airflow_agentic.coordinator import ModelPool
    from airflow_agentic.project import Project
    from airflow_agentic.serving.gateway.app import Gateway
    from airflow_agentic.serving.gateway.catalog import Catalog
    from airflow_agentic.serving.gateway.server import serve
    from airflow_agentic.serving.gateway.settings import Settings

    handlers = listed(allow_handler)
    pool = ModelPool(allowed_handlers=handlers)
    catalog = Catalog.load(Project.find(project, handlers), pool, names=listed(workflow))
    settings = Settings(allowed_uris=listed(allow_uri))
    serve(Gateway(catalog, settings), pool, host=host, port=port)
