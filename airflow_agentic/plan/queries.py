"""The queries of a workflow and where they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_agentic.spec.pattern import Candidates, Pattern, Query
    from airflow_agentic.spec.source import KeyPath
    from airflow_agentic.spec.workflow import WorkflowSpec


def queries(workflow: WorkflowSpec) -> Iterator[tuple[KeyPath, Query]]:
    """Every query with its place, as the lock file names it."""
    for index, route in enumerate(workflow.routes):
        yield from _of_pattern(route.use, ("routes", index, "use"))
    for name in ("default", "fallback"):
        pattern = getattr(workflow, name)
        if pattern is not None:
            yield from _of_pattern(pattern, (name,))


def _of_pattern(pattern: Pattern, path: KeyPath) -> Iterator[tuple[KeyPath, Query]]:
    for kind in ("single", "fallback", "cascade", "ensemble"):
        candidates: Candidates | None = getattr(pattern, kind)
        if candidates is None:
            continue
        if candidates.query is not None:
            yield (*path, kind), candidates.query
        for index, member in enumerate(candidates.members):
            yield from _of_pattern(member, (*path, kind, index))
    for index, step in enumerate(pattern.chain or []):
        yield from _of_pattern(step.use, (*path, "chain", index, "use"))
    for index, rule in enumerate(pattern.rules or []):
        yield from _of_pattern(rule.use, (*path, "rules", index, "use"))
    for index, arm in enumerate(pattern.split.arms if pattern.split else []):
        yield from _of_pattern(arm.use, (*path, "split", "arms", index, "use"))
    if pattern.shadow is not None:
        yield from _of_pattern(pattern.shadow.primary, (*path, "shadow", "primary"))
        for index, member in enumerate(pattern.shadow.shadows):
            yield from _of_pattern(member, (*path, "shadow", "shadows", index))
