"""The workflow behind a Dag, as Airflow has it: the API server has neither Dag files nor cards.

The serialized Dag carries the drawing of the compiled plan (in its documentation) and, in the layout ``expanded``, one
Airflow task a node. What the plan says beyond that is in the frozen plan of each run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from airflow_agentic.plugins.api.problems import ProblemError
from airflow_agentic.plugins.api.runs import NO_STORE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_agentic.plugins.api.access import Access
    from airflow_agentic.plugins.api.desk import Desk

TAG: Final = "airflow-agentic"
BROKEN: Final = "spec-error"
KINDS: Final = {
    "PreprocessOperator": "preprocess",
    "RouteOperator": "route",
    "LocalInferenceOperator": "infer",
    "GateOperator": "gate",
    "AggregateOperator": "aggregate",
    "PublishOperator": "publish",
}
"""By operator; others of a workflow's Dag run models elsewhere."""
LAYOUTS: Final = {"expanded": "PreprocessOperator", "compact": "WorkflowOperator"}
"""Each with the operator of its first Airflow task."""
_FENCE: Final = "```"


class Task(Protocol):
    """A serialized Airflow task."""

    task_type: str
    upstream_task_ids: set[str]


class Dag(Protocol):
    """A serialized Dag."""

    tags: Any
    doc_md: str | None
    description: str | None
    task_dict: Mapping[str, Task]


def workflow_routes(access: Access, find: Callable[[str], Dag | None], desk: Desk) -> APIRouter:
    """The route ``/dags/{dag_id}/workflow``.

    :param find: the Dag as it was serialized last; may look into the database.
    """
    router = APIRouter()

    @router.get("/dags/{dag_id}/workflow", dependencies=[Depends(access.see_workflow)])
    async def workflow(dag_id: str) -> JSONResponse:
        return JSONResponse(_document(dag_id, await desk(lambda: find(dag_id))), headers=NO_STORE)

    return router


def _document(dag_id: str, dag: Dag | None) -> dict[str, Any]:
    tags = set() if dag is None else set(dag.tags or ())
    if BROKEN in tags:
        raise ProblemError(409, f"the workflow of {dag_id!r} does not compile; the Dag's documentation says why")
    types = set() if dag is None else {task.task_type for task in dag.task_dict.values()}
    layout = next((name for name, first in LAYOUTS.items() if first in types), None)
    if dag is None or layout is None or TAG not in tags:
        raise ProblemError(404, f"the Dag {dag_id[:80]!r} is built from no workflow")
    return {
        "workflow": dag_id,
        "description": dag.description,
        "layout": layout,
        "drawing": _drawing(dag.doc_md or ""),
        "nodes": [_node(*one) for one in dag.task_dict.items()] if layout == "expanded" else None,
    }


def _node(task_id: str, task: Task) -> dict[str, Any]:
    return {"id": task_id, "kind": KINDS.get(task.task_type, "infer"), "needs": sorted(task.upstream_task_ids)}


def _drawing(text: str) -> str:
    """What stands in the last fence of the documentation."""
    return text.rpartition(f"{_FENCE}text\n")[2].partition(f"\n{_FENCE}")[0]
