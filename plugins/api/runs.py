"""The routes of runs, read only: what was planned, what it came to, what was said of each record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from airflow_agentic.execution import pages
from airflow_agentic.execution.overview import MOST_SHARDS, overview
from airflow_agentic.execution.pages import Wanted
from airflow_agentic.execution.runs import RunPlace
from airflow_agentic.execution.trace import trace
from airflow_agentic.plan import Plan
from airflow_agentic.plan.document import plan_document
from airflow_agentic.plugins.api.problems import ProblemError
from airflow_agentic.plugins.api.shelf import opened

if TYPE_CHECKING:
    from airflow_agentic.execution import Run
    from airflow_agentic.plugins.api.access import Access
    from airflow_agentic.plugins.api.desk import Desk
    from airflow_agentic.plugins.api.shelf import Shelf

RUN: Final = "/dags/{dag_id}/runs/{run_id}"
NO_STORE: Final = {"cache-control": "no-store"}


class Asked(BaseModel):
    """The query of every route of a run."""

    model_config = ConfigDict(extra="forbid")

    task_id: str = ""
    """The Airflow task of a model operator in a user's own Dag, whose run it is."""


class Paged(Asked):
    """The query of a list."""

    cursor: str | None = None
    limit: int = Field(100, ge=1, le=pages.MOST_ROWS)


class ReportAsked(Paged):
    """The query of a report: it is counted by shards."""

    limit: int = Field(MOST_SHARDS, ge=1, le=MOST_SHARDS)


class AnswersAsked(Paged):
    """The query of answers."""

    record_id: str | None = None
    model: str | None = None
    error: str | None = None


class PredictionsAsked(AnswersAsked):
    """The query of predictions."""

    node: str | None = None


class RecordAsked(Asked):
    """The query of one record."""

    cursor: str | None = None


def run_routes(access: Access, shelf: Shelf, desk: Desk) -> APIRouter:
    """Routes below ``/dags/{dag_id}/runs/{run_id}``."""
    router = APIRouter()
    run, records = [Depends(access.see_run)], [Depends(access.see_records)]

    @router.get(f"{RUN}/plan", dependencies=run)
    async def plan(dag_id: str, run_id: str, asked: Annotated[Asked, Query()]) -> JSONResponse:
        place = _place(dag_id, run_id, asked)
        return _answer(place, await desk(lambda: _plan(shelf, place)))

    @router.get(f"{RUN}/report", dependencies=run)
    async def report(dag_id: str, run_id: str, asked: Annotated[ReportAsked, Query()]) -> JSONResponse:
        place = _place(dag_id, run_id, asked)

        def read() -> dict[str, Any]:
            found = shelf.find(place)
            return overview(found, opened(found), shelf.open_store, cursor=asked.cursor, limit=asked.limit)

        return _answer(place, await desk(read))

    @router.get(f"{RUN}/answers", dependencies=records)
    async def answers(dag_id: str, run_id: str, asked: Annotated[AnswersAsked, Query()]) -> JSONResponse:
        place = _place(dag_id, run_id, asked)
        wanted = Wanted(record_id=asked.record_id, model=asked.model, error=asked.error)
        page = await desk(lambda: pages.answers(shelf.open(place), wanted, cursor=asked.cursor, limit=asked.limit))
        return _answer(place, {"answers": page.rows, "next": page.next})

    @router.get(f"{RUN}/predictions", dependencies=records)
    async def predictions(dag_id: str, run_id: str, asked: Annotated[PredictionsAsked, Query()]) -> JSONResponse:
        place = _place(dag_id, run_id, asked)
        wanted = Wanted(record_id=asked.record_id, model=asked.model, error=asked.error, node=asked.node)
        page = await desk(lambda: pages.predictions(shelf.open(place), wanted, cursor=asked.cursor, limit=asked.limit))
        return _answer(place, {"predictions": page.rows, "next": page.next})

    @router.get(f"{RUN}/records/{{record_id:path}}", dependencies=records)
    async def record(dag_id: str, run_id: str, record_id: str, asked: Annotated[RecordAsked, Query()]) -> JSONResponse:
        place = _place(dag_id, run_id, asked)
        return _answer(place, await desk(lambda: _record(shelf.open(place), record_id, asked.cursor)))

    return router


def _place(dag_id: str, run_id: str, asked: Asked) -> RunPlace:
    return RunPlace(dag_id=dag_id, run_id=run_id, task_id=asked.task_id)


def _answer(place: RunPlace, document: dict[str, Any]) -> JSONResponse:
    task = {"task_id": place.task_id} if place.task_id else {}
    return JSONResponse({"dag_id": place.dag_id, "run_id": place.run_id, **task, **document}, headers=NO_STORE)


def _plan(shelf: Shelf, place: RunPlace) -> dict[str, Any]:
    frozen = shelf.find(place).plan
    if not frozen:
        raise ProblemError(
            404, f"the run {place.run_id!r} of {place.dag_id!r} has no readable plan; clear the whole run"
        )
    return plan_document(Plan.model_validate(frozen))


def _record(run: Run, record_id: str, cursor: str | None) -> dict[str, Any]:
    found = trace(run, record_id, cursor=cursor)
    if found.document is None:
        where = "the run holds" if cursor is None and found.next is None else "the shards that were looked at hold"
        hint = "" if found.next is None else "; go on with 'next' as cursor"
        extra = {} if found.next is None else {"next": found.next}
        raise ProblemError(404, f"{where} no record {record_id[:80]!r}{hint}", extra=extra)
    return found.document
