"""A folder of workflows → Dags, in a three-line Dag file.

A workflow that does not compile becomes a placeholder Dag of the same id that says why: Airflow keys import errors by
file, and one error would make every Dag of the file stale.
"""

from __future__ import annotations

import gc
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from airflow.sdk import DAG, BaseOperator, get_parsing_context

from airflow_agentic.compat import AirflowFailException
from airflow_agentic.dagbuilder.build import build_dag
from airflow_agentic.dagbuilder.plan_cache import PlanCache
from airflow_agentic.exceptions import AgenticError, InputError, Problem, SpecError
from airflow_agentic.hooks.store import setting, settings_list
from airflow_agentic.project import Project, project_root
from airflow_agentic.runtime.artifacts import default_cache
from airflow_agentic.spec.load import spec_files

_NAME: Final = re.compile(r"^name:[ \t]*[\"']?([\w.-]+)[\"']?[ \t]*(?:#.*)?$", re.MULTILINE | re.ASCII)

log = logging.getLogger(__name__)


class SpecErrorOperator(BaseOperator):
    """Fails with the message of a workflow that does not compile.

    :param message: every problem, with file, line and the way out.
    """

    ui_color = "#f8d7da"

    def __init__(self, *, message: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.message = message

    def execute(self, context: Any) -> None:
        """Fail, without a retry."""
        raise AirflowFailException(self.message)


def load_workflows(folder: str | Path = "workflows", **arguments: Any) -> dict[str, DAG]:
    """Build the Dags of every workflow in ``folder`` and hand them to the calling Dag file.

    In a task process only the Dag that is asked for is built.

    :param folder: relative to the calling file.
    :param arguments: of every Dag, instead of those in the workflows.
    :returns: the Dags by id; they are also put into the caller's globals, where Airflow looks for them.
    :raises InputError: there is no such folder.
    """
    caller = sys._getframe(1).f_globals
    path = Path(folder)
    if not path.is_absolute():
        path = Path(caller.get("__file__", ".")).resolve().parent / path
    if not path.is_dir():
        raise InputError(
            f"load_workflows({str(folder)!r}): there is no folder {path}; name one relative to the Dag file"
        )
    wanted = get_parsing_context().dag_id
    project = Project(project_root(path), settings_list("allowed_handlers"))
    named = _names(spec_files(path))
    asked = [wanted] if wanted in named else list(named)
    plans = _plan_cache(project)
    with _uncollected():
        dags = {dag.dag_id: dag for dag in (_dag(project, plans, dag_id, named[dag_id], arguments) for dag_id in asked)}
    caller.update({f"dag {dag_id}": dag for dag_id, dag in dags.items()})
    return dags


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collection: what is built here stays, and each pass would look at all of it again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _names(files: Sequence[Path]) -> dict[str, list[Path]]:
    """The files by the Dag they name, as far as a look at the text can tell; a file's own name where it cannot."""
    named: dict[str, list[Path]] = {}
    for path in files:
        found = _NAME.search(path.read_text(errors="replace")) if path.is_file() else None
        named.setdefault(found[1] if found else re.sub(r"[^0-9a-zA-Z._-]", "-", path.stem), []).append(path)
    return named


def _plan_cache(project: Project) -> PlanCache | None:
    folder = setting("plan_cache")
    if folder == "off":
        return None
    try:
        return PlanCache(project, Path(folder).expanduser() if folder else default_cache() / "plans")
    except RuntimeError:  # a user without a home
        return None


def _dag(
    project: Project, plans: PlanCache | None, dag_id: str, files: Sequence[Path], arguments: dict[str, Any]
) -> DAG:
    try:
        if len(files) > 1:
            others = ", ".join(repr(path.name) for path in files)
            raise SpecError(
                Problem(message=f"the workflows in {others} are all called {dag_id!r}", hint="rename all but one")
            )
        compiled = plans.find(files[0]) if plans is not None else None
        if compiled is not None:
            with suppress(AgenticError):  # raised again below, from the file, with line and column
                return build_dag(compiled, **arguments)
        workflow = project.load(files[0])
        dag = build_dag(workflow, **arguments)
        if plans is not None and compiled is None:
            plans.store(files[0], workflow)
        return dag
    except AgenticError as error:
        log.warning("the workflow in %s does not compile: %s", files[0], error)
        return placeholder(dag_id, str(error))


def placeholder(dag_id: str, message: str) -> DAG:
    """A Dag that says what is wrong with its workflow."""
    with DAG(
        dag_id=dag_id,
        schedule=None,
        tags=["airflow-agentic", "spec-error"],
        doc_md=f"**This workflow has an error and cannot run.**\n\n```text\n{message}\n```\n",
    ) as dag:
        SpecErrorOperator(task_id="spec-error", message=message)
    return dag
