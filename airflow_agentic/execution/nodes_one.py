"""The node functions for one record: what :mod:`nodes` does with a shard, in plain values and microseconds.

For each node and record both say the same: the same entries, the same input of a model, the same answer. Who runs a
plan for few records calls these; a property test holds them to the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic.execution.nodes import fed_value, member_scores, no_input, said_of_rejected
from airflow_agentic.pipeline.answers_one import OneAnswerer
from airflow_agentic.pipeline.combination import Combination, Ensemble, parts
from airflow_agentic.pipeline.combine_one import BLANK, OneCombiner
from airflow_agentic.pipeline.plain import PlainRecords, PlainTables
from airflow_agentic.pipeline.steps import parse_step
from airflow_agentic.plan.columns import ARROW_TYPES, gate_columns
from airflow_agentic.plan.ir import Aggregate, Gate, Infer, Plan, Preprocess, Publish, Route
from airflow_agentic.routing.decide_one import OneDecider, record_values
from airflow_agentic.tables import INPUT, RECORD, Selected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_agentic.pipeline.combine_one import OnePrediction
    from airflow_agentic.plan.ir import AnyNode, Feed
    from airflow_agentic.routing.decide import Decider

_BAD = Selected(None, "bad_record", None, "bad record")
_ROW = pa.field("row", pa.int32())
_NO_INPUT = dict.fromkeys(column.name for column in INPUT)
_NO_COLUMNS = pa.schema([])
_FEATURES = frozenset(ARROW_TYPES.values())


class OnePlan:
    """A plan with all that is the same for every record.

    :param decider: of the plan.
    """

    def __init__(self, plan: Plan, decider: Decider, *, allowed_handlers: Sequence[str] = ()) -> None:
        self.plan = plan
        self.allowed_handlers = allowed_handlers
        (preprocess,) = plan.of(Preprocess)
        self.steps = [
            parse_step(name, options, allowed_handlers=allowed_handlers) for name, options in preprocess.steps
        ]
        self.nodes = [
            (node, tuple(need for need in node.needs if need != preprocess.id))
            for node in plan.nodes
            if not isinstance(node, Preprocess | Publish)
        ]
        """The nodes to run, in order, with what must have run before."""
        self.controls = tuple(node.id for node in plan.nodes if isinstance(node, Route | Gate))
        self.decider = OneDecider(decider, plan.columns)
        self.gates = OneDecider(decider, gate_columns(plan.columns))
        tasks = {name: info.task for name, info in plan.models.items()}
        combine = plan.of(Aggregate)[0].combine
        self.answerer = OneAnswerer(combine, tasks)
        self.calls_handler = _calls_handler(combine)
        """Whether a function of the user's combines predictions: it takes those of all records at once."""
        self._types = {
            column.removeprefix("record."): ARROW_TYPES[type_]
            for column, type_ in plan.columns.items()
            if column not in {"record.kind", "record.text", "record.uri"}
        }
        # what was found of a schema: requests mostly bring the one of the request before
        self._taken = RECORD
        self._prepared = _NO_COLUMNS, _NO_COLUMNS
        self._tables = _NO_COLUMNS, PlainTables(_NO_COLUMNS)

    def takes(self, schema: pa.Schema) -> bool:
        """Whether records of this schema are the same in plain values: each column is of its declared, plain type."""
        if not schema.equals(self._taken):
            if not self._takes(schema):
                return False
            self._taken = schema
        return True

    def _takes(self, schema: pa.Schema) -> bool:
        if len(schema) < len(RECORD) or not all(schema.field(place).equals(own) for place, own in enumerate(RECORD)):
            return False
        features = [schema.field(place) for place in range(len(RECORD), len(schema))]
        return all(self._types.get(one.name, one.type) == one.type and one.type in _FEATURES for one in features)

    def preprocess(self, records: PlainRecords) -> PlainRecords:
        """Records with the steps applied; where a step cannot take plain values, all are applied to their table."""
        rows = list(records.rows)
        for step in self.steps:
            for place, row in enumerate(rows):
                made = step.apply_one(row)
                if made is None:
                    return self._preprocess_table(records)
                rows[place] = made
        return PlainRecords(rows, self._after(records.schema))

    def _after(self, schema: pa.Schema) -> pa.Schema:
        """The schema after the steps."""
        before, after = self._prepared
        if not schema.equals(before):
            after = schema
            for step in self.steps:
                for name, type_ in step.columns().items():
                    after = _with_field(after, pa.field(name, type_))
            self._prepared = schema, after
        return after

    def tables(self, schema: pa.Schema) -> PlainTables:
        """Makes the tables that models are given: preprocessed records of ``schema``, with their ``row``."""
        before, made = self._tables
        if not schema.equals(before):
            made = PlainTables(schema.append(_ROW))
            self._tables = schema, made
        return made

    def _preprocess_table(self, records: PlainRecords) -> PlainRecords:
        table = records.table
        for step in self.steps:
            table = step.apply(table)
        return PlainRecords.of(table)


def _calls_handler(combination: Combination) -> bool:
    here = isinstance(combination, Ensemble) and combination.method == "handler"
    return here or any(_calls_handler(part) for part in parts(combination))


