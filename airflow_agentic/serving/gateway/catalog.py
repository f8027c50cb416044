"""What a gateway serves: the project's workflows, compiled once when it starts, by name and by task.

Workflows and cards that change on disk count after a restart: a request is always answered by one whole project.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_agentic.coordinator import Coordinator
from airflow_agentic.coordinator.mixed_pool import pool_of
from airflow_agentic.exceptions import InputError, SpecError
from airflow_agentic.serving.gateway.problems import INVALID_REQUEST, FieldError, ProblemError
from airflow_agentic.spec.base import nearest

if TYPE_CHECKING:
    from airflow_agentic.coordinator import Pool
    from airflow_agentic.project import Project, Workflow
    from airflow_agentic.serving.access import Client


@dataclass(frozen=True)
class Served:
    """A workflow that is ready to answer."""

    workflow: Workflow
    coordinator: Coordinator

    @property
    def name(self) -> str:
        """Of the workflow."""
        return self.workflow.name


@dataclass(frozen=True)
class Catalog:
    """The workflows of a project."""

    served: Mapping[str, Served]
    broken: Mapping[str, SpecError] = field(default_factory=dict)
    """By file: what cannot be compiled is not served, and the others are."""

    @classmethod
    def load(cls, project: Project, pool: Pool, *, names: Sequence[str] = ()) -> Catalog:
        """Compile the project's workflows.

        :param pool: the local models of all of them.
        :param names: serve these only.
        :raises InputError: no workflow of the project can be served, or one of ``names`` is not there.
        :raises SpecError: one of ``names`` is wrong.
        """
        broken: dict[str, SpecError] = {}
        found: list[Workflow] = []
        for path in project.files:
            try:
                workflow = project.load(path)
                workflow.plan  # noqa: B018  # compiling it is the question
            except SpecError as error:
                if path.stem in names:
                    raise
                broken[path.name] = error
                continue
            found.append(workflow)
        _check_names(names, found)
        chosen = [workflow for workflow in found if not names or workflow.name in names]
        if not chosen:
            why = "".join(f"\n{file}: {problem}" for file, problem in broken.items())
            raise InputError(
                f"no workflow in {str(project.root / 'workflows')!r} can be served; see `airflow-agentic validate`{why}"
            )
        allowed = project.allowed_handlers
        served = {workflow.name: Served(workflow, _coordinator(workflow, pool, allowed)) for workflow in chosen}
        return cls(served, broken)

    @property
    def tasks(self) -> dict[str, list[str]]:
        """Every task that can be asked for, and the workflows that answer it, sorted."""
        tasks: dict[str, list[str]] = {}
        for one in self.served.values():
            for task in one.workflow.serves:
                tasks.setdefault(task, []).append(one.name)
        return {task: sorted(names) for task, names in sorted(tasks.items())}

    def choose(self, client: Client, *, workflow: str | None, task: str | None) -> Served:
        """The workflow called ``workflow``; else the one that does ``task``; else the only one there is.

        Of those that ``client`` may use: of the others it hears nothing.

        :raises ProblemError: ``invalid-request``: none, or several come into question.
        """
        seen = {name: one for name, one in self.served.items() if client.may(name)}
        if workflow is not None:
            if workflow in seen:
                return seen[workflow]
            raise _invalid("/workflow", f"no workflow is called {workflow[:80]!r}; {_hint(workflow, seen)}")
        if task is not None:
            return _for_task(task, seen)
        if len(seen) == 1:
            return next(iter(seen.values()))
        tasks = {task for one in seen.values() for task in one.workflow.serves}
        raise _invalid("/task", f"which task? Give 'task' (there are: {_listed(tasks)}), or 'workflow'")


def _coordinator(workflow: Workflow, pool: Pool, allowed: Sequence[str]) -> Coordinator:
    """With the shared local models, and the workflow's own services."""
    return Coordinator(workflow.plan, pool=pool_of(workflow.plan, pool), allowed_handlers=allowed)


def _for_task(task: str, seen: Mapping[str, Served]) -> Served:
    able = [one for one in seen.values() if task in one.workflow.serves]
    if len(able) == 1:
        return able[0]
    if not able:
        known = {task for one in seen.values() for task in one.workflow.serves}
        raise _invalid("/task", f"no workflow does the task {task[:80]!r}; {_hint(task, known)}")
    names = _listed(one.name for one in able)
    raise _invalid("/workflow", f"several workflows do the task {task!r} ({names}); choose one with 'workflow'")


def _check_names(names: Sequence[str], found: Iterable[Workflow]) -> None:
    known = {workflow.name for workflow in found}
    for name in names:
        if name not in known:
            raise InputError(f"no workflow is called {name!r}; {_hint(name, known)}")


def _hint(name: str, known: Iterable[str]) -> str:
    near = nearest(name, known)
    return f"did you mean {near!r}?" if near else f"there are: {_listed(known)}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _invalid(pointer: str, detail: str) -> ProblemError:
    return ProblemError(INVALID_REQUEST, detail, errors=[FieldError(pointer, detail)])
