"""Hypothesis strategies that several property tests use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence

printable = st.characters(exclude_categories=("Cs", "Cc", "Cn", "Co", "Zl", "Zp"), exclude_characters="\ufeff")
"""Characters that YAML takes as they are."""
_leaves = st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    _leaves | st.text(printable, max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(printable, max_size=8), inner, max_size=3),
    max_leaves=8,
)
"""Whatever JSON, and so YAML, can say."""

CONDITIONS = ("record.task == 'x'", "record.language in ['en', 'de']", "size(record.text) > 3", "true")
ACCEPTS = ("prediction.score >= 0.5", "prediction.label == 'positive' && record.max_cost < 2.0")
METHODS = ("mean", "majority-vote", "best-score", "merge", "median")
POLICIES = ("declared", "quality", "cost", "latency", "balanced")


def patterns(
    names: list[str],
    queries: list[dict[str, Any]],
    *,
    depth: int = 3,
    conditions: Sequence[str] = CONDITIONS,
    chance: bool = False,
) -> st.SearchStrategy[Any]:
    """Patterns as YAML would say them, over models of these names; well formed, though they may not fit together.

    :param chance: whether a single may also be chosen by turns or by chance.
    """
    model = st.sampled_from(names)
    deeper: Any = {"conditions": conditions, "chance": chance}
    inner = patterns(names, queries, depth=depth - 1, **deeper) if depth > 1 else model
    several = st.lists(inner, min_size=1, max_size=3) | st.sampled_from(queries)
    policy = st.fixed_dictionaries({}, optional={"policy": st.sampled_from(POLICIES)})
    turns = st.sampled_from(["round-robin", {"weighted": {name: place for place, name in enumerate(names)}}])
    chosen = st.fixed_dictionaries({}, optional={"policy": st.sampled_from(POLICIES) | turns}) if chance else policy
    rule = st.fixed_dictionaries({"when": st.sampled_from(conditions), "use": inner})
    feeds = st.sampled_from(["record.input", *["prediction.label"] * 3, "prediction.value", "prediction.output"])
    step = st.fixed_dictionaries({"use": inner, "input": feeds | st.just({"x": "prediction.label"})})
    arm = st.fixed_dictionaries({"use": inner, "weight": st.integers(1, 9)})
    ways = [
        model,
        st.fixed_dictionaries({"model": model, "require": st.just({"max_cost": 1, "capabilities": {"size": "small"}})}),
        st.builds(lambda members, more: {"single": members, **more}, several, chosen),
        st.builds(lambda members, more: {"fallback": members, **more}, several, policy),
        st.builds(
            lambda members, accept, more: {"cascade": members, "accept": accept, **more},
            several, st.sampled_from(ACCEPTS), policy,
        ),
        st.fixed_dictionaries(
            {"ensemble": several},
            optional={
                "aggregate": st.sampled_from([*METHODS, {"stack": "meta"}]),
                "quorum": st.integers(1, 3),
                "deadline": st.sampled_from(["100ms", 2]),
            },
        ),
        st.builds(lambda first, steps: {"chain": [first, *steps]}, inner, st.lists(step, min_size=1, max_size=2)),
        st.builds(lambda arms: {"split": {"arms": arms}}, st.lists(arm, min_size=2, max_size=3)),
        st.builds(
            lambda primary, shadows: {"shadow": {"primary": primary, "shadows": shadows, "fraction": 0.5}},
            inner, st.lists(inner, min_size=1, max_size=2),
        ),
        st.builds(
            lambda rules, last: {"rules": [*rules, {"use": last}]}, st.lists(rule, min_size=1, max_size=2), inner
        ),
    ]  # fmt: skip
    return st.one_of(ways)
