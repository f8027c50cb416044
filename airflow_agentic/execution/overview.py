"""What a run has come to, as the JSON object that Airflow's API server gives: counts and progress, never a record."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from airflow_agentic.exceptions import StoreError
from airflow_agentic.execution.counts import bounded
from airflow_agentic.execution.pages import Place
from airflow_agentic.execution.progress import read_progress
from airflow_agentic.execution.report import report_of
from airflow_agentic.plan.ir import Infer

if TYPE_CHECKING:
    from airflow_agentic.execution.batch import Run
    from airflow_agentic.execution.publish import OpenStore
    from airflow_agentic.execution.runs import StoredRun

MOST_SHARDS: Final = 200
"""That are counted at once: one marker is read for each and every node."""
MOST_PROGRESS: Final = 64
"""Progress objects that are read at once."""


def overview(
    found: StoredRun, run: Run, open_store: OpenStore, *, cursor: str | None = None, limit: int = MOST_SHARDS
) -> dict[str, Any]:
    """The report of the shards from ``cursor`` on, at most ``limit`` of them; ``next`` names the others.

    Counts by name are cut as those in XCom are: names come from users.

    :raises InputError: ``cursor`` is none of this run's.
    """
    first = Place.of(run, cursor).shard
    shards = run.shards[first : first + limit]
    said = report_of(found, run, open_store, shards=shards)
    following = first + len(shards)
    return {
        "workflow": run.plan.workflow,
        "manifest": run.manifest,
        "records": run.rows,
        "shards": len(run.shards),
        "first": first,
        "counted": len(shards),
        "answered": said.nodes[-1].shards,
        "nodes": [
            {"node": one.node, "kind": one.kind, "shards": one.shards, "counts": bounded(one.counts)}
            for one in said.nodes
        ],
        "answers": bounded(said.answers),
        "errors": bounded(said.errors),
        "progress": _progress(run) if first == 0 else [],
        "published": said.published,
        "next": Place(shard=following).cursor(run) if following < len(run.shards) else None,
    }


def _progress(run: Run) -> list[dict[str, Any]]:
    """How far the units are; one that cannot be read is left out, because nobody decides from it."""
    places = [(node.id, unit.number) for node in run.plan.of(Infer) for unit in run.units()]
    found = []
    for node, unit in places[:MOST_PROGRESS]:
        try:
            progress = read_progress(run.folder.store, node, unit)
        except (StoreError, ValueError, TypeError):
            continue
        if progress is not None:
            found.append({"node": node, **asdict(progress)})
    return found
