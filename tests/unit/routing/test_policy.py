"""Scores of candidates under each policy."""

from __future__ import annotations

import math

import pytest
from builders import card

from airflow_agentic.registry import ModelInfo
from airflow_agentic.routing.policy import scores

CHEAP = ModelInfo.of(card("cheap", cost=1.0, latency_ms=10.0, quality=0.5))
GOOD = ModelInfo.of(card("good", cost=5.0, latency_ms=50.0, quality=0.9))
MIDDLE = ModelInfo.of(card("middle", cost=3.0, latency_ms=30.0, quality=0.7))
SILENT = ModelInfo.of(card("silent"))


def test_quality_is_the_quality_and_what_is_not_declared_is_worst() -> None:
    assert scores([CHEAP, GOOD, SILENT], "quality", {}) == [0.5, 0.9, -math.inf]


def test_cost_and_latency_are_better_the_lower() -> None:
    assert scores([CHEAP, GOOD, SILENT], "cost", {}) == [-0.001, -0.005, 0.0]
    assert scores([CHEAP, GOOD, SILENT], "latency", {}) == [-10.0, -50.0, -math.inf]


def test_balanced_is_the_mean_of_normalised_figures() -> None:
    assert scores([CHEAP, GOOD, MIDDLE], "balanced", {}) == pytest.approx([2 / 3, 1 / 3, 0.5])
    assert scores([CHEAP, GOOD, MIDDLE], "balanced", {"quality": 1.0}) == pytest.approx([0.0, 1.0, 0.5])
    assert scores([CHEAP, GOOD], "balanced", {"cost": 3.0, "quality": 1.0}) == pytest.approx([0.75, 0.25])


def test_balanced_takes_equal_figures_as_best_and_missing_ones_as_worst() -> None:
    assert scores([CHEAP, CHEAP], "balanced", {}) == [1.0, 1.0]
    assert scores([CHEAP, SILENT], "balanced", {}) == pytest.approx([2 / 3, 1 / 3])
    assert scores([SILENT], "balanced", {}) == pytest.approx([1 / 3])


@pytest.mark.parametrize("policy", ["declared", "round-robin", "weighted", "least-loaded"])
def test_other_policies_prefer_nobody(policy: str) -> None:
    assert scores([CHEAP, GOOD], policy, {}) == [0.0, 0.0]  # type: ignore[arg-type]  # each is a policy
