"""Decisions: small trees that say which rows go to which infer nodes.

A decision is data, part of the plan; :mod:`airflow_agentic.routing.decide` evaluates it over a shard. Its leaves name
infer nodes (:class:`To`) or an outcome (:class:`Reject`); no row is ever dropped silently.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from airflow_agentic.spec.base import Strict
from airflow_agentic.spec.pattern import PolicyName, Requirements  # pydantic reads them

Outcome = Literal["no_route", "no_candidate", "all_unhealthy", "condition_failed", "bad_record"]
"""Why a row reaches no model."""


class To(Strict):
    """The row goes to an infer node."""

    kind: Literal["to"] = "to"
    node: str


class Reject(Strict):
    """The row goes nowhere, for a named reason."""

    kind: Literal["reject"] = "reject"
    outcome: Outcome
    reason: str


class Case(Strict):
    """One rule: a condition (none: always) and what follows."""

    name: str
    """Where the rule stands, as ``routes[1]``."""
    when: str | None = None
    then: Decision


class Rules(Strict):
    """The first case that holds, or every one; ``default`` for rows that no case takes."""

    kind: Literal["rules"] = "rules"
    cases: tuple[Case, ...]
    default: Decision
    match: Literal["first", "all"] = "first"


class Candidate(Strict):
    """One of several; ``model`` is known where it is a single model, and then its limits are checked."""

    name: str
    model: str | None = None
    then: Decision


class Pick(Strict):
    """One of the candidates that satisfy the record's requirements and ``require``, by ``policy``."""

    kind: Literal["pick"] = "pick"
    candidates: tuple[Candidate, ...]
    policy: PolicyName = "declared"
    weights: dict[str, float] = Field(default_factory=dict)
    require: Requirements | None = None
    by_task: bool = False
    """Whether a candidate must have the record's task (candidates of several tasks)."""
    seed: int = 0


class Share(Strict):
    """An arm of a split."""

    name: str
    weight: float
    then: Decision


class Split(Strict):
    """A share of the rows to each arm, by a hash of ``key`` and ``seed``."""

    kind: Literal["split"] = "split"
    arms: tuple[Share, ...]
    key: str
    seed: int = 0


class Sample(Strict):
    """A fraction of the rows, by a hash of the record id and ``seed``; the others go nowhere, which is no outcome."""

    kind: Literal["sample"] = "sample"
    fraction: float
    seed: int = 0
    then: Decision


class All(Strict):
    """The rows go to every child."""

    kind: Literal["all"] = "all"
    children: tuple[Decision, ...]


Decision = Annotated[To | Reject | Rules | Pick | Split | Sample | All, Field(discriminator="kind")]


def parts(decision: Decision) -> tuple[Decision, ...]:
    """The decisions directly inside, in order."""
    if isinstance(decision, Rules):
        return (*(case.then for case in decision.cases), decision.default)
    if isinstance(decision, Pick):
        return tuple(candidate.then for candidate in decision.candidates)
    if isinstance(decision, Split):
        return tuple(arm.then for arm in decision.arms)
    if isinstance(decision, Sample):
        return (decision.then,)
    return decision.children if isinstance(decision, All) else ()


def targets(decision: Decision) -> tuple[str, ...]:
    """The infer nodes a decision can reach, in order, each once."""
    if isinstance(decision, To):
        return (decision.node,)
    return tuple(dict.fromkeys(node for part in parts(decision) for node in targets(part)))


def least_loaded(decision: Decision) -> bool:
    """Whether it looks at the moment's load anywhere, which only an online executor knows."""
    here = isinstance(decision, Pick) and decision.policy == "least-loaded"
    return here or any(least_loaded(part) for part in parts(decision))
