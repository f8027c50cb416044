"""``airflow-agentic lock``: pin what the workflows' queries find."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from airflow_agentic.cli import exits
from airflow_agentic.cli.options import ProjectOption

if TYPE_CHECKING:
    from airflow_agentic.project import Locked, Project


def lock(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 3 if the lock file is out of date.")
    ] = False,
    project: ProjectOption = Path(),
) -> None:
    """Pin what the queries of all workflows find, in agentic.lock: a new card then changes nothing by itself."""
    from airflow_agentic.project import LOCK_FILE, Project, found_by_queries, write_lock

    home = Project.find(project)
    before, now = _before(home, strict=check), found_by_queries(home)
    lines = _lines(before, now)
    if not lines:
        typer.echo("no workflow has a query: there is nothing to pin")
        return
    for line in lines:
        typer.echo(line)
    if before == now:
        typer.echo(f"{LOCK_FILE} is up to date")
    elif check:
        typer.secho(
            f"{LOCK_FILE} is out of date; run `airflow-agentic lock` and review the difference", fg="red", err=True
        )
        raise typer.Exit(exits.SPEC)
    else:
        write_lock(home)
        typer.echo(f"{LOCK_FILE} is written")


def _before(project: Project, *, strict: bool) -> Locked:
    """The present lock file; one that cannot be read counts as none where it is about to be replaced."""
    from airflow_agentic.exceptions import SpecError
    from airflow_agentic.project import LOCK_FILE, read_lock

    try:
        return read_lock(project.root)
    except SpecError:
        if strict:
            raise
        (project.root / LOCK_FILE).unlink()  # loading a workflow reads it
        return {}


def _lines(before: Locked, now: Locked) -> list[str]:
    """One line a query: what it finds, and what it found before."""
    places = sorted({(name, place) for lock_ in (before, now) for name, found_ in lock_.items() for place in found_})
    width = max((len(f"{name}  {place}") for name, place in places), default=0)
    return [_line(name, place, before, now, width) for name, place in places]


def _line(name: str, place: str, before: Locked, now: Locked, width: int) -> str:
    old, new = (lock_.get(name, {}).get(place) for lock_ in (before, now))
    if new is None:
        said = "no longer a query"
    elif not new:
        said = "finds nothing"
    else:
        said = f"finds {', '.join(new)}"
    if new is not None and old is None and before:
        said += "   (new query)"
    changes = [f"+{model}" for model in new or [] if old is not None and model not in old]
    changes += [f"-{model}" for model in old or [] if new is not None and model not in new]
    head = f"{name}  {place}".ljust(width)
    return f"{head}  {said}" + (f"   ({', '.join(changes)})" if changes else "")
