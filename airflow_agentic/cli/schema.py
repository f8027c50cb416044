"""``airflow-agentic schema``: JSON Schemas for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def schema(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where they are written.")] = Path("schema"),
) -> None:
    """Write the JSON Schemas of model cards and workflows, for completion and checks in an editor."""
    from airflow_agentic.spec.jsonschema import write_schemas

    for path in write_schemas(folder):
        typer.echo(f"wrote {path}")
    typer.echo("first line of a workflow, for editors with the YAML language server:")
    typer.echo(f"# yaml-language-server: $schema=../{folder.name}/workflow.json")
