"""What the pattern tests run: every pattern, the models in it that get lost, and the records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pattern_models import FIRST_LOST, MARK

RECORDS = 12
SHARD = 4
LOST = frozenset(f"r{number}" for number in range(FIRST_LOST, RECORDS))
"""The records of the second of two units, which hold one and two shards."""

Card = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A workflow's ``routes`` (or one route's pattern) and further keys.

    :param victims: the models that get lost, one a run.
    """

    name: str
    use: Any = None
    workflow: Mapping[str, Any] = field(default_factory=dict)
    victims: tuple[str, ...]
    cards: Mapping[str, Card] = field(default_factory=dict)
    bad_record: bool = True

    @property
    def spec(self) -> dict[str, Any]:
        """The workflow, without a name."""
        routes = {} if self.use is None else {"routes": [{"name": "main", "use": self.use}]}
        return {**routes, **self.workflow}


def opinion(mood: str, *, cost: float = 1.0, quality: float = 0.5, **changes: Any) -> Card:
    """A card of a model with ``mood``."""
    return {
        "task": "text-analysis",
        "input": "text",
        "output": {"classes": ["negative", "positive"]},
        "runtime": {"framework": "python", "handler": "pattern_models:Opinion", "args": {"mood": mood}},
        "profile": {"cost_per_1k": cost, "quality": quality},
        "isolation": "inline",
        **changes,
    }


def handled(card: Card, handler: str, **args: Any) -> Card:
    """The card with another handler and further arguments."""
    runtime = card["runtime"]
    return {**card, "runtime": {**runtime, "handler": handler, "args": {**runtime["args"], **args}}}


MODELS: Mapping[str, Card] = {
    "a": opinion("a", cost=3.0, quality=0.9),
    "b": opinion("b", cost=2.0, quality=0.8),
    "c": opinion("c", cost=1.0, quality=0.7),
    "d": opinion("d", quality=0.6),
    "flaky": handled(opinion("flaky"), "pattern_models:Opinion", errs=True),
    "length": handled(
        opinion("length", task="text-measuring", output={"fields": {"words": "integer", "text": "string"}}),
        "pattern_models:Length",
    ),
    "judge": opinion("judge", input="json"),
    "meta": handled(opinion("meta", input="json"), "pattern_models:Meta"),
}

CASES = (
    Case(name="single", use={"single": ["a", "c"], "policy": "quality"}, victims=("a",)),
    Case(name="fallback", use={"fallback": ["flaky", "b"]}, victims=("flaky",)),
    Case(name="cascade", use={"cascade": ["a", "b", "c"], "accept": "prediction.score >= 0.85"}, victims=("a", "c")),
    Case(name="vote", use={"ensemble": ["a", "b", "c"], "quorum": 2, "aggregate": "majority-vote"}, victims=("a",)),
    Case(name="mean", use={"ensemble": ["a", "b"], "aggregate": "mean"}, victims=("b",)),
    Case(name="quorum", use={"ensemble": ["a", "b"], "quorum": 2, "aggregate": "mean"}, victims=("a",)),
    Case(
        name="chain",
        use={"chain": ["length", {"use": "judge", "input": {"text": "prediction.output.text"}}]},
        victims=("length", "judge"),
    ),
    Case(name="split", use={"split": {"arms": [{"use": "a", "weight": 3}, {"use": "b", "weight": 1}]}}, victims=("a",)),
    Case(name="shadow", use={"shadow": {"primary": "a", "shadows": ["b"], "fraction": 0.5}}, victims=("a", "b")),
    Case(name="rules", use={"rules": [{"when": 'record.channel == "mail"', "use": "a"}, {"use": "b"}]}, victims=("a",)),
    Case(name="stack", use={"ensemble": ["a", "b"], "aggregate": {"stack": "meta"}}, victims=("a", "meta")),
    Case(
        name="nested",
        use={
            "cascade": ["a", {"ensemble": ["b", "c"], "aggregate": "weighted-mean"}],
            "accept": "prediction.score >= 0.85",
        },
        victims=("b",),
    ),
    Case(
        name="match-all",
        workflow={
            "match": "all",
            "routes": [
                {"name": "mail", "when": 'record.channel == "mail"', "use": "a"},
                {"name": "rest", "use": {"cascade": ["b", "c"], "accept": "prediction.score >= 0.85"}},
            ],
        },
        victims=("c",),
    ),
    Case(
        name="on-error-fallback",
        workflow={
            "routes": [{"name": "mail", "when": 'record.channel == "mail"', "use": "flaky"}],
            "on_error": "fallback",
            "fallback": "d",
        },
        victims=("flaky", "d"),
    ),
    Case(name="on-error-dead-letter", use="a", workflow={"on_error": "dead_letter"}, victims=("a",)),
    Case(name="on-error-fail", use="a", workflow={"on_error": "fail"}, victims=("a",), bad_record=False),
)


def records(case: Case) -> list[dict[str, Any]]:
    """Two channels, one record that asks for a cheap model, and a bad one at the end."""
    rows: list[dict[str, Any]] = [
        {
            "record_id": f"r{number}",
            "text": f"{MARK if number >= FIRST_LOST else 'near'} {number}",
            "channel": "mail" if number % 3 else "chat",
        }
        for number in range(RECORDS)
    ]
    rows[1]["max_cost"] = rows[6]["max_cost"] = 0.0015
    if case.bad_record:
        rows[-1]["text"] = None
    return rows


WELL, NO_ROUTE = "well", "route-failed"


def variants(case: Case) -> list[str]:
    """``well``, ``route-failed``, and for each victim ``unit-VICTIM`` and ``model-VICTIM``."""
    lost = [f"{what}-{victim}" for victim in case.victims for what in ("unit", "model")]
    return [WELL, NO_ROUTE, *lost]


def cards(case: Case, variant: str) -> dict[str, Card]:
    """The cards of one variant: in ``unit-…`` the victim dies at a marked record, in ``model-…`` it does not load."""
    found = {**MODELS, **case.cards}
    what, _, victim = variant.partition("-")
    if victim in found:
        handler = found[victim]["runtime"]["handler"]
        mortal = what == "unit"
        changed = handled(found[victim], handler, **({"mortal": True} if mortal else {"broken": True}))
        found[victim] = {**changed, "isolation": "process" if mortal else "inline"}
    return found
