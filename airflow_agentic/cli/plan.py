"""``airflow-agentic plan``: what a workflow compiles to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from airflow_agentic.cli.options import ProjectOption


def plan(
    name: Annotated[
        str | None, typer.Argument(metavar="[WORKFLOW]", help="Its name or file.", show_default="the only one")
    ] = None,
    *,
    format_: Annotated[
        Literal["text", "mermaid", "dot", "json"], typer.Option("--format", "-f", help="How it is drawn.")
    ] = "text",
    project: ProjectOption = Path(),
) -> None:
    """Draw the plan of a workflow."""
    from airflow_agentic.cli.choose import choose
    from airflow_agentic.plan import draw

    compiled = choose(project, workflow=name).plan
    if format_ == "json":  # without the folders: the same specs print the same text on every machine
        typer.echo(json.dumps(compiled.model_dump(mode="json", exclude={"folders"}), indent=2, ensure_ascii=False))
        return
    drawn = {"text": draw.terminal, "mermaid": draw.mermaid, "dot": draw.dot}[format_](compiled)
    typer.echo(drawn.rstrip("\n"))
