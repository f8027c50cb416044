"""The aggregation methods: members' predictions of a shard → one prediction a row.

Members are the rows of matrices, records the columns. Only valid answers count, for the quorum too. Ties are broken by
the members' own scores, then by the order of the members, so that the result depends on nothing else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from airflow_agentic import tables
from airflow_agentic.exceptions import ModelError
from airflow_agentic.handlers import load_handler
from airflow_agentic.pipeline.pool import Bools, Floats, Ints, Pool, Slot, computed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_agentic.pipeline.combination import Ensemble


@dataclass(frozen=True)
class _Members:
    """The members' answers: matrices of shape ``[members, rows]``."""

    node: Ensemble
    pool: Pool
    index: Ints
    valid: Bools
    weights: Floats  # of members
    records: pa.Table

    def weight(self) -> Floats:
        """Weight of each valid answer, 0 for the others; where no valid one has a weight, all count alike."""
        weight = np.where(self.valid, self.weights[:, None], 0.0)
        return np.where(weight.any(axis=0), weight, self.valid)


def combine(
    node: Ensemble, slots: Sequence[Slot], pool: Pool, records: pa.Table, allowed_handlers: Sequence[str] = ()
) -> Slot:
    """One slot from the members' slots, by ``node.method``."""
    index = np.stack([slot.index for slot in slots])
    valid = np.stack([pool.valid(slot.index) for slot in slots])
    weighted = node.method in {"weighted-vote", "weighted-mean"}
    weights = np.array(node.weights if weighted else (1.0,) * len(slots))
    members = _Members(node, pool, index, valid, weights, records)
    asked = (index >= 0).any(axis=0)
    enough = asked & (valid.sum(axis=0) >= node.quorum)
    result = np.full(index.shape[1], -1, dtype=np.int64)
    rows = np.flatnonzero(enough)
    supporters = valid & enough
    if len(rows):
        if node.method == "best-score":
            winner = _best(members)
            result[rows] = index[winner[rows], rows]
            supporters = supporters & (np.arange(len(slots))[:, None] == winner)
        else:
            made = (
                handle(members, rows, allowed_handlers)
                if node.method == "handler"
                else _METHODS[node.method](members, rows)
            )
            result[rows] = pool.add(made) + np.arange(len(rows))
    short = np.flatnonzero(asked & ~enough)
    if len(short):
        result[short] = pool.add(_short(members, short)) + np.arange(len(short))
    used: dict[str, Bools] = {}
    for slot, supports in zip(slots, supporters, strict=True):
        for name, mask in slot.used.items():
            used[name] = used.get(name, np.zeros_like(mask)) | (mask & supports)
    degraded = np.stack([slot.degraded for slot in slots]) & supporters
    lost = (index >= 0) & ~valid if node.method == "merge" else np.zeros_like(valid)
    return Slot(result, (degraded | (lost & enough)).any(axis=0), used)


def _best(members: _Members) -> Ints:
    score = np.nan_to_num(np.stack([members.pool.numbers("score", index) for index in members.index]), nan=-1.0)
    best: Ints = np.argmax(np.where(members.valid, score, -np.inf), axis=0)
    return best


def vote(members: _Members, rows: Ints) -> pa.Table:
    """The label with the most (weighted) votes; its score is its share of the votes cast."""
    index, weight = members.index[:, rows], members.weight()[:, rows]
    pairs = [members.pool.label_codes(row) for row in index]
    codes, labels = np.stack([code for code, _ in pairs]), pairs[0][1]
    score = np.nan_to_num(np.stack([members.pool.numbers("score", row) for row in index]), nan=0.0)
    agree = codes[:, None, :] == codes[None, :, :]
    votes = np.einsum("ijr,jr->ir", agree, weight)
    confidence = np.einsum("ijr,jr->ir", agree, weight * score)
    winner = _lexical_argmax(np.where(weight > 0, votes, -1.0), confidence)
    position = np.arange(len(rows))
    chosen = codes[winner, position]
    total = weight.sum(axis=0)
    supporting = np.where(codes == chosen, weight, 0.0).sum(axis=0)
    share = np.divide(supporting, total, out=np.zeros_like(total), where=total > 0)
    counts = ((codes == chosen) & (weight > 0)).sum(axis=0)
    reasons = [f"{n} of {len(codes)} agree" for n in range(len(codes) + 1)]
    return _made(
        members,
        rows,
        label=pa.array(labels, pa.string()).take(pa.array(chosen, mask=chosen < 0)),
        score=pa.array(share),
        reason=pa.array(reasons).take(pa.array(counts)),
    )


