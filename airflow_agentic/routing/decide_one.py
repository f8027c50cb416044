"""Evaluate a decision for one record: the same entries as :mod:`decide` gives its row, in microseconds.

A record is a row of ``tables.RECORD`` with its feature columns, in plain values. No Arrow, but for the words of a
condition that cannot be evaluated.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import numpy as np

from airflow_agentic.routing.chance import chance_of
from airflow_agentic.routing.conditions import Condition
from airflow_agentic.routing.decide import sorted_out
from airflow_agentic.routing.decision import All, Pick, Reject, Rules, Sample, Split, To
from airflow_agentic.routing.eligibility import CHECKS, Asked, joined_reasons, why_dropped, why_not
from airflow_agentic.routing.policy import only_left
from airflow_agentic.tables import Selected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_agentic.routing.conditions import Verdict
    from airflow_agentic.routing.decide import Decider
    from airflow_agentic.routing.decision import Candidate, Decision
    from airflow_agentic.spec.workflow import ColumnType

_OF_INPUT = frozenset({"kind", "text", "uri"})


def record_values(record: Mapping[str, Any], columns: Mapping[str, ColumnType]) -> dict[str, Any]:
    """What conditions see of a record: ``record.*``; what it does not have is null."""
    given = record["input"] or {}
    values = {}
    for column in columns:
        name = column.removeprefix("record.")
        values[column] = (given if name in _OF_INPUT else record).get(name)
    return values


class OneDecider:
    """Evaluates decisions of one plan, a record at a time.

    :param decider: of the same plan: it has the models, their load, and the compiled picks.
    :param columns: what conditions may use.
    """

    def __init__(self, decider: Decider, columns: Mapping[str, ColumnType]) -> None:
        self.decider = decider
        self.columns = columns
        self._conditions: dict[str, Condition] = {}

    def select(
        self,
        decision: Decision,
        record: Mapping[str, Any],
        values: Mapping[str, Any],
        *,
        rule: str = "",
        again: bool = False,
    ) -> list[Selected]:
        """Where ``record`` goes, as :meth:`Decider.select <airflow_agentic.routing.decide.Decider.select>` says it.

        :param values: of :func:`record_values`.
        """
        walk = _Walk(self, record, values, again=decision if again else None)
        walk.visit(decision, rule or None, "")
        return walk.emitted

    def verdict(self, expression: str, values: Mapping[str, Any]) -> Verdict:
        """What the condition says of a record."""
        condition = self._conditions.get(expression)
        if condition is None:
            condition = self._conditions[expression] = Condition.compile(expression, self.columns)
        return condition.evaluate_as_shard(values)


class _Walk:
    def __init__(
        self, owner: OneDecider, record: Mapping[str, Any], values: Mapping[str, Any], *, again: Decision | None
    ) -> None:
        self.owner = owner
        self.record = record
        self.values = values
        self.again = again
        self.emitted: list[Selected] = []

    def visit(self, decision: Decision, rule: str | None, reason: str) -> None:
        if isinstance(decision, To):
            self.emitted.append(Selected(decision.node, None, rule, reason))
        elif isinstance(decision, Pick):
            self._pick(decision, rule, reason)
        elif isinstance(decision, Rules):
            self._rules(decision, rule, reason)
        elif isinstance(decision, Reject):
            self.emitted.append(Selected(None, decision.outcome, rule, joined_reasons(reason, decision.reason)))
        elif isinstance(decision, Split):
            self._split(decision, rule, reason)
        elif isinstance(decision, Sample):
            if chance_of(self.record["record_id"], decision.seed, "sample") < decision.fraction:
                self.visit(decision.then, rule, joined_reasons(reason, f"sampled at {decision.fraction:g}"))
        elif isinstance(decision, All):
            for child in decision.children:
                self.visit(child, rule, reason)

    def _rules(self, rules: Rules, rule: str | None, reason: str) -> None:
        taken = False
        for case in rules.cases:
            if case.when is not None:
                verdict = self.owner.verdict(case.when, self.values)
                if verdict.value is None:  # an outcome of its own; no later rule sees the record
                    said = f"{case.when}: {verdict.reason}"
                    self.emitted.append(Selected(None, "condition_failed", case.name, said))
                    return
                if not verdict.value:
                    continue
            self.visit(case.then, case.name, joined_reasons(reason, case.when or "always"))
            taken = True
            if rules.match == "first":
                return
        if taken:
            return
        if isinstance(rules.default, Reject):
            self.visit(rules.default, rule, reason)
        else:
            self.visit(rules.default, rule or "default", joined_reasons(reason, "no rule matches"))

    def _split(self, split: Split, rule: str | None, reason: str) -> None:
        weights = [arm.weight for arm in split.arms]
        arm = split.arms[_drawn(weights, chance_of(self.values[split.key], split.seed, "split"))]
        said = f"split {arm.weight / sum(weights):.0%} to {arm.name}"
        self.visit(arm.then, rule, joined_reasons(reason, said))

    def _pick(self, pick: Pick, rule: str | None, reason: str) -> None:
        asked = Asked(**{name: self.record[name] for name in CHECKS})
        picker = self.owner.decider.picker(pick)
        if picker is None:
            self._pick_nested(pick, asked, rule, reason)
            return
        picked = picker(asked, record_id=self.record["record_id"], position=self.record["position"])
        said = joined_reasons(reason, picked.reason)
        if picked.candidate is None:
            self.emitted.append(Selected(None, picked.outcome, rule, said))
        else:
            once_more = f"asked {picked.candidate.name}" if pick is self.again else ""
            self.visit(picked.candidate.then, rule, joined_reasons(said, once_more))

    def _pick_nested(self, pick: Pick, asked: Asked, rule: str | None, reason: str) -> None:
        """Where a candidate is a pattern of its own: that one is able until it is tried."""
        models = self.owner.decider.models
        if not pick.by_task:
            asked = Asked(**{**vars(asked), "task": None})
        why = [
            why_not(models[candidate.model], asked, pick.require)
            for candidate in pick.candidates
            if candidate.model is not None
        ]
        able, dropped = sorted_out(pick.candidates, why)
        self._enter(pick, able, rule, joined_reasons(reason, why_dropped(dropped, models)))

    def _enter(self, pick: Pick, able: Sequence[Candidate], rule: str | None, reason: str) -> None:
        """Send the record to a candidate; where a nested pattern has no model for it, to the other candidates."""
        chosen, why = self._choose(pick, able)
        others = [candidate for candidate in able if candidate is not chosen]
        said = joined_reasons(reason, joined_reasons(why, f"asked {chosen.name}" if pick is self.again else ""))
        if chosen.model is not None or not others:
            self.visit(chosen.then, rule, said)
            return
        outer, self.emitted = self.emitted, []
        self.visit(chosen.then, rule, said)
        tried, self.emitted = self.emitted, outer
        if any(one.target is not None or one.outcome == "condition_failed" for one in tried):
            self.emitted += tried
        elif tried:
            self._enter(pick, others, rule, tried[0].reason or "")

    def _choose(self, pick: Pick, able: Sequence[Candidate]) -> tuple[Candidate, str]:
        """Which of ``able`` gets the record, and why. No policy ranks patterns."""
        if len(able) == 1:
            return able[0], only_left(pick, able[0].name)
        if pick.policy == "round-robin":
            chosen = able[self.record["position"] % len(able)]
            return chosen, f"round-robin: {chosen.name}"
        if pick.policy == "weighted":
            weights = [pick.weights.get(one.name, 0.0) for one in able]
            if not sum(weights):
                return able[0], "no candidate left has a weight"
            chosen = able[_drawn(weights, chance_of(self.record["record_id"], pick.seed, "weighted"))]
            return chosen, f"weighted: {chosen.name}"
        if pick.policy == "least-loaded":
            load = self.owner.decider.load
            chosen = min(able, key=lambda one: load.get(one.model or "", 0))
            return chosen, f"{chosen.name} is least loaded"
        return able[0], ""


def _drawn(weights: Sequence[float], chance: float) -> int:
    """The place in ``weights`` that a number in [0, 1) falls on; summed as an array is, to the last bit."""
    bounds = np.cumsum(weights)
    return bisect_right((bounds / bounds[-1]).tolist(), chance)
