"""Which candidates may answer a record, by task, language, limits and health, and what is said of the others.

The rule stands once, in :func:`why_not` and the checks it is made of; :func:`reasons` applies the checks to the
distinct values of each column only, so that a million rows cost a few array operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from airflow_agentic.routing.distinct import distinct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from airflow_agentic.registry.info import ModelInfo
    from airflow_agentic.spec.pattern import Requirements

Ints = npt.NDArray[np.int64]

UNHEALTHY: Final = "unhealthy"
FEW: Final = 32
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
    for name, check in CHECKS.items():
        value = getattr(asked, name)
        if value is not None and (reason := check(info, value)) is not None:
            return reason
    return never(info, require)


def never(info: ModelInfo, require: Requirements | None) -> str | None:
    """Why ``info`` cannot answer whatever a record asks: the pattern's limits, and its health."""
    if require is not None:
        for name in LIMITS:
            value = getattr(require, name)
            if value is not None and (reason := CHECKS[name](info, value)) is not None:
                return reason
        for key, wanted in require.capabilities.items():
            if not info.has(key, wanted):
                return f"has no {key} {wanted!r}"
    return None if info.healthy else UNHEALTHY


def _task(info: ModelInfo, task: str) -> str | None:
    return None if info.task == task else f"does {info.task}"


def speaks(info: ModelInfo, language: str) -> bool:
    """Whether ``info`` takes records of that language; one that names no languages takes all."""
    return "languages" not in info.capabilities or info.has("languages", language)


def _language(info: ModelInfo, language: str) -> str | None:
    return None if speaks(info, language) else f"does not speak {language}"


def _cost(info: ModelInfo, most: float) -> str | None:
    return f"costs {info.cost:g}, over max_cost" if info.cost > most else None


def _latency(info: ModelInfo, most: float) -> str | None:
    if info.latency_ms is None:
        return "declares no latency"
    return "over max_latency_ms" if info.latency_ms > most else None


def _quality(info: ModelInfo, least: float) -> str | None:
    if info.quality is None:
        return "declares no quality"
    return "under min_quality" if info.quality < least else None


CHECKS: Final[dict[str, Callable[[ModelInfo, Any], str | None]]] = {
    "task": _task,
    "language": _language,
    "max_cost": _cost,
    "max_latency_ms": _latency,
    "min_quality": _quality,
}
"""What a record may ask, in the order in which it is looked at."""
LIMITS: Final = {"max_cost": "cost", "max_latency_ms": "latency_ms", "min_quality": "quality"}
"""And with which of a candidate's figures it is compared."""


def reasons(
    records: pa.Table, rows: Ints, infos: Sequence[ModelInfo], require: Requirements | None, *, by_task: bool
) -> tuple[Ints, list[list[str | None]]]:
    """:func:`why_not` of all ``infos`` for all ``rows``.

    :param by_task: whether the record's task is looked at.
    :returns: the kind of each row, and for each kind the reason of each candidate.
    """
    names = [name for name in CHECKS if (by_task or name != "task") and records.column(name).null_count < len(records)]
    if not names:
        return np.zeros(len(rows), dtype=np.int64), [[never(info, require) for info in infos]]
    columns = {name: _taken(records, name, rows) for name in names}
    places = {name: _places(name, column, infos) for name, column in columns.items()}
    first, group = distinct(list(places.values()), len(rows))
    texts: dict[str | None, int] = {None: 0}
    found = np.array([[texts.setdefault(never(info, require), len(texts)) for info in infos]] * len(first))
    for name in reversed(names):  # of several reasons the first counts, so it is written last
        chosen, kind = distinct([places[name].take(first)], len(first))
        values = columns[name].take(first.take(chosen)).to_pylist()
        said = [[None if value is None else CHECKS[name](info, value) for info in infos] for value in values]
        codes = np.array([[texts.setdefault(text, len(texts)) for text in line] for line in said])[kind.to_numpy()]
        found = np.where(codes > 0, codes, found)
    kinds, kind_of = np.unique(found, axis=0, return_inverse=True)
    words = list(texts)
    return kind_of.reshape(-1)[group.to_numpy()], [[words[code] for code in line] for line in kinds]


def parts(codes: Ints, count: int) -> Iterator[tuple[Ints, int]]:
    """The places of each of the codes 0 to ``count`` - 1, ascending, with the code."""
    if count <= FEW:
        yield from ((np.flatnonzero(codes == code), code) for code in range(count))
        return
    order = np.argsort(codes.astype(np.min_scalar_type(count)), kind="stable")
    starts = np.searchsorted(codes[order], np.arange(count + 1))
    for code in range(count):
        yield order[starts[code] : starts[code + 1]], code


def _places(name: str, column: pa.Array, infos: Sequence[ModelInfo]) -> pa.Array:
    """Values that no candidate tells apart as one: a limit as its place among the candidates' figures."""
    if name not in LIMITS:
        return column
    figures = [getattr(info, LIMITS[name]) for info in infos]
    known = np.unique(np.array([figure for figure in figures if figure is not None], dtype=np.float64))
    asked = column.to_numpy(zero_copy_only=False)
    place = np.searchsorted(known, asked, side="left" if name == "min_quality" else "right")
    place[np.isnan(asked)] = len(known) + 1
    return pa.array(place, mask=np.asarray(column.is_null()) if column.null_count else None)


def _taken(records: pa.Table, name: str, rows: Ints) -> pa.Array:
    column = records.column(name)
    taken = column if len(rows) == len(column) else column.take(pa.array(rows))
    return taken.combine_chunks()


def joined_reasons(first: str, second: str) -> str:
    """Both, where there are two."""
    return f"{first}; {second}" if first and second else first or second


def why_dropped(dropped: Mapping[str, str], models: Mapping[str, ModelInfo]) -> str:
    """What a reason says of the candidates that cannot answer."""
    shown = []
    for name, why in dropped.items():
        info = models.get(name)
        detail = f" ({info.why_unhealthy})" if why == UNHEALTHY and info is not None and info.why_unhealthy else ""
        shown.append(f"{name} {'is unhealthy' if why == UNHEALTHY else why}{detail}")
    return "not " + ", ".join(shown) if shown else ""