def _lexical_argmax(first: Floats, second: Floats) -> Ints:
    """Along axis 0: the highest ``first``, then the highest ``second``, then the lowest index.

    Sums that differ by the order of their terms only are equal.
    """
    top = np.isclose(first, first.max(axis=0), rtol=1e-12, atol=0.0)
    tied = np.where(top, second, -np.inf)
    winner: Ints = np.argmax(np.isclose(tied, tied.max(axis=0), rtol=1e-12, atol=0.0), axis=0)
    return winner


def mean(members: _Members, rows: Ints) -> pa.Table:
    """Class by class, the (weighted) mean of the members' scores; of their numbers, where they answer with numbers."""
    index, weight = members.index[:, rows], members.weight()[:, rows]
    total = weight.sum(axis=0)
    values = np.stack([members.pool.numbers("value", row) for row in index])
    if not np.isnan(values).all():
        return _made(members, rows, value=pa.array((np.nan_to_num(values) * weight).sum(axis=0) / total))
    parts = [_entries(members.pool, one, w) for one, w in zip(index, weight, strict=True)]
    row = np.concatenate([part[0] for part in parts])
    label = pa.chunked_array([part[1] for part in parts], pa.string()).combine_chunks().dictionary_encode()
    weighted = np.concatenate([part[2] for part in parts]) / total[row]
    classes = max(len(label.dictionary), 1)
    key, inverse = np.unique(row * classes + label.indices.to_numpy(), return_inverse=True)
    summed = np.bincount(inverse, weights=weighted, minlength=len(key))
    key_row, key_class = key // classes, key % classes
    names = label.dictionary.to_pylist()
    alphabetical = np.argsort(np.argsort(np.array(names, dtype=object))) if names else np.empty(0, np.int64)
    order = np.lexsort((alphabetical[key_class], -summed, key_row))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(key_row, minlength=len(rows)))])
    flat_labels = label.dictionary.take(pa.array(key_class[order]))
    flat_scores = pa.array(summed[order])
    scores = pa.ListArray.from_arrays(
        pa.array(offsets.astype(np.int32)), pa.StructArray.from_arrays([flat_labels, flat_scores], ["label", "p"])
    )
    first = pa.array(offsets[:-1], mask=offsets[:-1] == offsets[1:])
    return _made(members, rows, label=flat_labels.take(first), score=flat_scores.take(first), scores=scores)


def _entries(pool: Pool, index: Ints, weight: Floats) -> tuple[Ints, pa.Array, Floats]:
    """Class scores of one member: row, label and weight·score in parallel; a lone label counts with its score."""
    rows = np.flatnonzero(weight > 0)
    taken = pool.take(index[rows], ["label", "score", "scores"])
    lists = taken.column("scores").combine_chunks()
    lengths = np.nan_to_num(lists.value_lengths().to_numpy(zero_copy_only=False).astype(np.float64)).astype(np.int64)
    flat = lists.flatten()
    bare = lengths == 0
    row = np.concatenate([np.repeat(rows, lengths), rows[bare]])
    lone = taken.filter(pa.array(bare))
    label = pa.concat_arrays([flat.field("label"), lone.column("label").combine_chunks()])
    score = np.concatenate([flat.field("p").to_numpy(zero_copy_only=False), lone.column("score").to_numpy()])
    named = np.asarray(label.is_valid())
    return row[named], label.filter(pa.array(named)), np.nan_to_num(score[named]) * weight[row[named]]


def median(members: _Members, rows: Ints) -> pa.Table:
    """The median of the members' numbers."""
    values = np.stack([members.pool.numbers("value", row) for row in members.index[:, rows]])
    masked = np.where(members.valid[:, rows], values, np.nan)
    return _made(members, rows, value=pa.array(np.nanmedian(masked, axis=0)))


