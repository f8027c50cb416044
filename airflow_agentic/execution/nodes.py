"""The node functions: what each node of a plan does with one shard. Both executors call these, and nothing else.

Pure but for :func:`infer`, whose effect is the call of the model. They know nothing of files, Airflow or processes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic import tables
from airflow_agentic.pipeline.answers import answer
from airflow_agentic.pipeline.combination import Combination, Ensemble, gates, leaves
from airflow_agentic.pipeline.combine import Combiner
from airflow_agentic.pipeline.pool import Bools, Ints, Pool, ShardPredictions
from airflow_agentic.pipeline.steps import parse_step
from airflow_agentic.pipeline.texts import coded, joined, spread
from airflow_agentic.plan.columns import gate_columns
from airflow_agentic.plan.ir import Aggregate, Feed, Gate, Infer, Plan, Preprocess, Route
from airflow_agentic.routing.conditions import Condition
from airflow_agentic.routing.decide import Decider, Shard
from airflow_agentic.routing.distinct import distinct

Predict = Callable[[pa.Table], pa.Table]
"""Records (``tables.RECORD`` with ``row``) → ``tables.PREDICTION``, one row per record, in order."""


@dataclass(frozen=True)
class ShardState:
    """What is known of a shard: its records, and the committed tables of the nodes that have run.

    An infer node that was given rows and has no table is *lost*: its rows are ``model_unavailable``.
    """

    plan: Plan
    records: pa.Table
    selections: Mapping[str, pa.Table] = field(default_factory=dict)
    predictions: Mapping[str, pa.Table] = field(default_factory=dict)

    def with_table(self, node_id: str, table: pa.Table) -> ShardState:
        """The state after ``node_id`` wrote ``table``."""
        if isinstance(self.plan.node(node_id), Infer):
            return replace(self, predictions={**self.predictions, node_id: table})
        return replace(self, selections={**self.selections, node_id: table})

    def assigned(self, node: Infer) -> Ints:
        """The rows that ``node`` is given, ascending, each once."""
        given = np.zeros(self.records.num_rows, bool)
        for control in node.controls:
            if control in self.selections:
                given[_rows_of(self.selections[control], node.id)] = True
        return np.flatnonzero(given)

    def accepted(self, gate: str) -> Bools:
        """The verdict of ``gate`` on every row."""
        verdict = np.zeros(self.records.num_rows, bool)
        if gate in self.selections:
            selection = self.selections[gate]
            hit = pc.fill_null(pc.equal(selection.column("outcome").cast(pa.string()), "accepted"), False)
            verdict[selection.column("row").to_numpy()[np.asarray(hit)]] = True
        return verdict

    def shard_predictions(self, combination: Combination) -> ShardPredictions:
        """What evaluating ``combination`` needs."""
        nodes = {leaf.node for leaf in leaves(combination)}
        return ShardPredictions(
            records=self.records,
            predictions={name: table for name, table in self.predictions.items() if name in nodes},
            assigned={name: self.assigned(_infer_node(self.plan, name)) for name in nodes},
            accepted={gate: self.accepted(gate) for gate in gates(combination)},
            selections=[self.selections[node.id] for node in self.plan.nodes if node.id in self.selections],
        )

    @cached_property
    def shard(self) -> Shard:
        """The records as routing sees them."""
        return Shard(self.records, self.plan.columns)


def _infer_node(plan: Plan, name: str) -> Infer:
    node = plan.node(name)
    if not isinstance(node, Infer):
        raise TypeError(f"{name!r} is a {node.kind} node, not infer")
    return node


def _rows_of(selection: pa.Table, target: str) -> npt.NDArray[np.int64]:
    hit = pc.fill_null(pc.equal(selection.column("target").cast(pa.string()), target), False)
    rows: npt.NDArray[np.int64] = selection.column("row").to_numpy()[np.asarray(hit)].astype(np.int64)
    return rows


def preprocess(node: Preprocess, records: pa.Table, *, allowed_handlers: Sequence[str] = ()) -> pa.Table:
    """Records with the steps of ``node`` applied; a record that fails a step carries its ``error``."""
    for name, options in node.steps:
        records = parse_step(name, options, allowed_handlers=allowed_handlers).apply(records)
    return records


def route(node: Route, state: ShardState, decider: Decider) -> pa.Table:
    """Where each record goes first (``tables.SELECTION``); bad records go nowhere, as ``bad_record``."""
    bad = np.asarray(state.records.column("error").is_valid())
    selection = decider.select(node.decide, state.shard, np.flatnonzero(~bad))
    if not bad.any():
        return selection
    rows = np.flatnonzero(bad)
    refused = tables.table(
        [{"row": int(row), "outcome": "bad_record", "reason": "bad record"} for row in rows], tables.SELECTION
    )
    both = pa.concat_tables([selection, refused]).unify_dictionaries()
    return both.take(pc.sort_indices(both, [("row", "ascending")])).combine_chunks()


def gate(node: Gate, state: ShardState, decider: Decider, *, allowed_handlers: Sequence[str] = ()) -> pa.Table:
    """Which of the rows that were asked so far are good enough, and where they or the others go next."""
    combiner = Combiner(state.shard_predictions(node.source), allowed_handlers=allowed_handlers)
    slot = combiner.slot(node.source)
    valid = combiner.pool.valid(slot.index)
    good, said = (
        (valid, None) if node.accept is None else _accepts(node.accept, state, combiner.pool, slot.index, valid)
    )
    asked = slot.present | (_unrouted(state) if node.unrouted else False)
    accepted = _accepted(node, state, decider, np.flatnonzero(asked & good))
    rejected = _rejected(node, state, decider, combiner.pool, slot.index, np.flatnonzero(asked & ~good), said)
    selection = pa.concat_tables([accepted, rejected]).unify_dictionaries()
    return selection.take(pc.sort_indices(selection, [("row", "ascending")])).combine_chunks()


def _unrouted(state: ShardState) -> Bools:
    """Rows that Route sent nowhere although they are good."""
    first = state.selections[state.plan.of(Route)[0].id]
    nowhere = np.zeros(state.records.num_rows, bool)
    nowhere[first.filter(first.column("outcome").is_valid()).column("row").to_numpy()] = True
    good: Bools = nowhere & np.asarray(state.records.column("error").is_null())
    return good


def _accepts(accept: str, state: ShardState, pool: Pool, index: Ints, valid: Bools) -> tuple[Bools, pa.Array]:
    """Rows whose prediction satisfies the condition. One that cannot be evaluated is not accepted."""
    chosen = pool.take(index, ["label", "score", "value", "model"])
    columns = {**state.shard.values, **{f"prediction.{name}": chosen.column(name) for name in chosen.column_names}}
    outcome = Condition.compile(accept, gate_columns(state.plan.columns)).evaluate(columns, len(index))
    return valid & np.asarray(outcome.true), outcome.messages


def _accepted(node: Gate, state: ShardState, decider: Decider, rows: Ints) -> pa.Table:
    if node.accepted is not None:
        return decider.select(node.accepted, state.shard, rows, rule=node.rule)
    return _outcome(rows, "accepted", node.rule, "")


def _rejected(
    node: Gate, state: ShardState, decider: Decider, pool: Pool, index: Ints, rows: Ints, said: pa.Array | None
) -> pa.Table:
    if node.rejected is None:
        selection = _outcome(rows, "rejected", node.rule, "")
    else:
        selection = decider.select(node.rejected, state.shard, rows, rule=node.rule, again=True)
    if not len(rows):
        return selection
    why = _why(pool, index, rows, node.accept, said)
    place = np.searchsorted(rows, selection.column("row").to_numpy())
    reason = joined(why.take(pa.array(place)), selection.column("reason"))
    return selection.set_column(selection.schema.get_field_index("reason"), tables.SELECTION.field("reason"), reason)


def _outcome(rows: Ints, outcome: str, rule: str, reason: str) -> pa.Table:
    count = len(rows)

    def same(value: str | None) -> pa.DictionaryArray:
        codes = pa.array(np.zeros(count, np.int32), mask=np.full(count, value is None))
        return pa.DictionaryArray.from_arrays(codes, pa.array([value or ""]))

    columns = [pa.array(rows.astype(np.int32)), same(None), same(outcome), same(rule), same(reason or None)]
    return pa.table(columns, schema=tables.SELECTION)


def _why(pool: Pool, index: Ints, rows: Ints, accept: str | None, messages: pa.Array | None) -> pa.DictionaryArray:
    """Why each row is rejected: ``lite0-tf was unsure (0.39, not prediction.score >= 0.7)``."""
    chosen = pool.take(index[rows], ["model", "score", "error"])
    said = pa.nulls(len(rows), pa.string()) if messages is None else messages.take(pa.array(rows)).cast(pa.string())
    columns = [
        chosen.column("model").combine_chunks(),
        pc.struct_field(chosen.column("error").combine_chunks(), "code"),
        said,
        pc.round(chosen.column("score").combine_chunks(), 2),
    ]
    first, group = distinct(columns, len(rows))
    of_each = zip(*(column.take(first).to_pylist() for column in columns), strict=True)
    texts = [said_of_rejected(model, error, message, score, accept) for model, error, message, score in of_each]
    return coded(group.to_numpy(), texts)


def said_of_rejected(
    model: str | None, error: str | None, message: str | None, score: float | None, accept: str | None
) -> str:
    """Why a row is rejected.

    :param score: rounded to two digits.
    :param message: why ``accept`` cannot be evaluated.
    """
    name = model or "no model"
    if error is not None:
        return f"{name} failed ({error})"
    if model is None:
        return "no model was asked"
    if message is not None:
        return f"{name}: {accept} cannot be evaluated ({message})"
    return f"{name} was unsure ({score:.2f}, not {accept})" if score is not None else f"{name}: not {accept}"


def infer(node: Infer, state: ShardState, predict: Predict, *, allowed_handlers: Sequence[str] = ()) -> pa.Table:
    """The predictions for the rows that ``node`` is given (``tables.PREDICTION``, ascending by row)."""
    records, reasons = given(node, state, allowed_handlers=allowed_handlers)
    bad = np.asarray(records.column("error").is_valid())
    parts = []
    if not bad.all():
        parts.append(predict(records.filter(pa.array(~bad)) if bad.any() else records))
    if bad.any():
        parts.append(_unfed(records.filter(pa.array(bad)), node, state.plan))
    if not parts:
        return tables.PREDICTION.empty_table()
    made = pa.concat_tables(parts).unify_dictionaries()
    if len(parts) > 1:
        made = made.take(pc.sort_indices(made, [("row", "ascending")]))
    column = made.schema.get_field_index("reason")
    return made.set_column(column, tables.PREDICTION.field("reason"), reasons.cast(tables.NAME)).combine_chunks()


def given(node: Infer, state: ShardState, *, allowed_handlers: Sequence[str] = ()) -> tuple[pa.Table, pa.Array]:
    """The records ``node`` is given, with ``row``, and why each came here."""
    rows = state.assigned(node)
    reasons = pa.nulls(state.records.num_rows, pa.string())
    for control in node.controls:
        if control in state.selections:
            selection = state.selections[control]
            hit = pc.fill_null(pc.equal(selection.column("target").cast(pa.string()), node.id), False)
            mine = selection.select(["row", "reason"]).filter(hit)
            given_here = spread(mine.column("reason"), mine.column("row").to_numpy(), len(reasons))
            reasons = pc.coalesce(given_here.cast(pa.string()), reasons)
    records = state.records.take(pa.array(rows))
    if node.feed is not None:
        records = _fed(records, rows, node.feed, state, allowed_handlers)
    return records.append_column("row", pa.array(rows.astype(np.int32))), reasons.take(pa.array(rows))


def _fed(records: pa.Table, rows: Ints, feed: Feed, state: ShardState, allowed_handlers: Sequence[str]) -> pa.Table:
    """The records with the earlier answers as their input; a row without one carries an error."""
    combiner = Combiner(state.shard_predictions(feed.source), allowed_handlers=allowed_handlers)
    if feed.fields == "members" and isinstance(feed.source, Ensemble):
        values = _member_scores(feed.source, combiner, rows)
    else:
        predictions = combiner.pool.take(combiner.slot(feed.source).index[rows]).to_pylist()
        own = records.column("input").to_pylist()
        values = [fed_value(feed.fields, one, input_) for one, input_ in zip(predictions, own, strict=True)]
    failure = no_input(feed)
    inputs = pa.array(values, tables.INPUT)
    errors = [
        error or (failure if value is None else None)
        for error, value in zip(records.column("error").to_pylist(), values, strict=True)
    ]
    records = records.set_column(records.schema.get_field_index("input"), tables.RECORD.field("input"), inputs)
    return records.set_column(
        records.schema.get_field_index("error"), tables.RECORD.field("error"), pa.array(errors, tables.ERROR)
    )


def no_input(feed: Feed) -> dict[str, Any]:
    """The error of a record that an earlier step gave nothing for."""
    return tables.error("no_input", f"the step before gave no {feed.fields}")


def fed_value(fields: str | dict[str, str], prediction: Mapping[str, Any], own: Any) -> dict[str, Any] | None:
    """The input (``tables.INPUT``) made of a prediction and the record's own input; ``None``: it has no such field."""
    if isinstance(fields, dict):
        struct = {name: _look_up(source, prediction, own) for name, source in fields.items()}
        return (
            None if any(value is None for value in struct.values()) else {"kind": "struct", "text": json.dumps(struct)}
        )
    if fields == "record.input":
        return dict(own) if own is not None else None
    value = _look_up(fields, prediction, own)
    if value is None:
        return None
    if isinstance(value, str):
        return {"kind": "text", "text": value}
    return {"kind": "struct" if isinstance(value, dict) else "tensor", "text": json.dumps(value)}


