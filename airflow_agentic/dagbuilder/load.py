"""A folder of workflows → Dags, in a three-line Dag file.

A workflow that does not compile becomes a placeholder Dag of the same id that says why: Airflow keys import errors by
file, and one error would make every Dag of the file stale.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, BaseOperator, get_parsing_context

from airflow_agentic.compat import AirflowFailException
from airflow_agentic.exceptions import AgenticError, InputError
from airflow_agentic.hooks.store import settings_list
from airflow_agentic.project import Project, project_root
from airflow_agentic.spec.load import spec_files

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
        raise InputError(f"load_workflows({str(folder)!r}): there is no folder {path}; name one relative to the Dag file")
    wanted = get_parsing_context().dag_id
    project = Project(project_root(path), settings_list("allowed_handlers"))
    dags = {dag.dag_id: dag for dag in _dags(project, _files(path, wanted), arguments)}
    for dag_id, dag in dags.items():
        caller[f"dag_{re.sub(r'[^0-9a-zA-Z]', '_', dag_id)}"] = dag
    return dags


def _files(folder: Path, wanted: str | None) -> Sequence[Path]:
    """The files to build: the one that names the wanted Dag, if that can be seen, else all."""
    files = spec_files(folder)
    if wanted is None:
        return files
    name = re.compile(rf"^name:\s*[\"']?{re.escape(wanted)}[\"']?\s*(#.*)?$", re.MULTILINE)
    named = [path for path in files if path.stem == wanted or name.search(path.read_text(errors="replace"))]
    return named or files


def _dags(project: Project, files: Sequence[Path], arguments: dict[str, Any]) -> Iterator[DAG]:
    for path in files:
        name = path.stem
        try:
            workflow = project.load(path)
            name = workflow.name
            yield workflow.dag(**arguments)
        except AgenticError as error:
            log.warning("the workflow in %s does not compile: %s", path, error)
            yield placeholder(name, str(error))


def placeholder(dag_id: str, message: str) -> DAG:
    """A Dag that says what is wrong with its workflow."""
    readable = re.sub(r"[^0-9a-zA-Z._-]", "-", dag_id)
    with DAG(
        dag_id=readable,
        schedule=None,
        tags=["airflow-agentic", "spec-error"],
        doc_md=f"**This workflow has an error and cannot run.**\n\n```text\n{message}\n```\n",
    ) as dag:
        SpecErrorOperator(task_id="spec-error", message=message)
    return dag
