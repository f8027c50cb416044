"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

ProjectOption = Annotated[
    Path,
    typer.Option(
        "--project",
        metavar="DIR",
        help="The project: a folder with 'workflows' and 'models' (or its parent, if the folder is called 'dags').",
        show_default="this folder",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON for machines; stdout holds nothing else.")]
HandlersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-handler",
        metavar="MODULE",
        envvar="AIRFLOW_AGENTIC_ALLOWED_HANDLERS",
        help="A package, module or package.module:Name that cards and workflows may import. Repeatable.",
    ),
]
UrisOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-uri",
        metavar="PREFIX",
        envvar="AIRFLOW_AGENTIC_ALLOWED_URIS",
        help="A URI prefix that records may name, beside the folder of their own file. Repeatable.",
    ),
]


def listed(values: Sequence[str] | None) -> tuple[str, ...]:
    """The values of a repeatable option; each may also be a list separated by commas, as in Airflow's configuration."""
    return tuple(part.strip() for value in values or () for part in value.split(",") if part.strip())
