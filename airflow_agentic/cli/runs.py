"""Runs of the artifact store as a person reads them, and as a machine does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from airflow_agentic.cli.render import aligned
from airflow_agentic.execution.retention import duration, now
from airflow_agentic.plan import draw

if TYPE_CHECKING:
    from airflow_agentic.execution.expiry import Tombstone
    from airflow_agentic.execution.report import RunReport
    from airflow_agentic.execution.runs import StoredRun


def overview(runs: Iterable[StoredRun]) -> list[str]:
    """One line a run, below a line of headings."""
    rows = [
        (
            str(run.place),
            run.workflow,
            run.state(now()),
            _moment(run),
            f"{run.records:,}",
            f"{run.answered}/{run.shards} shards" if run.tombstone is None else "",
            size(run.bytes),
        )
        for run in runs
    ]
    return aligned([("run", "workflow", "state", "written", "records", "answered", "size"), *rows])


def lines(run: StoredRun, report: RunReport | None) -> list[str]:
    """A run in full. An expired one says so, and when and why."""
    if run.tombstone is not None:
        return aligned([("run", str(run.place)), ("workflow", run.workflow), *_expired(run, run.tombstone)])
    facts = [
        ("run", str(run.place)),
        ("workflow", run.workflow),
        ("state", f"{run.state(now())}, last written {_moment(run)} UTC"),
        ("records", f"{run.records:,} in {run.shards} shards, {run.answered} of them answered"),
        ("kept", "as the configuration says" if run.retention is None else duration(run.retention)),
        ("size", size(run.bytes)),
        ("data", run.store.base),
    ]
    if report is None:
        return aligned(facts)
    return [
        *aligned([*facts, ("answers", report.published)]),
        "",
        *draw.terminal(report.plan).rstrip("\n").split("\n"),
        "",
        *aligned([(one.node, f"{one.shards}/{run.shards} shards", _counts(one.counts)) for one in report.nodes]),
        "",
        *aligned([
            *(("answered by", name, f"{count:,}") for name, count in report.answers.items()),
            *(("no answer", name, f"{count:,}") for name, count in report.errors.items()),
        ]),
    ]  # fmt: skip


def document(run: StoredRun, report: RunReport | None = None) -> dict[str, Any]:
    """A run for machines."""
    found = {
        "run": str(run.place),
        **asdict(run.place),
        "workflow": run.workflow,
        "state": run.state(now()),
        "written_at": run.written_at.astimezone(UTC).isoformat(),
        "retention": run.retention,
        "records": run.records,
        "shards": run.shards,
        "answered": run.answered,
        "bytes": run.bytes,
        "uri": run.store.base,
        "expired": None if run.tombstone is None else asdict(run.tombstone),
    }
    if report is None:
        return found
    nodes = [{"node": one.node, "kind": one.kind, "shards": one.shards, "counts": one.counts} for one in report.nodes]
    return {
        **found,
        "published": report.published,
        "answers": report.answers,
        "errors": report.errors,
        "nodes": nodes,
    }


def size(count: int) -> str:
    """``139.6 kB``."""
    return decimal(count)


def _expired(run: StoredRun, tombstone: Tombstone) -> list[tuple[str, str]]:
    outside = [f"{uri.rstrip('/')}/{run.place.run_id} (yours: not deleted)" for uri in tombstone.published]
    answers = outside or ["deleted; clear the whole run to compute them anew"]
    return [
        ("state", tombstone.sentence),
        ("records", f"{run.records:,}"),
        *(("answers", place) for place in answers),
    ]


def _moment(run: StoredRun) -> str:
    return f"{run.written_at.astimezone(UTC):%Y-%m-%d %H:%M}"


def _counts(counts: Mapping[str, int]) -> str:
    """A node's counts on a line; those by model and by code stand below."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if ":" not in name)
