"""Exit codes, and how an error becomes one."""

from __future__ import annotations

import sys
from typing import Final

import typer

from airflow_agentic.exceptions import (
    AgenticError,
    AnswersFailedError,
    ArtifactError,
    ConditionError,
    HandlerNotAllowedError,
    ImageError,
    ModelError,
    PlanMismatchError,
    SpecError,
)

OK: Final = 0
NO_ANSWER: Final = 1
"""Some records have no answer."""
USAGE: Final = 2
"""A wrong argument, or input that cannot be read."""
SPEC: Final = 3
"""A model card, a workflow or the lock file is wrong or out of date."""
MODEL: Final = 4
"""No model could answer: one, its files or its extra is missing, or its code is not allowed; no image could be made."""
INTERRUPTED: Final = 130

HELP: Final = (
    "Exit codes: 0 all well; 1 some records have no answer; 2 a wrong argument or unreadable input; 3 a card, workflow "
    "or lock file is wrong or out of date; 4 no model could answer (one, its files or its extra is missing), or no "
    "image be made; 130 interrupted."
)


def exit_code(error: AgenticError) -> int:
    """The code that a command ends with on ``error``."""
    if isinstance(error, SpecError | ConditionError | PlanMismatchError):
        return SPEC
    if isinstance(error, ModelError | ArtifactError | HandlerNotAllowedError | ImageError):
        return MODEL
    return NO_ANSWER if isinstance(error, AnswersFailedError) else USAGE


def report(error: AgenticError) -> None:
    """Say on stderr what is wrong; a spec's problems speak for themselves."""
    if isinstance(error, SpecError):
        typer.secho(str(error), fg="red", err=True)
        return
    typer.echo(f"{typer.style('error', fg='red', bold=True)}: {error}", file=sys.stderr)
