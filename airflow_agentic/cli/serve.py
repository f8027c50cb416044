"""``airflow-agentic serve``: models as microservices, by the Open Inference Protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from airflow_agentic.cli import exits
from airflow_agentic.cli.options import HandlersOption, ProjectOption, listed


def serve(
    *,
    models: Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...", show_default="all of the project")] = None,
    project: ProjectOption = Path(),
    cards: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder of the cards.", show_default="the project's 'models'")
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen at; 0.0.0.0 is all of this machine's.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8080,
    grpc_port: Annotated[
        int | None, typer.Option(min=0, max=65535, show_default="no gRPC", help="Answer gRPC, too, at this port.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that share the port; each has its own copy of the models.")
    ] = 1,
    allow_handler: HandlersOption = None,
    queue_requests: Annotated[
        int, typer.Option(min=1, help="Requests that may wait for a model; more are answered with 429.")
    ] = 1000,
    queue_size: Annotated[str, typer.Option(metavar="SIZE", help="What they may hold, as 256Mi.")] = "256Mi",
    body_size: Annotated[str, typer.Option(metavar="SIZE", help="The largest request that is taken.")] = "64Mi",
    drain: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="After SIGTERM, for clients to go elsewhere.")
    ] = 5.0,
    grace: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="That requests under way may take then.")
    ] = 15.0,
) -> None:
    """Serve models by the Open Inference Protocol v2, until Ctrl-C or SIGTERM."""
    from airflow_agentic.project import Project

    try:
        from airflow_agentic.serving.processes import Options, log_to_stderr, read_cards, run
    except ImportError as error:
        from airflow_agentic.exceptions import MissingExtraError

        raise MissingExtraError(str(error.name), "serving") from None
    log_to_stderr()
    options = Options(
        cards=str(cards or Project.find(project).root / "models"),
        models=tuple(models or ()),
        host=host,
        port=port,
        grpc_port=grpc_port,
        workers=workers,
        allowed_handlers=listed(allow_handler),
        queue_requests=queue_requests,
        queue_bytes=_size(queue_size, "--queue-size"),
        body_bytes=_size(body_size, "--body-size"),
        drain=drain,
        grace=grace,
    )
    read_cards(options)
    if not run(options):
        raise typer.Exit(exits.MODEL)


def _size(text: str, option: str) -> int:
    from airflow_agentic.spec.base import size

    try:
        return size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
