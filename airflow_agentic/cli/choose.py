"""Which workflow a command means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from airflow_agentic.exceptions import InputError, SpecError
from airflow_agentic.project import Project, Workflow
from airflow_agentic.spec.load import SUFFIXES


def choose(
    project: Path, *, workflow: str | None = None, task: str | None = None, allowed_handlers: Sequence[str] = ()
) -> Workflow:
    """The workflow ``workflow`` (a name or file); else the one that does ``task``; else the only one there is.

    :raises InputError: none or several come into question; the message lists them.
    :raises SpecError: it cannot be compiled.
    """
    if workflow is not None and Path(workflow).suffix in SUFFIXES and Path(workflow).is_file():
        return Workflow.load(workflow, allowed_handlers=allowed_handlers)
    home = Project.find(project, allowed_handlers)
    if workflow is not None:
        return home.workflow(workflow)
    if task is not None:
        return _for_task(home, task)
    if len(home.files) == 1:
        return home.load(home.files[0])
    names = ", ".join(path.stem for path in home.files) or "none"
    raise InputError(f"which workflow? There are: {names}; choose one with --workflow, or by --task")


def _for_task(home: Project, task: str) -> Workflow:
    try:
        return home.for_task(task)
    except InputError as error:
        broken = _broken(home)
        if not broken:
            raise
        if len(broken) == len(home.files) == 1:
            raise broken[0][1] from None
        names = ", ".join(path.name for path, _ in broken)
        raise InputError(f"{error} ({names} cannot be compiled: see `airflow-agentic validate`)") from None


def _broken(home: Project) -> list[tuple[Path, SpecError]]:
    found = []
    for path in home.files:
        try:
            home.load(path).plan  # noqa: B018  # compiling it is the question
        except SpecError as error:
            found.append((path, error))
    return found
