"""``airflow-agentic dags``: the workflows as Airflow sees them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from airflow_agentic.cli import exits
from airflow_agentic.cli.options import JsonOption, ProjectOption

if TYPE_CHECKING:
    from airflow_agentic.project import Project

app = typer.Typer(no_args_is_help=True, help="Workflows as Airflow Dags.")

MARKER: Final = "# Written by `airflow-agentic dags sync`: change the workflow and sync again, not this file."


@app.command("list")
def list_(*, project: ProjectOption = Path(), as_json: JsonOption = False) -> None:
    """List the Dags that the project's workflows become; exit 3 if one has an error."""
    from airflow_agentic.cli.render import aligned
    from airflow_agentic.project import Project

    rows = _rows(Project.find(project))
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        shown = [
            (row["dag_id"], _schedule(row["schedule"]), ", ".join(row["tasks"]), row["file"], row["error"] or "ok")
            for row in rows
        ]
        for line in aligned([("dag", "schedule", "tasks", "file", "state"), *shown]):
            typer.echo(line)
    if any(row["error"] for row in rows):
        raise typer.Exit(exits.SPEC)


def _rows(project: Project) -> list[dict[str, Any]]:
    from airflow_agentic.exceptions import SpecError
    from airflow_agentic.spec.load import shown

    rows = []
    for path in project.files:
        row: dict[str, Any] = {"dag_id": path.stem, "schedule": None, "tasks": [], "file": shown(path), "error": None}
        try:
            workflow = project.load(path)
            row |= {"dag_id": workflow.name, "schedule": workflow.spec.dag.get("schedule")}
            row["tasks"] = sorted(workflow.tasks)
        except SpecError as error:
            more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
            row["error"] = f"error: {error.problems[0].message}{more}"
        rows.append(row)
    return rows


def _schedule(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else ", ".join(f"{key}: {item}" for key, item in dict(value).items())


@app.command()
def sync(
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="The Dag folder.")],
    *,
    project: ProjectOption = Path(),
) -> None:
    """Write one small Dag file a workflow into DEST, and remove those of workflows that are gone.

    Only files that this command wrote are overwritten or removed. While a workflow has an error, nothing is removed and
    its own file stays as it is; exit 3.
    """
    from airflow_agentic.exceptions import SpecError
    from airflow_agentic.project import Project

    home = Project.find(project)
    wanted, broken = {}, []
    for path in home.files:
        try:
            workflow = home.load(path)
            workflow.plan  # noqa: B018  # compiles it
            wanted[f"{workflow.name}.py"] = dag_file(path, destination, home.root)
        except SpecError as error:
            broken.append(error)
    _refuse_foreign(destination, wanted)
    destination.mkdir(parents=True, exist_ok=True)
    for name, text in wanted.items():
        typer.echo(f"{_write(destination / name, text)} {destination / name}")
    for path in [] if broken else sorted(destination.glob("*.py")):
        if path.name not in wanted and _ours(path):
            path.unlink()
            typer.echo(f"removed {path}")
    if broken:
        raise SpecError([problem for error in broken for problem in error.problems])


def dag_file(workflow: Path, destination: Path, root: Path) -> str:
    """The text of a workflow's Dag file.

    The workflow is found relative to the file where both are in the project or in the Dag folder, which may move as a
    whole; otherwise by its absolute path.
    """
    here, there = destination.resolve(), workflow.resolve()
    together = here.is_relative_to(root.resolve()) or there.is_relative_to(here)
    place = f"Path(__file__).parent / {os.path.relpath(there, here)!r}" if together else repr(str(there))
    imports = "from pathlib import Path\n\n" if together else ""
    body = f"dag = Workflow.load({place}).dag()\n".replace("'", '"')
    return f"{MARKER}\n{imports}from airflow_agentic import Workflow\n\n{body}"


def _refuse_foreign(destination: Path, wanted: dict[str, str]) -> None:
    from airflow_agentic.exceptions import InputError

    foreign = [name for name in wanted if (destination / name).exists() and not _ours(destination / name)]
    if foreign:
        raise InputError(
            f"{str(destination / foreign[0])!r} was not written by this command and is left alone; "
            "rename it, or the workflow"
        )


def _ours(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().rstrip("\n") == MARKER


def _write(path: Path, text: str) -> str:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return "unchanged"
    path.write_text(text, encoding="utf-8")
    return "wrote"
