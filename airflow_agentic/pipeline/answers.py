"""Predictions of a shard → exactly one answer a record, with its cost, route and the predictions it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from airflow_agentic import tables
from airflow_agentic.pipeline.combination import Combination, Leaf, leaves
from airflow_agentic.pipeline.combine import Combiner
from airflow_agentic.pipeline.pool import Bools, Ints, ShardPredictions, Slot

KEPT_SCORES = 5
"""How many classes an answer lists."""

_OUTCOMES = {
    "no_route": "no route takes this record",
    "no_candidate": "no candidate satisfies what the record asks",
    "all_unhealthy": "every candidate is unhealthy",
    "condition_failed": "a condition could not be evaluated",
    "bad_record": "the record cannot be used",
}


def answer(
    combination: Combination,
    shard: ShardPredictions,
    selections: Sequence[pa.Table],
    tasks: Mapping[str, str],
    *,
    allowed_handlers: Sequence[str] = (),
) -> pa.Table:
    """The answers of a shard.

    :param selections: what Route and the gates decided, in the plan's order.
    :param tasks: the task of each model, for records that state none.
    :returns: ``tables.ANSWER``, one row per record, in order.
    """
    combiner = Combiner(shard, allowed_handlers=allowed_handlers)
    slot = combiner.slot(combination)
    rows = len(shard)
    chosen = combiner.pool.take(slot.index)
    rules, reasons = _route(selections, rows)
    asked = list(dict.fromkeys(leaves(combination)))
    cost, latency, calls = _totals(combiner, asked, rows)
    columns = {
        "record_id": shard.records.column("record_id"),
        "task": _tasks(shard.records, combiner, asked, tasks),
        "model": chosen.column("model"),
        "score_kind": chosen.column("score_kind"),
        **{name: chosen.column(name) for name in ("label", "score", "value", "output")},
        "scores": _first(chosen.column("scores").combine_chunks()),
        "error": _errors(chosen, slot, shard.records, selections),
        "degraded": pa.array(slot.degraded),
        "cost": pa.array(cost),
        "calls": pa.array(calls.astype(np.int32)),
        "latency_ms": pa.array(latency, mask=calls == 0),
        "route": pa.StructArray.from_arrays([rules, reasons], fields=list(tables.ROUTE)),
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


def _tasks(records: pa.Table, combiner: Combiner, asked: list[Leaf], tasks: Mapping[str, str]) -> pa.Array:
    """The record's task, else that of the first model asked."""
    own = records.column("task").to_pylist()
    for leaf in asked:
        for row in np.flatnonzero(combiner.slot(leaf).present):
            own[row] = own[row] or tasks.get(leaf.model)
    return pa.array(own, pa.string())


def _errors(chosen: pa.Table, slot: Slot, records: pa.Table, selections: Sequence[pa.Table]) -> pa.Array:
    errors = chosen.column("error").to_pylist()
    silent = np.flatnonzero(~slot.present)
    if not len(silent):
        return chosen.column("error").combine_chunks()
    given = records.column("error")
    outcomes = _outcomes(selections)
    for row in silent:
        bad = given[row].as_py()
        outcome, reason = outcomes.get(int(row), ("no_route", ""))
        said = _OUTCOMES.get(outcome, outcome)
        errors[row] = bad or tables.error(outcome, f"{said}: {reason}" if reason else said)
    return pa.array(errors, tables.ERROR)


def _outcomes(selections: Sequence[pa.Table]) -> dict[int, tuple[str, str]]:
    """The first outcome of each row that went nowhere."""
    found: dict[int, tuple[str, str]] = {}
    for selection in selections:
        nowhere = selection.filter(selection.column("outcome").is_valid())
        for row in nowhere.to_pylist():
            if row["outcome"] not in {"accepted", "rejected"}:
                found.setdefault(row["row"], (row["outcome"], row["reason"] or ""))
    return found


def _route(selections: Sequence[pa.Table], rows: int) -> tuple[pa.Array, pa.Array]:
    """Each row's rule (the first that decided it) and reasons (one a control, joined)."""
    rule = np.full(rows, None, dtype=object)
    code = np.zeros(rows, dtype=np.int64)
    texts: list[str] = [""]
    for selection in selections:
        seen, first = np.unique(selection.column("row").to_numpy(), return_index=True)
        taken = selection.take(pa.array(first))
        rules = np.array(taken.column("rule").to_pylist(), dtype=object)
        empty = np.array([rule[row] is None for row in seen], dtype=bool)
        rule[seen[empty]] = rules[empty]
        reasons = taken.column("reason").to_pylist()
        pairs: dict[tuple[int, str], int] = {}
        for row, reason in zip(seen, reasons, strict=True):
            pair = (int(code[row]), reason or "")
            if pair not in pairs:
                before = texts[pair[0]]
                texts.append("; ".join(part for part in (before, pair[1]) if part))
                pairs[pair] = len(texts) - 1
            code[row] = pairs[pair]
    return pa.array(rule.tolist(), pa.string()), pa.array(texts).take(pa.array(code))


def _first(scores: pa.Array) -> pa.Array:
    """The first ``KEPT_SCORES`` of each list."""
    import pyarrow.compute as pc

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
    row = np.concatenate(row_parts) if row_parts else np.empty(0, np.int64)
    order = np.argsort(row, kind="stable")
    index = np.concatenate(index_parts)[order] if index_parts else np.empty(0, np.int64)
    node = np.concatenate(node_parts)[order] if node_parts else np.empty(0, np.int64)
    used = np.concatenate(used_parts)[order] if used_parts else np.empty(0, bool)
    taken = combiner.pool.take(index, ["model", "model_version", "label", "score", "value", "error"])
    error = taken.column("error").combine_chunks()
    values = [
        pa.array([leaf.node for leaf in asked], pa.string()).take(pa.array(node)),
        *(taken.column(name).combine_chunks() for name in ("model", "model_version", "label", "score", "value")),
        error.field("code") if len(error) else pa.array([], pa.string()),
        pa.array(used),
    ]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.StructArray.from_arrays(values, fields=list(tables.MEMBER)))
