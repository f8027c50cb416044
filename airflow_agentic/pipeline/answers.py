"""Predictions of a shard → exactly one answer a record, with its cost, route and the predictions it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic import tables
from airflow_agentic.pipeline.combination import Combination, Leaf, leaves
from airflow_agentic.pipeline.combine import Combiner
from airflow_agentic.pipeline.outcomes import refusals
from airflow_agentic.pipeline.texts import coded, joined, spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_agentic.pipeline.pool import Bools, Ints, ShardPredictions, Slot

KEPT_SCORES = 5
"""How many classes an answer lists."""


def answer(
    combination: Combination,
    shard: ShardPredictions,
    tasks: Mapping[str, str],
    *,
    allowed_handlers: Sequence[str] = (),
) -> pa.Table:
    """The answers of a shard.

    :param tasks: the task of each model, for records that state none.
    :returns: ``tables.ANSWER``, one row per record, in order.
    """
    combiner = Combiner(shard, allowed_handlers=allowed_handlers)
    slot = combiner.slot(combination)
    rows = len(shard)
    chosen = combiner.pool.take(slot.index)
    asked = list(dict.fromkeys(leaves(combination)))
    cost, latency, calls = _totals(combiner, asked, rows)
    columns = {
        "record_id": shard.records.column("record_id"),
        "task": _tasks(shard.records, combiner, asked, slot, tasks),
        "model": chosen.column("model"),
        "score_kind": chosen.column("score_kind"),
        **{name: chosen.column(name) for name in ("label", "score", "value", "output")},
        "scores": _first(chosen.column("scores").combine_chunks()),
        "error": _errors(chosen, slot, shard),
        "degraded": pa.array(slot.degraded),
        "cost": pa.array(cost),
        "calls": pa.array(calls.astype(np.int32)),
        "latency_ms": pa.array(latency, mask=calls == 0),
        "route": _route(shard.selections, chosen, rows),
        "predictions": _members(combiner, asked, slot, rows),
    }
    return pa.table([columns[name] for name in tables.ANSWER.names], schema=tables.ANSWER)


def _totals(combiner: Combiner, asked: list[Leaf], rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    cost, latency, calls = np.zeros(rows), np.zeros(rows), np.zeros(rows, np.int64)
    for leaf in asked:
        index = combiner.slot(leaf).index
        cost += np.nan_to_num(combiner.pool.numbers("cost", index))
        latency += np.nan_to_num(combiner.pool.numbers("latency_ms", index))
        calls += index >= 0
    return cost, latency, calls


def _tasks(records: pa.Table, combiner: Combiner, asked: list[Leaf], slot: Slot, tasks: Mapping[str, str]) -> pa.Array:
    """The record's task, else that of the first model its answer rests on, else that of the first model asked."""
    names = list(dict.fromkeys(tasks[leaf.model] for leaf in asked))
    code = np.full(len(records), -1, dtype=np.int64)
    nobody = np.zeros(len(records), bool)
    for leaf in reversed(asked):
        code[combiner.slot(leaf).present] = names.index(tasks[leaf.model])
    for leaf in reversed(asked):
        code[slot.used.get(leaf.node, nobody)] = names.index(tasks[leaf.model])
    by_model = pa.array(names, pa.string()).take(pa.array(code, mask=code < 0))
    return pc.coalesce(records.column("task"), by_model)


def _errors(chosen: pa.Table, slot: Slot, shard: ShardPredictions) -> pa.Array:
    """The record's own error; else the chosen prediction's; for a row that reached no model, why it did not."""
    errors = chosen.column("error").combine_chunks()
    rows = len(shard)
    own = shard.records.column("error").combine_chunks()
    if slot.present.all() and own.null_count == rows:
        return errors
    refused = refusals(shard.selections, rows, otherwise="no_route")
    source = np.where(np.asarray(own.is_valid()), 1, np.where(slot.present, 0, 2))
    return pa.concat_arrays([errors, own, refused]).take(pa.array(source * rows + np.arange(rows)))


def _route(selections: Sequence[pa.Table], chosen: pa.Table, rows: int) -> pa.Array:
    """Each row's rule (the first that decided it) and reasons: one a control, and the verdict of an ensemble."""
    rule, reason = pa.nulls(rows, pa.string()), coded(np.full(rows, -1), [])
    for selection in selections:
        row = selection.column("row").to_numpy()
        first = np.flatnonzero(np.append(True, row[1:] != row[:-1])[: len(row)])
        taken = selection.select(["rule", "reason"]).take(pa.array(first))
        rule = pc.coalesce(rule, spread(taken.column("rule"), row[first], rows).cast(pa.string()))
        reason = joined(reason, spread(taken.column("reason"), row[first], rows))
    combined = np.flatnonzero(chosen.column("model_version").is_null())  # a model's own reason is in the selection
    reason = joined(reason, spread(chosen.column("reason").take(pa.array(combined)), combined, rows))
    texts = pc.fill_null(reason.cast(pa.string()), "")
    return pa.StructArray.from_arrays([rule, texts], fields=list(tables.ROUTE))


def _first(scores: pa.Array) -> pa.Array:
    """The first ``KEPT_SCORES`` of each list."""
    return pc.list_slice(scores, 0, KEPT_SCORES).cast(tables.SCORES)


def _members(combiner: Combiner, asked: list[Leaf], slot: Slot, rows: int) -> pa.Array:
    """Every prediction made for each row, by the order of the plan."""
    row_parts: list[Ints] = []
    index_parts: list[Ints] = []
    node_parts: list[np.ndarray] = []
    used_parts: list[Bools] = []
    for number, leaf in enumerate(asked):
        index = combiner.slot(leaf).index
        here = np.flatnonzero(index >= 0)
        row_parts.append(here)
        index_parts.append(index[here])
        node_parts.append(np.full(len(here), number))
        used_parts.append(slot.used.get(leaf.node, np.zeros(rows, bool))[here])
    row = np.concatenate(row_parts)
    order = np.argsort(row, kind="stable")
    index = np.concatenate(index_parts)[order]
    node = np.concatenate(node_parts)[order]
    used = np.concatenate(used_parts)[order]
    taken = combiner.pool.take(index, ["model", "model_version", "label", "score", "value", "error"])
    error = taken.column("error").combine_chunks()
    values = [
        pa.array([leaf.node for leaf in asked], pa.string()).take(pa.array(node)),
        *(taken.column(name).combine_chunks() for name in ("model", "model_version", "label", "score", "value")),
        pc.struct_field(error, "code"),
        pa.array(used),
    ]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.StructArray.from_arrays(values, fields=list(tables.MEMBER)))