def _look_up(source: str, prediction: Mapping[str, Any], own: Any) -> Any:
    if source == "record.input":
        return own["text"] if own is not None else None
    name, *path = source.removeprefix("prediction.").split(".")
    value = prediction[name]
    if name == "output" and value is not None:
        value = json.loads(value)
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _member_scores(ensemble: Ensemble, combiner: Combiner, rows: Ints) -> list[dict[str, Any] | None]:
    members = [
        combiner.pool.take(combiner.slot(member).index[rows], ["scores", "value"]).to_pylist()
        for member in ensemble.members
    ]
    return [member_scores(ensemble.names, answers) for answers in zip(*members, strict=True)]


def member_scores(names: Sequence[str], predictions: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Class scores of every member as one struct (``tables.INPUT``), ``{"MODEL.LABEL": p}``; ``None``: none has any."""
    struct: dict[str, float] = {}
    for name, prediction in zip(names, predictions, strict=True):
        struct.update({f"{name}.{entry['label']}": entry["p"] for entry in prediction["scores"] or []})
        if prediction["value"] is not None:
            struct[f"{name}.value"] = prediction["value"]
    return {"kind": "struct", "text": json.dumps(struct)} if struct else None


def _unfed(records: pa.Table, node: Infer, plan: Plan) -> pa.Table:
    rows = [
        {
            "row": row,
            "record_id": record,
            "model": node.model,
            "model_version": plan.models[node.model].version,
            "error": error,
        }
        for row, record, error in zip(
            *(records.column(name).to_pylist() for name in ("row", "record_id", "error")), strict=True
        )
    ]
    return tables.table(rows, tables.PREDICTION)


def aggregate(node: Aggregate, state: ShardState, *, allowed_handlers: Sequence[str] = ()) -> pa.Table:
    """One answer a record (``tables.ANSWER``), in order."""
    tasks = {name: info.task for name, info in state.plan.models.items()}
    return answer(node.combine, state.shard_predictions(node.combine), tasks, allowed_handlers=allowed_handlers)
