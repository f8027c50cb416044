"""``airflow-agentic validate``: every problem of every card and workflow, at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airflow_agentic.cli import exits
from airflow_agentic.cli.options import JsonOption

if TYPE_CHECKING:
    from airflow_agentic.exceptions import Problem, SpecError
    from airflow_agentic.project import Project, Workflow


def validate(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="A project, a folder of workflows or model cards, or one file.",
            show_default="the project in this folder",
        ),
    ] = None,
    *,
    project: Annotated[
        Path, typer.Option("--project", metavar="DIR", help="The project, where PATH is not given.", show_default=False)
    ] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Check workflows and model cards, with everything that compiling them shows."""
    report = check(project if path is None else path)
    if as_json:
        typer.echo(json.dumps(report.document(), indent=2, ensure_ascii=False))
    else:
        for problem in report.sorted():
            typer.echo(str(problem))
        for said in report.unchecked:
            typer.secho(said, dim=True, err=True)
        for line in report.verdict():
            typer.secho(line, fg="red" if report.problems else "green")
    if report.problems:
        raise typer.Exit(exits.SPEC)


@dataclass
class Report:
    """What was checked and what is wrong."""

    workflows: int = 0
    bad_workflows: int = 0
    models: int = 0
    bad_models: int = 0
    problems: list[Problem] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    """What could not be checked here, and why."""

    def add(self, error: SpecError) -> None:
        """Note its problems, each once: a workflow repeats those of a broken card it names."""
        self.problems += [problem for problem in error.problems if problem not in self.problems]

    def sorted(self) -> list[Problem]:
        """The problems as they stand in the files."""
        return sorted(self.problems, key=lambda one: (one.file, one.line or 0, one.column or 0))

    def verdict(self) -> list[str]:
        """``1 of 3 workflows has an error``."""
        kinds = (("workflow", self.workflows, self.bad_workflows), ("model card", self.models, self.bad_models))
        if not self.problems:
            good = [f"{count} {noun}{'' if count == 1 else 's'}" for noun, count, _ in kinds if count]
            return [f"{' and '.join(good)}: no errors"]
        return [
            f"{bad} of {count} {noun}{'' if count == 1 else 's'} {'has' if bad == 1 else 'have'} an error"
            for noun, count, bad in kinds
            if bad
        ]

    def document(self) -> dict[str, Any]:
        """For machines."""
        return {
            "ok": not self.problems,
            "workflows": {"checked": self.workflows, "with_errors": self.bad_workflows},
            "models": {"checked": self.models, "with_errors": self.bad_models},
            "problems": [
                {name: getattr(one, name) for name in ("file", "line", "column", "path", "message", "hint")}
                for one in self.sorted()
            ],
            "unchecked": self.unchecked,
        }


def check(path: Path) -> Report:
    """Check a project, a folder or a file.

    :raises InputError: there is nothing to check.
    """
    from airflow_agentic.exceptions import InputError
    from airflow_agentic.project import Project
    from airflow_agentic.spec.load import shown, spec_files

    if not path.exists():
        raise InputError(f"no such file or folder: {str(path)!r}")
    if path.is_file():
        return _Checker().files([path])
    files = [] if (path / "workflows").is_dir() or (path / "dags" / "workflows").is_dir() else spec_files(path)
    if files:
        return _Checker().files(files)
    found = Project.find(path)
    if not found.files:
        raise InputError(f"nothing to check: there is no YAML file in {shown(found.root / 'workflows')!r}")
    return _Checker().project(found)


