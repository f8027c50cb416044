"""Evaluate a decision over a shard: which rows go to which infer nodes, and why.

Pure and vectorised: rows are index arrays, a condition is evaluated once over the shard, candidates once a group of
records that ask the same; one record alone takes the compiled pick.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from airflow_agentic import tables
from airflow_agentic.routing.chance import chance
from airflow_agentic.routing.conditions import Condition, Outcome
from airflow_agentic.routing.decision import All, Candidate, Decision, Pick, Reject, Rules, Sample, Split, To
from airflow_agentic.routing.eligibility import CHECKS, UNHEALTHY, Asked, joined_reasons, parts, reasons, why_dropped
from airflow_agentic.routing.pick import Picker, compile_pick
from airflow_agentic.routing.policy import best_said, only_left, scores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_agentic.registry.info import ModelInfo
    from airflow_agentic.spec.workflow import ColumnType

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shard:
    """Records and what conditions see of them."""

    records: pa.Table
    columns: Mapping[str, ColumnType]

    def __len__(self) -> int:
        return int(self.records.num_rows)

    @cached_property
    def values(self) -> Mapping[str, pa.ChunkedArray]:
        """``record.*`` columns; one that the records do not have is all null."""
        return {name: self._value(name.removeprefix("record."), type_) for name, type_ in self.columns.items()}

    def _value(self, name: str, type_: ColumnType) -> pa.ChunkedArray:
        if name in {"kind", "text", "uri"}:
            import pyarrow.compute as pc

            return pc.struct_field(self.records.column("input"), name)
        if name in self.records.column_names:
            return self.records.column(name)
        arrow = {"string": pa.string(), "double": pa.float64(), "int": pa.int64(), "bool": pa.bool_()}[type_]
        return pa.chunked_array([pa.nulls(len(self), arrow)])


@dataclass
class _Emitted:
    """Selection rows in the making: parallel lists of index arrays and what is said of them."""

    rows: list[Rows] = field(default_factory=list)
    said: list[tuple[str | None, str | None, str | None, str]] = field(default_factory=list)

    def add(self, rows: Rows, target: str | None, outcome: str | None, rule: str | None, reason: str) -> None:
        if len(rows):
            self.rows.append(rows)
            self.said.append((target, outcome, rule, reason))

    def add_taken(self, tried: _Emitted, shard_rows: int) -> list[tuple[Rows, str]]:
        """Add the rows that ``tried`` sends to a model; returns the others, each once, with the reason.

        A condition that cannot be evaluated is no reason to ask somebody else: its rows are added too.
        """
        done = np.zeros(shard_rows, dtype=bool)
        for rows, (target, outcome, _, _) in zip(tried.rows, tried.said, strict=True):
            if target is not None or outcome == "condition_failed":
                done[rows] = True
        refused = []
        for rows, said in zip(tried.rows, tried.said, strict=True):
            self.add(rows[done[rows]], *said)
        for rows, (_, _, _, reason) in zip(tried.rows, tried.said, strict=True):
            left = rows[~done[rows]]
            done[left] = True
            refused.append((left, reason))
        return [(rows, reason) for rows, reason in refused if len(rows)]

    def table(self) -> pa.Table:
        """As ``tables.SELECTION``, ascending by row."""
        if not self.rows:
            return tables.SELECTION.empty_table()
        rows = np.concatenate(self.rows).astype(np.int32)
        chunk = np.repeat(np.arange(len(self.rows), dtype=np.int32), [len(part) for part in self.rows])
        order = _ascending(rows)
        said = [_dictionary(list(values), chunk[order]) for values in zip(*self.said, strict=True)]
        return pa.table([pa.array(rows[order]), *said], schema=tables.SELECTION)


def _ascending(rows: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Their stable order: without sorting, where no row stands twice."""
    place = np.full(int(rows.max()) + 1, -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    order = place[place >= 0]
    return order if len(order) == len(rows) else np.argsort(rows, kind="stable")


def _dictionary(values: list[str | None], chunk: npt.NDArray[np.int32]) -> pa.DictionaryArray:
    names = {name: code for code, name in enumerate(dict.fromkeys(value for value in values if value is not None))}
    codes = np.array([-1 if value is None else names[value] for value in values], dtype=np.int32)[chunk]
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(list(names), pa.string()))


