"""What a run has come to: by node, by model, by error code. From committed markers, never from the records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_agentic.execution.batch import Folder
from airflow_agentic.execution.counts import summed
from airflow_agentic.execution.publish import target
from airflow_agentic.plan.ir import Aggregate, AnyNode, Preprocess, Publish

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_agentic.execution.batch import Run, ShardFile
    from airflow_agentic.execution.publish import OpenStore
    from airflow_agentic.execution.runs import StoredRun
    from airflow_agentic.plan import Plan


@dataclass(frozen=True, kw_only=True)
class NodeReport:
    """What one node has committed."""

    node: str
    kind: str
    shards: int
    counts: Mapping[str, int]
    """As it counted them: what was erased later is still in them."""


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """A run that has not expired."""

    plan: Plan
    nodes: tuple[NodeReport, ...]
    """Without Preprocess and Publish, which leave no marker."""
    answers: Mapping[str, int]
    """Records answered, by model."""
    errors: Mapping[str, int]
    """Records without an answer, by code."""
    published: str
    """The folder that Publish writes to."""


def report(found: StoredRun, open_store: OpenStore) -> RunReport | None:
    """The report of a run, ``None`` before its first manifest.

    :raises ExpiredRunError: it has expired.
    """
    if found.manifest is None:
        return None
    return report_of(found, Folder(found.store).open(found.manifest), open_store)


def report_of(
    found: StoredRun, run: Run, open_store: OpenStore, *, shards: Sequence[ShardFile] | None = None
) -> RunReport:
    """The report of ``run``, which is ``found``.

    :param shards: count these only; a marker is read for each and every node.
    """
    counted = run.shards if shards is None else shards
    nodes = [_node(run, node, counted) for node in run.plan.nodes if not isinstance(node, Preprocess | Publish)]
    totals = nodes[-1].counts
    return RunReport(
        plan=run.plan,
        nodes=tuple(nodes),
        answers=_named(totals, "model:"),
        errors=_named(totals, "error:"),
        published=target(found.store, found.place.run_id, run.plan.of(Publish)[0].uri, open_store).base,
    )


def _node(run: Run, node: AnyNode, shards: Sequence[ShardFile]) -> NodeReport:
    markers = [
        (run.answered(shard) if isinstance(node, Aggregate) else None) or run.marker(node.id, shard) for shard in shards
    ]
    counts = [marker.counts for marker in markers if marker is not None]
    return NodeReport(node=node.id, kind=node.kind, shards=len(counts), counts=summed(counts))


def _named(counts: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): count for name, count in sorted(counts.items()) if name.startswith(prefix)}
