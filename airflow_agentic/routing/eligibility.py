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
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_agentic.registry.info import ModelInfo
    from airflow_agentic.spec.workflow import Requirements

Ints = npt.NDArray[np.int64]

UNHEALTHY = "unhealthy"
MAX_CODE = 2**62
"""Codes of groups are int64."""
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
    columns += [_words(records, rows, name) for name in (("language", "task") if by_task else ("language",))]
    code = np.zeros(len(rows), dtype=np.int64)
    count = 1
    for bucket, size in (column for column in columns if column is not None):
        if count * size > MAX_CODE:
            code = np.unique(code, return_inverse=True)[1].astype(np.int64)
            count = len(rows)
        code = code * size + bucket
        count *= size
    first, inverse = _distinct(code, count)
    return inverse, [_asked(records, int(rows[index]), by_task) for index in first]


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


def _figures(records: pa.Table, rows: Ints, name: str, values: Sequence[float | None]) -> tuple[Ints, int] | None:
    """A limit as its place among the candidates' figures; null and NaN have places of their own."""
    column = _taken(records, name, rows)
    if column is None:
        return None
    known = np.unique(np.array([value for value in values if value is not None], dtype=np.float64))
    asked = column.to_numpy(zero_copy_only=False)
    bucket = np.searchsorted(known, asked, side="left" if name == "min_quality" else "right").astype(np.int64)
    bucket[np.isnan(asked)] = len(known) + 1
    if column.null_count:
        bucket[np.asarray(column.is_null())] = len(known) + 2
    return bucket, len(known) + 3


def _words(records: pa.Table, rows: Ints, name: str) -> tuple[Ints, int] | None:
    column = _taken(records, name, rows)
    if column is None:
        return None
    encoded = pc.dictionary_encode(column, null_encoding="encode")
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), max(len(encoded.dictionary), 1)


def _distinct(code: Ints, count: int) -> tuple[Ints, Ints]:
    """Where each distinct code stands first, and the number of each row's code among them."""
    if count > 4 * len(code) + FEW:
        _, first, inverse = np.unique(code, return_index=True, return_inverse=True)
        return first, inverse.astype(np.int64)
    place = np.full(count, -1, dtype=np.int64)
    place[code[::-1]] = np.arange(len(code) - 1, -1, -1)
    present = np.flatnonzero(place >= 0)
    number = np.zeros(count, dtype=np.int64)
    number[present] = np.arange(len(present))
    return place[present], number[code]


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
