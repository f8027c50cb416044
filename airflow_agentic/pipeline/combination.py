"""Combinations: small trees that say how predictions become one answer.

A combination is data, part of the plan; :mod:`airflow_agentic.pipeline.combine` evaluates it over a shard. Its leaves
are infer nodes; a row may be absent from a leaf (never asked), valid, or in error.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from airflow_agentic.spec.base import Strict
from airflow_agentic.spec.pattern import Method  # pydantic reads it


class Leaf(Strict):
    """The predictions of an infer node."""

    kind: Literal["leaf"] = "leaf"
    node: str
    model: str


class Coalesce(Strict):
    """The member that was asked: of a choice, at most one was."""

    kind: Literal["coalesce"] = "coalesce"
    members: tuple[Combination, ...]


class FirstAccepted(Strict):
    """A cascade or fallback: the first stage that its gate accepted; the last needs no gate.

    A row that no stage answered well gets the best earlier answer, flagged ``degraded``.
    """

    kind: Literal["first-accepted"] = "first-accepted"
    stages: tuple[Combination, ...]
    gates: tuple[str, ...]
    """The gate after each stage but the last."""


class Chained(Strict):
    """The last step's answer where it was asked, else what the earlier step says (its error)."""

    kind: Literal["chained"] = "chained"
    last: Combination
    earlier: Combination


class Primary(Strict):
    """The primary's answer; the shadows are recorded, never used."""

    kind: Literal["primary"] = "primary"
    primary: Combination
    shadows: tuple[Combination, ...]


class Ensemble(Strict):
    """All members' answers combined by ``method``, where at least ``quorum`` are valid."""

    kind: Literal["ensemble"] = "ensemble"
    method: Method
    members: tuple[Combination, ...]
    names: tuple[str, ...]
    """How messages and answers call the members."""
    weights: tuple[float, ...]
    quorum: int = 1
    handler: str | None = None
    deadline: float | None = None


Combination = Annotated[Leaf | Coalesce | FirstAccepted | Chained | Primary | Ensemble, Field(discriminator="kind")]


def parts(combination: Combination) -> tuple[Combination, ...]:
    """The combinations directly inside, in the order in which they are asked."""
    if isinstance(combination, Leaf):
        return ()
    if isinstance(combination, FirstAccepted):
        return combination.stages
    if isinstance(combination, Chained):
        return (combination.earlier, combination.last)
    if isinstance(combination, Primary):
        return (combination.primary, *combination.shadows)
    return combination.members


def leaves(combination: Combination) -> tuple[Leaf, ...]:
    """The leaves, in order."""
    if isinstance(combination, Leaf):
        return (combination,)
    return tuple(leaf for part in parts(combination) for leaf in leaves(part))


def gates(combination: Combination) -> tuple[str, ...]:
    """The gates whose verdicts the answer needs; those inside a shadow decide nothing of it."""
    own = combination.gates if isinstance(combination, FirstAccepted) else ()
    inside = (combination.primary,) if isinstance(combination, Primary) else parts(combination)
    return own + tuple(gate for part in inside for gate in gates(part))