def _with_field(schema: pa.Schema, added: pa.Field) -> pa.Schema:
    place = schema.get_field_index(added.name)
    return schema.append(added) if place < 0 else schema.set(place, added)


@dataclass
class OneState:
    """What is known of a record, as :class:`~airflow_agentic.execution.nodes.ShardState` is of a shard."""

    plan: OnePlan
    record: Mapping[str, Any]
    values: Mapping[str, Any] = field(init=False)
    """What conditions see of it."""
    selections: dict[str, Sequence[Selected]] = field(init=False)
    """By control, in the plan's order; empty also where it has not run."""
    predictions: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """By infer node, of those it was given to: a row of ``tables.PREDICTION``."""

    def __post_init__(self) -> None:
        self.values = record_values(self.record, self.plan.plan.columns)
        self.selections = dict.fromkeys(self.plan.controls, ())

    def assigned(self, node: Infer) -> bool:
        """Whether ``node`` is given the record."""
        return any(one.target == node.id for control in node.controls for one in self.selections[control])

    def combiner(self) -> OneCombiner:
        """Evaluates combinations of the predictions there are."""
        return OneCombiner(
            self.record["record_id"], self.predictions, self.selections, allowed_handlers=self.plan.allowed_handlers
        )


def control_one(node: AnyNode, state: OneState) -> Sequence[Selected]:
    """What Route or a gate says of the record."""
    if isinstance(node, Route):
        return route_one(node, state)
    return gate_one(node, state) if isinstance(node, Gate) else ()


def route_one(node: Route, state: OneState) -> Sequence[Selected]:
    """:func:`~airflow_agentic.execution.nodes.route` for one record."""
    if state.record["error"] is not None:
        return (_BAD,)
    return state.plan.decider.select(node.decide, state.record, state.values)


def gate_one(node: Gate, state: OneState) -> Sequence[Selected]:
    """:func:`~airflow_agentic.execution.nodes.gate` for one record."""
    made = state.combiner().of(node.source)
    if not (made.present or (node.unrouted and _unrouted(state))):
        return ()
    good, said = _accepts(node, state, made)
    if good:
        if node.accepted is None:
            return (Selected(None, "accepted", node.rule, None),)
        return state.plan.decider.select(node.accepted, state.record, state.values, rule=node.rule)
    why = _why(node, made, said)
    if node.rejected is None:
        return (Selected(None, "rejected", node.rule, why),)
    sent = state.plan.decider.select(node.rejected, state.record, state.values, rule=node.rule, again=True)
    return [one._replace(reason=f"{why}; {one.reason}" if one.reason else why) for one in sent]


def _unrouted(state: OneState) -> bool:
    """Whether Route sent the record nowhere although it is good."""
    first = state.selections[state.plan.controls[0]]
    return state.record["error"] is None and any(one.outcome is not None for one in first)


def _accepts(node: Gate, state: OneState, made: OnePrediction) -> tuple[bool, str | None]:
    """Whether the prediction satisfies the condition, or why that cannot be evaluated."""
    if made.values is None or not made.valid or node.accept is None:
        return made.valid, None
    prediction = {f"prediction.{name}": made.values[name] for name in ("label", "score", "value", "model")}
    verdict = state.plan.gates.verdict(node.accept, {**state.values, **prediction})
    return verdict.value is True, verdict.reason


def _why(node: Gate, made: OnePrediction, message: str | None) -> str:
    values = made.values or BLANK
    error, score = values["error"], values["score"]
    rounded = None if score is None else pc.round(pa.scalar(score), 2).as_py()
    return said_of_rejected(values["model"], None if error is None else error["code"], message, rounded, node.accept)


def given_one(node: Infer, state: OneState) -> tuple[Mapping[str, Any], str | None]:
    """The record as ``node`` is given it, and why it came there."""
    reason = None
    for control in node.controls:
        for one in state.selections[control]:
            if one.target == node.id and one.reason is not None:
                reason = one.reason
    return state.record if node.feed is None else _fed(node.feed, state), reason


def _fed(feed: Feed, state: OneState) -> Mapping[str, Any]:
    """The record with the earlier answers as its input; without them it carries an error."""
    record, combiner = state.record, state.combiner()
    if feed.fields == "members" and isinstance(feed.source, Ensemble):
        members = [combiner.of(member).values or BLANK for member in feed.source.members]
        value = member_scores(feed.source.names, members)
    else:
        value = fed_value(feed.fields, combiner.of(feed.source).values or BLANK, record["input"])
    if value is None:
        return {**record, "input": None, "error": record["error"] or no_input(feed)}
    return {**record, "input": {**_NO_INPUT, **value}}


def unfed_one(node: Infer, state: OneState, record: Mapping[str, Any]) -> dict[str, Any]:
    """The prediction for a record that ``node`` cannot be given: an error."""
    return {
        **BLANK,
        "record_id": record["record_id"],
        "model": node.model,
        "model_version": state.plan.plan.models[node.model].version,
        "error": record["error"],
    }


def aggregate_one(state: OneState) -> dict[str, Any]:
    """:func:`~airflow_agentic.execution.nodes.aggregate` for one record: a row of ``tables.ANSWER``."""
    return state.plan.answerer.answer(state.combiner(), state.record)