class Decider:
    """Evaluates decisions of one plan.

    :param models: the candidates, with the run's snapshot of health and profiles.
    :param load: requests under way by model, for ``least-loaded`` (online only).
    """

    def __init__(self, models: Mapping[str, ModelInfo], *, load: Mapping[str, int] | None = None) -> None:
        self.models = models
        self.load: Mapping[str, int] = {} if load is None else load
        self._pickers: dict[int, tuple[Pick, Picker | None]] = {}

    def picker(self, pick: Pick) -> Picker | None:
        """``pick`` compiled, once; ``None`` where :func:`compile_pick` leaves it to the walk."""
        if id(pick) not in self._pickers:
            self._pickers[id(pick)] = (pick, compile_pick(pick, self.models, load=self.load))
        return self._pickers[id(pick)][1]

    def select(
        self, decision: Decision, shard: Shard, rows: Rows | None = None, *, rule: str = "", again: bool = False
    ) -> pa.Table:
        """Where ``rows`` (all, where absent) go.

        :param again: somebody has been asked already: the reasons say who is asked now.
        :returns: ``tables.SELECTION``: for every row at least one entry, except for rows a :class:`Sample` leaves out.
        """
        emitted = _Emitted()
        everything = np.arange(len(shard), dtype=np.int64) if rows is None else rows
        walk = _Walk(self, shard, emitted, again=decision if again else None)
        walk.visit(decision, everything, rule or None, "")
        return emitted.table()