class _Checker:
    def __init__(self) -> None:
        self.report = Report()
        self.names: dict[str, str] = {}
        self.projects: dict[Path, Project] = {}

    def project(self, project: Project) -> Report:
        """All workflows, and all cards they may use."""
        from airflow_agentic.project import models_folder
        from airflow_agentic.spec.load import spec_files

        folders = {project.root / "models": None}
        for path in project.files:
            workflow = self._workflow(path)
            if workflow is not None:
                folders[models_folder(workflow.spec, project.root)] = None
        for folder in folders:
            self._cards(spec_files(folder), folder)
        return self.report

    def files(self, paths: Iterable[Path]) -> Report:
        """Files of either kind."""
        for path in paths:
            if _is_card(path):
                self._cards([path], None)
            else:
                self._workflow(path)
        return self.report

    def _cards(self, paths: list[Path], folder: Path | None) -> None:
        """Each card by itself and, of a whole ``folder``, two of one name."""
        from airflow_agentic.exceptions import SpecError
        from airflow_agentic.registry import Registry
        from airflow_agentic.spec.load import load_model

        for path in paths:
            self.report.models += 1
            try:
                load_model(path)
            except SpecError as error:
                self.report.bad_models += 1
                self.report.add(error)
        if folder is not None:
            before = len(self.report.problems)
            for broken in Registry.load([folder]).broken.values():
                self.report.add(broken)
            self.report.bad_models += len(self.report.problems) > before

    def _workflow(self, path: Path) -> Workflow | None:
        from airflow_agentic.exceptions import SpecError

        self.report.workflows += 1
        workflow: Workflow | None = None
        errors: list[SpecError] = []
        try:
            workflow = self._load(path)
        except SpecError as error:
            errors.append(error)
        else:
            for look in (self._unique, _compile, *self._airflow(workflow)):
                try:
                    look(workflow)
                except SpecError as error:
                    errors.append(error)
        for one in errors:
            self.report.add(one)
        self.report.bad_workflows += bool(errors)
        return workflow

    def _load(self, path: Path) -> Workflow:
        """The workflow; one project's workflows share its cards."""
        from airflow_agentic.project import Project, project_root

        root = project_root(path)
        return self.projects.setdefault(root, Project(root)).load(path)

    def _unique(self, workflow: Workflow) -> None:
        from airflow_agentic.exceptions import SpecError

        file = workflow.spec.source.file
        other = self.names.setdefault(workflow.name, file)
        if other != file:
            message = f"another workflow is already called {workflow.name!r} ({other})"
            raise SpecError(workflow.spec.problem(("name",), message, "give one of them another name"))

    def _airflow(self, workflow: Workflow) -> list[Callable[[Workflow], object]]:
        """The checks of ``dag:`` and ``task:``, which only the installed Airflow can make."""
        if not (workflow.spec.dag or workflow.spec.task):
            return []
        try:
            arguments = _airflow_arguments()
        except ImportError as error:
            said = f"not checked: the arguments under dag: and task:, because {error}"
            self.report.unchecked += [] if said in self.report.unchecked else [said]
            return []
        return [
            lambda workflow: arguments.dag_arguments(workflow.spec),
            lambda workflow: arguments.schedule(workflow.spec),
            lambda workflow: arguments.task_arguments(workflow.spec),
        ]


def _airflow_arguments() -> ModuleType:
    """:mod:`airflow_agentic.dagbuilder.arguments`.

    :raises ImportError: Airflow is not installed here, or is one that we cannot work with; says which.
    """
    from importlib import import_module, util

    if util.find_spec("airflow") is None:
        raise ImportError("Airflow is not installed here")
    try:
        return import_module("airflow_agentic.dagbuilder.arguments")
    except ImportError as error:
        raise ImportError(f"the installed Airflow does not fit: {error}") from error


def _compile(workflow: Workflow) -> None:
    workflow.plan  # noqa: B018  # compiling is the check


def _is_card(path: Path) -> bool:
    """By its ``kind``; where that cannot be read, by its folder."""
    from airflow_agentic.exceptions import SpecError
    from airflow_agentic.spec import source

    try:
        data, _ = source.read(path)
    except SpecError:
        data = None
    kind = data.get("kind") if isinstance(data, dict) else None
    return kind == "Model" if kind in {"Model", "Workflow"} else path.absolute().parent.name == "models"
