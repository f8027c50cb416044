"""How good each candidate is under a policy: one number a model, higher is better."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow_agentic.registry.info import ModelInfo
    from airflow_agentic.routing.decision import Pick
    from airflow_agentic.spec.pattern import PolicyName

BALANCED = {"cost": 1.0, "latency": 1.0, "quality": 1.0}


def scores(infos: Sequence[ModelInfo], policy: PolicyName, weights: Mapping[str, float]) -> list[float]:
    """The candidates' scores among each other.

    ``quality``: the quality; ``cost`` and ``latency``: their negative; ``balanced``: the weighted mean of the three,
    each min-max normalised over ``infos`` to 0…1 (1 is best; all equal is 1); what a card does not declare is worst.
    ``declared``, and the policies of chance, prefer nobody: the order stands.
    """
    if policy == "quality":
        return [-math.inf if info.quality is None else info.quality for info in infos]
    if policy == "cost":
        return [-info.cost for info in infos]
    if policy == "latency":
        return [-math.inf if info.latency_ms is None else -info.latency_ms for info in infos]
    if policy == "balanced":
        return _balanced(infos, weights or BALANCED)
    return [0.0] * len(infos)


def _balanced(infos: Sequence[ModelInfo], weights: Mapping[str, float]) -> list[float]:
    spans = {name: _span([figure(info) for info in infos]) for name, figure in FIGURES.items()}
    return [balanced(info, spans, weights) for info in infos]


def balanced(info: ModelInfo, spans: Mapping[str, tuple[float, float]], weights: Mapping[str, float]) -> float:
    """One candidate's weighted mean.

    :param spans: the lowest and highest of :data:`FIGURES` among the candidates it is compared with.
    """
    parts = (weight * _normalised(FIGURES[name](info), *spans[name]) for name, weight in weights.items())
    return sum(parts) / sum(weights.values())


FIGURES: Final[dict[str, Callable[[ModelInfo], float | None]]] = {
    "cost": lambda info: -info.cost,
    "latency": lambda info: None if info.latency_ms is None else -info.latency_ms,
    "quality": lambda info: info.quality,
}
"""What a balanced score is made of; more is better."""


def _span(values: Sequence[float | None]) -> tuple[float, float]:
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if known else (0.0, 0.0)


def _normalised(value: float | None, low: float, high: float) -> float:
    span = high - low
    return 0.0 if value is None else 1.0 if span == 0 else (value - low) / span


def only_left(pick: Pick, name: str) -> str:
    """What is said of a candidate that has no rival: nothing, where none was to be expected."""
    alone = len(pick.candidates) == 1 or pick.policy == "declared"
    return "" if alone else f"{name} is the only candidate left"


def best_said(policy: PolicyName, name: str, score: float, able: int) -> str:
    """What is said of the best of several."""
    return f"{policy}: {name} scores {score:.4g}, best of {able}"
