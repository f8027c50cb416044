"""A project folder, and the workflow as a Python object.

::

    PROJECT/
      workflows/*.yaml     workflows
      models/*.yaml        model cards
      agentic.lock         what queries may find (``airflow-agentic lock``)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_agentic.exceptions import InputError, Problem, SpecError
from airflow_agentic.registry import Registry
from airflow_agentic.spec.base import nearest
from airflow_agentic.spec.load import load_workflow, shown, spec_files
from airflow_agentic.spec.source import render_path

if TYPE_CHECKING:
    import pyarrow as pa
    from airflow.sdk import DAG

    from airflow_agentic.plan import Plan
    from airflow_agentic.spec.workflow import ColumnType, WorkflowSpec

LOCK_FILE: Final = "agentic.lock"

Locked = Mapping[str, Mapping[str, list[str]]]
"""Workflow → place of a query → the models it may find."""


def project_root(path: Path) -> Path:
    """The project a workflow's file or folder belongs to: the folder above ``workflows``, else its own."""
    path = path.absolute()  # the relative path of a file in the working folder names no folder
    folder = path if path.is_dir() else path.parent
    return folder.parent if folder.name == "workflows" else folder


@dataclass(frozen=True)
class Workflow:
    """A workflow with the cards it can use.

    >>> triage = Workflow.load("workflows/mixed-inbox.yaml")            # doctest: +SKIP
    >>> answers = triage.run(["a.jpg", "What a wonderful film."])       # doctest: +SKIP
    """

    spec: WorkflowSpec
    registry: Registry
    locked: Mapping[str, list[str]] = field(default_factory=dict)
    allowed_handlers: Sequence[str] = ()

    @classmethod
    def load(
        cls, path: str | Path, *, registry: Registry | None = None, allowed_handlers: Sequence[str] = ()
    ) -> Workflow:
        """The workflow in the file ``path``.

        :raises SpecError: with every problem of the file.
        """
        path = Path(path)
        spec = load_workflow(path)
        root = project_root(path)
        cards = registry or Registry.load([models_folder(spec, root)])
        return cls(spec, cards, read_lock(root).get(spec.name, {}), allowed_handlers)

    @property
    def name(self) -> str:
        """Its name."""
        return self.spec.name

    @cached_property
    def plan(self) -> Plan:
        """The compiled plan.

        :raises CompileError: with every problem found.
        """
        from airflow_agentic.plan import compile_plan

        return compile_plan(self.spec, self.registry, locked=self.locked)

    @property
    def tasks(self) -> frozenset[str]:
        """The tasks its models do."""
        return frozenset(info.task for info in self.plan.models.values())

    @property
    def serves(self) -> frozenset[str]:
        """The tasks for which it is chosen where none names a workflow."""
        return self.tasks if self.spec.serves is None else frozenset(self.spec.serves)

    @property
    def features(self) -> Mapping[str, ColumnType]:
        """The feature columns that its conditions may use beside a record's own."""
        return self.spec.input.features if self.spec.input is not None else {}

    def run(self, inputs: Sequence[object], *, task: str | None = None, deadline: float | None = None) -> pa.Table:
        """Answer ``inputs`` in this process, without Airflow.

        :param inputs: texts, bytes, paths of files (also as text, where such a file exists), structs, or whole records
            (mappings with ``record_id``, ``task``…).
        :param task: of records that state none.
        :param deadline: seconds; the workflow's where absent.
        :returns: ``tables.ANSWER``, one row per input, in order.
        """
        from airflow_agentic.coordinator import Coordinator
        from airflow_agentic.pipeline.inputs import inline_records

        values = [_file_or_value(one) for one in inputs]
        records = inline_records(values, task=task, features=self.features, allowed_uris=None)
        return Coordinator(self.plan, allowed_handlers=self.allowed_handlers).run(records, deadline=deadline)

    def dag(self, **arguments: Any) -> DAG:
        """The Airflow Dag; ``arguments`` override those of the workflow's ``dag``."""
        from airflow_agentic.dagbuilder.build import build_dag

        return build_dag(self, **arguments)


