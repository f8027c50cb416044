"""What the tests of the command line write, and the type of their ``run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typer.testing import Result


class Run(Protocol):
    """``run("plan", "sentiment")``."""

    def __call__(self, *arguments: str, stdin: str | bytes | None = None) -> Result: ...


def write_workflow(project: Path, name: str, body: str) -> Path:
    """``workflows/NAME.yaml`` with a header and ``body``."""
    path = project / "workflows" / f"{name}.yaml"
    path.write_text(f"apiVersion: airflow-agentic/v1\nkind: Workflow\nname: {name}\n{body}")
    return path


def write_model(
    project: Path, name: str, handler: str, *, task: str = "sizing", output: str = "value: letters"
) -> Path:
    """``models/NAME.yaml``: an inline handler over text."""
    path = project / "models" / f"{name}.yaml"
    path.write_text(
        f"apiVersion: airflow-agentic/v1\nkind: Model\nname: {name}\nversion: '1'\ntask: {task}\ninput: text\n"
        f"output: {{{output}}}\nruntime: {{framework: python, handler: '{handler}'}}\nisolation: inline\n"
    )
    return path
