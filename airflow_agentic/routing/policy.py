"""How good each candidate is under a policy: one number a model, higher is better."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_agentic.registry.info import ModelInfo
    from airflow_agentic.spec.workflow import PolicyName

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
    parts = {
        "cost": _normalised([-info.cost for info in infos]),
        "latency": _normalised([None if info.latency_ms is None else -info.latency_ms for info in infos]),
        "quality": _normalised([info.quality for info in infos]),
    }
    total = sum(weights.values())
    return [sum(weight * parts[name][index] for name, weight in weights.items()) / total for index in range(len(infos))]


def _normalised(values: Sequence[float | None]) -> list[float]:
    known = [value for value in values if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    span = high - low
    return [0.0 if value is None else 1.0 if span == 0 else (value - low) / span for value in values]