@dataclass(frozen=True)
class Project:
    """All workflows of a folder."""

    root: Path
    allowed_handlers: Sequence[str] = ()

    @classmethod
    def find(cls, start: Path, allowed_handlers: Sequence[str] = ()) -> Project:
        """The project at ``start``: the folder itself, or its ``dags``.

        :raises InputError: there is none.
        """
        for folder in (start, start / "dags"):
            if (folder / "workflows").is_dir():
                return cls(folder, allowed_handlers)
        raise InputError(
            f"no project in {shown(start)!r}: it has no folder 'workflows' (nor 'dags/workflows'); "
            "make one with `airflow-agentic init`, or name one with --project"
        )

    @cached_property
    def registry(self) -> Registry:
        """The cards of the project's folder ``models``, and of installed packages."""
        return Registry.load([self.root / "models"])

    @property
    def files(self) -> list[Path]:
        """The workflows' files."""
        return spec_files(self.root / "workflows")

    def load(self, path: Path) -> Workflow:
        """The workflow in one of :attr:`files`."""
        spec = load_workflow(path)
        own = models_folder(spec, self.root)
        registry = self.registry if own == self.root / "models" else Registry.load([own])
        return Workflow(spec, registry, read_lock(self.root).get(spec.name, {}), self.allowed_handlers)

    def workflow(self, name: str) -> Workflow:
        """The workflow called ``name``, or in the file ``name``.

        :raises InputError: there is none.
        """
        as_file = Path(name)
        if as_file.suffix in {".yaml", ".yml"} and as_file.is_file():
            return self.load(as_file)
        names: list[str] = []
        for path in sorted(self.files, key=lambda path: path.stem != name):
            try:
                workflow = self.load(path)
            except SpecError:
                if path.stem == name:
                    raise
                continue
            if workflow.name == name:
                return workflow
            names.append(workflow.name)
        near = nearest(name, names)
        hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(sorted(names)) or 'none'}"
        raise InputError(f"no workflow is called {name!r} in {shown(self.root / 'workflows')}; {hint}")

    def for_task(self, task: str) -> Workflow:
        """The one workflow whose models do ``task``.

        :raises InputError: none does, or several do.
        """
        able: list[Workflow] = []
        tasks: set[str] = set()
        for path in self.files:
            try:
                workflow = self.load(path)
                tasks |= workflow.serves
            except SpecError:
                continue
            if task in workflow.serves:
                able.append(workflow)
        if len(able) == 1:
            return able[0]
        if not able:
            near = nearest(task, tasks)
            hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(sorted(tasks)) or 'none'}"
            raise InputError(f"no workflow does the task {task!r}; {hint}")
        names = ", ".join(workflow.name for workflow in able)
        raise InputError(f"several workflows do the task {task!r} ({names}); choose one with --workflow")


def _file_or_value(value: object) -> object:
    """A text that is the path of an existing file stands for that file."""
    if not isinstance(value, str) or "\n" in value:
        return value
    try:
        return Path(value) if Path(value).is_file() else value
    except OSError:  # longer than a path can be
        return value


def models_folder(spec: WorkflowSpec, root: Path) -> Path:
    """Where the cards of a workflow lie."""
    return (spec.folder / spec.models).resolve() if spec.models is not None else root / "models"


def read_lock(root: Path) -> Locked:
    """The project's lock file; empty where there is none.

    :raises SpecError: it cannot be read.
    """
    path = root / LOCK_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _no_lock(path, str(error)) from error
    workflows = content.get("workflows") if isinstance(content, dict) else None
    if not isinstance(workflows, dict) or not all(_pins(pins) for pins in workflows.values()):
        raise _no_lock(path, "expected {workflows: {WORKFLOW: {QUERY: [MODEL]}}}")
    return workflows


def _pins(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in value.values()
    )


def _no_lock(path: Path, why: str) -> SpecError:
    hint = "run `airflow-agentic lock` again"
    return SpecError(Problem(message=f"is no lock file: {why}", hint=hint, file=shown(path)))


def found_by_queries(project: Project) -> dict[str, dict[str, list[str]]]:
    """What the queries of every workflow find now, as the lock file pins it."""
    from airflow_agentic.plan.queries import queries

    found = {}
    for path in project.files:
        workflow = project.load(path)
        found[workflow.name] = {
            render_path(place): [card.name for card in workflow.registry.query(query)]
            for place, query in queries(workflow.spec)
        }
    return {name: places for name, places in found.items() if places}


def write_lock(project: Project) -> dict[str, dict[str, list[str]]]:
    """Pin what the queries of every workflow find now; returns what was written."""
    locked = found_by_queries(project)
    content = {"version": 1, "workflows": locked}
    (project.root / LOCK_FILE).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return locked