class _Walk:
    def __init__(self, decider: Decider, shard: Shard, emitted: _Emitted, *, again: Decision | None) -> None:
        self.decider = decider
        self.shard = shard
        self.emitted = emitted
        self.again = again
        self.outcomes: dict[str, Outcome] = {}

    def visit(self, decision: Decision, rows: Rows, rule: str | None, reason: str) -> None:
        if not len(rows):
            return
        if isinstance(decision, To):
            self.emitted.add(rows, decision.node, None, rule, reason)
        elif isinstance(decision, Reject):
            self.emitted.add(rows, None, decision.outcome, rule, joined_reasons(reason, decision.reason))
        elif isinstance(decision, Rules):
            self._rules(decision, rows, rule, reason)
        elif isinstance(decision, Pick):
            self._pick(decision, rows, rule, reason)
        elif isinstance(decision, Split):
            self._split(decision, rows, rule, reason)
        elif isinstance(decision, Sample):
            hit = chance(self.shard.records.column("record_id"), rows, decision.seed, "sample") < decision.fraction
            self.visit(decision.then, rows[hit], rule, joined_reasons(reason, f"sampled at {decision.fraction:g}"))
        elif isinstance(decision, All):
            for child in decision.children:
                self.visit(child, rows, rule, reason)

    def _rules(self, rules: Rules, rows: Rows, rule: str | None, reason: str) -> None:
        left = np.zeros(len(self.shard), dtype=bool)
        left[rows] = True
        taken = np.zeros(len(self.shard), dtype=bool)
        for case in rules.cases:
            if case.when is None:
                here = left.copy()
            else:
                outcome = self._evaluate(case.when)
                self._failed(outcome, case.when, left, case.name)
                here = left & np.asarray(outcome.true)
            self.visit(case.then, np.flatnonzero(here), case.name, joined_reasons(reason, case.when or "always"))
            taken |= here
            if rules.match == "first":
                left &= ~here
        nobody = np.flatnonzero(left & ~taken)
        if isinstance(rules.default, Reject):
            self.visit(rules.default, nobody, rule, reason)
        else:
            self.visit(rules.default, nobody, rule or "default", joined_reasons(reason, "no rule matches"))

    def _failed(self, outcome: Outcome, when: str, left: npt.NDArray[np.bool_], name: str) -> None:
        """A condition that cannot be evaluated is an outcome of its row; no later rule sees the row."""
        failed = np.asarray(outcome.failed) & left
        if not failed.any():
            return
        rows = np.flatnonzero(failed)
        messages = outcome.messages.take(pa.array(rows)).to_pylist()
        for message in dict.fromkeys(messages):
            group = rows[[text == message for text in messages]]
            self.emitted.add(group, None, "condition_failed", name, f"{when}: {message}")
        left &= ~failed

    def _evaluate(self, expression: str) -> Outcome:
        if expression not in self.outcomes:
            condition = Condition.compile(expression, self.shard.columns)
            self.outcomes[expression] = condition.evaluate(self.shard.values, len(self.shard))
        return self.outcomes[expression]

    def _split(self, split: Split, rows: Rows, rule: str | None, reason: str) -> None:
        drawn = chance(self.shard.values[split.key], rows, split.seed, "split")
        total = sum(arm.weight for arm in split.arms)
        bounds = np.cumsum([arm.weight for arm in split.arms])
        arm_of = np.searchsorted(bounds / bounds[-1], drawn, side="right")
        for index, arm in enumerate(split.arms):
            self.visit(
                arm.then,
                rows[arm_of == index],
                rule,
                joined_reasons(reason, f"split {arm.weight / total:.0%} to {arm.name}"),
            )

    def _pick(self, pick: Pick, rows: Rows, rule: str | None, reason: str) -> None:
        picker = self.decider.picker(pick) if len(rows) == 1 else None
        if picker is not None:
            self._pick_one(picker, pick, rows, rule, reason)
            return
        infos = [self.decider.models[candidate.model] for candidate in pick.candidates if candidate.model is not None]
        kind_of, kinds = reasons(self.shard.records, rows, infos, pick.require, by_task=pick.by_task)
        for part, kind in parts(kind_of, len(kinds)):
            able, dropped = sorted_out(pick.candidates, kinds[kind])
            said = joined_reasons(reason, why_dropped(dropped, self.decider.models))
            if able:
                self._enter(pick, able, rows[part], rule, said)
            else:
                unhealthy = bool(dropped) and set(dropped.values()) == {UNHEALTHY}
                self.emitted.add(rows[part], None, "all_unhealthy" if unhealthy else "no_candidate", rule, said)

    def _pick_one(self, picker: Picker, pick: Pick, rows: Rows, rule: str | None, reason: str) -> None:
        """The same for one record."""
        (row,) = rows.tolist()
        record = self.shard.records
        asked = Asked(**{name: record.column(name)[row].as_py() for name in CHECKS})
        record_id, position = (record.column(name)[row].as_py() for name in ("record_id", "position"))
        picked = picker(asked, record_id=record_id, position=position)
        said = joined_reasons(reason, picked.reason)
        if picked.candidate is None:
            self.emitted.add(rows, None, picked.outcome, rule, said)
            return
        once_more = f"asked {picked.candidate.name}" if pick is self.again else ""
        self.visit(picked.candidate.then, rows, rule, joined_reasons(said, once_more))

    def _enter(self, pick: Pick, able: list[Candidate], rows: Rows, rule: str | None, reason: str) -> None:
        """Send ``rows`` to the candidates; those for which a nested pattern has no model go to the other candidates."""
        for chosen, part, why in self._choose(pick, able, rows):
            others = [candidate for candidate in able if candidate is not chosen]
            said = joined_reasons(reason, joined_reasons(why, f"asked {chosen.name}" if pick is self.again else ""))
            if chosen.model is not None or not others:
                self.visit(chosen.then, part, rule, said)
                continue
            outer, self.emitted = self.emitted, _Emitted()
            self.visit(chosen.then, part, rule, said)
            tried, self.emitted = self.emitted, outer
            for refused, why_not_it in self.emitted.add_taken(tried, len(self.shard)):
                self._enter(pick, others, refused, rule, why_not_it)

    def _choose(self, pick: Pick, able: list[Candidate], rows: Rows) -> list[tuple[Candidate, Rows, str]]:
        """Which of ``able`` gets which of ``rows``, and why."""
        if len(able) == 1:
            return [(able[0], rows, only_left(pick, able[0].name))]
        if pick.policy == "declared":
            return [(able[0], rows, "")]
        if pick.policy == "round-robin":
            position = self.shard.records.column("position").take(pa.array(rows)).to_numpy() % len(able)
            return [(one, rows[position == index], f"round-robin: {one.name}") for index, one in enumerate(able)]
        if pick.policy == "weighted":
            bounds = np.cumsum([pick.weights.get(one.name, 0.0) for one in able])
            if not bounds[-1]:
                return [(able[0], rows, "no candidate left has a weight")]
            drawn = chance(self.shard.records.column("record_id"), rows, pick.seed, "weighted")
            arm = np.searchsorted(bounds / bounds[-1], drawn, side="right")
            return [(one, rows[arm == index], f"weighted: {one.name}") for index, one in enumerate(able)]
        if pick.policy == "least-loaded":
            best = min(range(len(able)), key=lambda index: (self.decider.load.get(able[index].model or "", 0), index))
            return [(able[best], rows, f"{able[best].name} is least loaded")]
        return [self._best(pick, able, rows)]

    def _best(self, pick: Pick, able: list[Candidate], rows: Rows) -> tuple[Candidate, Rows, str]:
        ranked = scores([self.decider.models[str(one.model)] for one in able], pick.policy, pick.weights)
        best = max(range(len(able)), key=lambda index: (ranked[index], -index))
        return able[best], rows, best_said(pick.policy, able[best].name, ranked[best], len(able))


def sorted_out(candidates: Sequence[Candidate], why: Sequence[str | None]) -> tuple[list[Candidate], dict[str, str]]:
    """Who is able, and why the others are not; a nested pattern finds that out itself."""
    able, dropped = [], {}
    said = iter(why)
    for candidate in candidates:
        reason = None if candidate.model is None else next(said)
        if reason is None:
            able.append(candidate)
        else:
            dropped[candidate.name] = reason
    return able, dropped