def merge(members: _Members, rows: Ints) -> pa.Table:
    """All valid answers side by side: ``output`` is a JSON object by member."""
    merged: list[dict[str, Any]] = [{} for _ in rows]
    for name, index, valid in zip(members.node.names, members.index[:, rows], members.valid[:, rows], strict=True):
        answers = members.pool.take(index, ["label", "score", "value", "output"]).to_pylist()
        for place in np.flatnonzero(valid):
            answer = {key: item for key, item in answers[place].items() if item is not None}
            if "output" in answer:
                answer["output"] = json.loads(answer["output"])
            merged[place][name] = answer
    return _made(members, rows, output=pa.array([json.dumps(one, sort_keys=True) for one in merged]))


def handle(members: _Members, rows: Ints, allowed: Sequence[str]) -> pa.Table:
    """The workflow's own function of ``{member: PREDICTION table}``, aligned by row; invalid answers are null rows."""
    function = load_handler(str(members.node.handler), allowed)
    given = {
        name: members.pool.take(np.where(valid, index, -1))
        for name, index, valid in zip(members.node.names, members.index[:, rows], members.valid[:, rows], strict=True)
    }
    result = function(given)
    if not isinstance(result, pa.Table) or result.num_rows != len(rows):
        shape = f"{result.num_rows} rows" if isinstance(result, pa.Table) else type(result).__name__
        raise ModelError(
            f"the handler {members.node.handler!r} returned {shape}; "
            f"an aggregation returns a RESULT table of {len(rows)} rows"
        )
    columns = {
        name: result.column(name).combine_chunks().cast(tables.RESULT.field(name).type)
        for name in result.column_names
        if name in tables.RESULT.names
    }
    return _made(members, rows, **columns)


_METHODS: dict[str, Callable[[_Members, Ints], pa.Table]] = {
    "majority-vote": vote,
    "weighted-vote": vote,
    "mean": mean,
    "weighted-mean": mean,
    "median": median,
    "merge": merge,
}


def _made(members: _Members, rows: Ints, **columns: pa.Array) -> pa.Table:
    """Predictions of the ensemble for ``rows``; the model's name lists the members that counted."""
    valid = members.valid[:, rows]
    names, name_of = _names(members.node, valid)
    said = [f"{n} of {len(valid)} answered" for n in range(len(valid) + 1)]
    base = {
        "row": pa.array(rows.astype(np.int32)),
        "record_id": members.records.column("record_id").take(pa.array(rows)).combine_chunks(),
        "model": pa.array(names, pa.string()).take(pa.array(name_of)),
        "reason": pa.array(said).take(pa.array(valid.sum(axis=0))),
    }
    if "score" in columns:
        kind = "probability" if members.node.method in {"mean", "weighted-mean"} else "other"
        base["score_kind"] = pa.array([kind] * len(rows), pa.string())
    return computed(len(rows), {**base, **columns})


def _names(node: Ensemble, valid: Bools) -> tuple[list[str], Ints]:
    """``ensemble(a, c)`` for each pattern of valid members, and which one each row has."""
    code = pa.array(np.zeros(valid.shape[1], dtype=np.int64)).dictionary_encode()
    for member in valid:  # numbered anew after each, so that codes stay small however many members there are
        code = pa.array(code.indices.to_numpy().astype(np.int64) * 2 + member).dictionary_encode()
    inverse = code.indices.to_numpy().astype(np.int64)
    first = np.empty(len(code.dictionary), dtype=np.int64)
    first[inverse[::-1]] = np.arange(len(inverse))[::-1]
    kind = "merge" if node.method == "merge" else "ensemble"
    shown = []
    for row in first:
        counted = [name for name, counts in zip(node.names, valid[:, row], strict=True) if counts]
        shown.append(f"{kind}({', '.join(counted)})")
    return shown, inverse


def _short(members: _Members, rows: Ints) -> pa.Table:
    """Too few valid answers: an error that says who failed and why."""
    failures = []
    errors = [members.pool.take(index, ["error"]).column("error").to_pylist() for index in members.index[:, rows]]
    for place in range(len(rows)):
        given = [error[place] for error in errors]
        said = [f"{name}: {error['code']}" for name, error in zip(members.node.names, given, strict=True) if error]
        count = int(members.valid[:, rows[place]].sum())
        message = f"{count} of {len(members.valid)} members answered, {members.node.quorum} needed"
        failures.append(tables.error("quorum_not_met", f"{message} ({'; '.join(said)})" if said else message))
    return _made(members, rows, error=pa.array(failures, tables.ERROR))
