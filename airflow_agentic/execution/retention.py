"""Pruning: runs whose time is over are deleted, but for a tombstone (:mod:`.expiry`).

Only what lies in a run's own folder is deleted. Answers that were published to an absolute URI are the user's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from airflow_agentic.artifacts import Store
from airflow_agentic.execution.expiry import EXPIRED, Tombstone, bury, sweep
from airflow_agentic.execution.publish import outside_folders
from airflow_agentic.execution.runs import RunPlace, StoredRun, find_runs

Clock = Callable[[], datetime]

_UNITS = (("w", 604800), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """A run that was deleted, or would be."""

    place: RunPlace
    workflow: str
    records: int
    why: str
    objects: int
    bytes: int


def now() -> datetime:
    """The time of day, UTC."""
    return datetime.now(UTC)


def prune(
    base: Store,
    deployment: str,
    *,
    older_than: float | None = None,
    default: float | None = None,
    workflow: str | None = None,
    dry_run: bool = False,
    clock: Clock = now,
) -> Iterator[Pruned]:
    """Delete the runs that were last written to longer ago than they are kept, one by one as they are taken.

    What an earlier prune left behind is deleted too. A crash at any point is finished by the next call.

    :param older_than: seconds, of every run; without it each is kept as long as its workflow's ``retention`` says.
    :param default: seconds, where the workflow says nothing; ``None`` keeps such runs.
    :param workflow: only this one's runs.
    :param dry_run: only say what would be deleted.
    """
    for run in find_runs(base, deployment):
        if workflow is not None and run.workflow != workflow:
            continue
        if run.tombstone is not None:
            pruned = _finished(run, run.tombstone, dry_run)
        else:
            kept = older_than or run.retention or default
            pruned = None if kept is None else _expired(run, kept, dry_run, clock)
        if pruned is not None:
            yield pruned


def _finished(run: StoredRun, tombstone: Tombstone, dry_run: bool) -> Pruned | None:
    """What was left behind or written after the tombstone."""
    if len(run.objects) == 1:
        return None
    pruned = _pruned(run, tombstone.why)
    if not dry_run:
        sweep(run.store)
    return pruned


def _expired(run: StoredRun, kept: float, dry_run: bool, clock: Clock) -> Pruned | None:
    if not _is_over(run, kept, clock()):
        return None
    why = f"last written {run.written_at.astimezone(UTC):%Y-%m-%d}, kept for {duration(kept)}"
    pruned = _pruned(run, why)
    if dry_run:
        return pruned
    tombstone = Tombstone(
        expired_at=clock().astimezone(UTC).isoformat(timespec="seconds"),
        why=why,
        workflow=run.workflow,
        records=run.records,
        published=outside_folders(run.plans()),
    )
    ours = bury(run.store, tombstone)
    if not _is_over(run.again(), kept, clock()):  # somebody wrote between our look at it and the tombstone
        if ours:
            run.store.delete(EXPIRED)
        return None
    sweep(run.store)
    return pruned


def _is_over(run: StoredRun, kept: float, moment: datetime) -> bool:
    return (moment - run.written_at).total_seconds() >= kept


def _pruned(run: StoredRun, why: str) -> Pruned:
    gone = [one for one in run.objects if one.name != EXPIRED]
    return Pruned(
        place=run.place,
        workflow=run.workflow,
        records=run.records,
        why=why,
        objects=len(gone),
        bytes=sum(one.bytes for one in gone),
    )


def duration(seconds: float) -> str:
    """``30d``: as a spec would say it, in the largest unit that divides it."""
    unit, size = next(((unit, size) for unit, size in _UNITS if seconds % size == 0), ("s", 1))
    return f"{seconds / size:g}{unit}"
