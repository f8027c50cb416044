"""Which candidates may answer a record: limits, language, task and health.

The rule stands once, in :func:`why_not`; a batch applies it to one representative of each group of records that ask
the same (:func:`groups`), so that a million rows cost a few array operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from airflow_agentic.routing.distinct import distinct

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_agentic.registry.info import ModelInfo
    from airflow_agentic.spec.workflow import Requirements

Ints = npt.NDArray[np.int64]

UNHEALTHY = "unhealthy"
FEW = 32
"""Up to so many groups, looking for each is faster than sorting."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What one record (and the pattern it meets) asks of a model; ``None`` asks nothing."""

    task: str | None = None
    language: str | None = None
    max_latency_ms: float | None = None
    max_cost: float | None = None
    min_quality: float | None = None


def why_not(info: ModelInfo, asked: Asked, require: Requirements | None) -> str | None:
    """Why ``info`` cannot answer, or ``None`` if it can; ``unhealthy`` where only its health is in the way."""
    if asked.task is not None and info.task != asked.task:
        return f"does {info.task}"
    if asked.language is not None and "languages" in info.capabilities and not info.has("languages", asked.language):
        return f"does not speak {asked.language}"
    limits = (asked, require) if require is not None else (asked,)
    for limit in limits:
        if limit.max_cost is not None and info.cost > limit.max_cost:
            return f"costs {info.cost:g}, over max_cost"
        if limit.max_latency_ms is not None and (info.latency_ms is None or info.latency_ms > limit.max_latency_ms):
            return "over max_latency_ms" if info.latency_ms is not None else "declares no latency"
        if limit.min_quality is not None and (info.quality is None or info.quality < limit.min_quality):
            return "under min_quality" if info.quality is not None else "declares no quality"
    for key, wanted in (require.capabilities if require is not None else {}).items():
        if not info.has(key, wanted):
            return f"has no {key} {wanted!r}"
    return None if info.healthy else UNHEALTHY


def groups(records: pa.Table, rows: Ints, infos: Sequence[ModelInfo], *, by_task: bool) -> tuple[Ints, list[Asked]]:
    """Group ``rows`` so that all rows of a group have the same eligible candidates.

    :returns: the group of each of ``rows``, and one representative request a group. Numbers are grouped by the
        candidates' own figures: 0.3 and 0.4 are alike if no candidate costs between them.
    """
    columns = [_figures(records, rows, name, values) for name, values in figures(infos).items()]
    columns += [_taken(records, name, rows) for name in (("language", "task") if by_task else ("language",))]
    first, group = distinct([column for column in columns if column is not None], len(rows))
    return group.to_numpy(), [_asked(records, int(rows[index]), by_task) for index in first.to_numpy()]


def parts(codes: Ints, count: int) -> Iterator[tuple[Ints, int]]:
    """The places of each of the codes 0 to ``count`` - 1, ascending, with the code."""
    if count <= FEW:
        yield from ((np.flatnonzero(codes == code), code) for code in range(count))
        return
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(count + 1))
    for code in range(count):
        yield order[starts[code] : starts[code + 1]], code


def figures(infos: Sequence[ModelInfo]) -> dict[str, list[float | None]]:
    """What the limits are compared with."""
    return {
        "max_cost": [info.cost for info in infos],
        "max_latency_ms": [info.latency_ms for info in infos],
        "min_quality": [info.quality for info in infos],
    }


def _figures(records: pa.Table, rows: Ints, name: str, values: Sequence[float | None]) -> pa.Array | None:
    """A limit as its place among the candidates' figures; null stays null, NaN has a place of its own."""
    column = _taken(records, name, rows)
    if column is None:
        return None
    known = np.unique(np.array([value for value in values if value is not None], dtype=np.float64))
    asked = column.to_numpy(zero_copy_only=False)
    place = np.searchsorted(known, asked, side="left" if name == "min_quality" else "right")
    place[np.isnan(asked)] = len(known) + 1
    return pa.array(place, mask=np.asarray(column.is_null()) if column.null_count else None)


def _taken(records: pa.Table, name: str, rows: Ints) -> pa.Array | None:
    """The values of ``rows``, or ``None`` where nobody asks."""
    column = records.column(name)
    if column.null_count == len(column):
        return None
    whole = len(rows) == len(column)
    taken = column if whole else column.take(pa.array(rows))
    return taken.combine_chunks() if isinstance(taken, pa.ChunkedArray) else taken


def _asked(records: pa.Table, row: int, by_task: bool) -> Asked:
    values = {
        name: records.column(name)[row].as_py() for name in ("language", "max_latency_ms", "max_cost", "min_quality")
    }
    return Asked(task=records.column("task")[row].as_py() if by_task else None, **values)
