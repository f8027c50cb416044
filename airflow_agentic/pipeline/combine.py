"""Evaluate a combination over a shard: each row's prediction, chosen or computed from those of the models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from airflow_agentic.pipeline import ensemble
from airflow_agentic.pipeline.combination import Chained, Coalesce, Combination, Ensemble, FirstAccepted, Leaf, Primary
from airflow_agentic.pipeline.outcomes import refusals
from airflow_agentic.pipeline.pool import Bools, Ints, Pool, ShardPredictions, Slot, failed, unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence


class Combiner:
    """Evaluates combinations over one shard; every leaf enters the pool once."""

    def __init__(self, shard: ShardPredictions, *, allowed_handlers: Sequence[str] = ()) -> None:
        self.shard = shard
        self.pool = Pool()
        self.allowed_handlers = allowed_handlers
        self.leaves: dict[str, Slot] = {}

    def slot(self, combination: Combination) -> Slot:
        """The prediction of each row."""
        if isinstance(combination, Leaf):
            return self._leaf(combination)
        if isinstance(combination, Coalesce):
            return self._first_present([self.slot(member) for member in combination.members])
        if isinstance(combination, Chained):
            return self._chained(combination)
        if isinstance(combination, Primary):
            return self.slot(combination.primary)
        if isinstance(combination, FirstAccepted):
            return self._first_accepted(combination)
        return self._ensemble(combination)

    def _leaf(self, leaf: Leaf) -> Slot:
        if leaf.node in self.leaves:
            return self.leaves[leaf.node]
        rows = self.shard.assigned[leaf.node]
        index = np.full(len(self.shard), -1, dtype=np.int64)
        if len(rows):
            found = self.shard.predictions.get(leaf.node)
            start = self.pool.add(unavailable(rows, self.shard.records, leaf.model) if found is None else found)
            answered = rows if found is None else found.column("row").to_numpy().astype(np.int64)
            index[answered] = start + np.arange(len(answered))
        slot = Slot(index, np.zeros(len(self.shard), bool), {leaf.node: index >= 0})
        self.leaves[leaf.node] = slot
        return slot

    def _none(self) -> Slot:
        rows = len(self.shard)
        return Slot(np.full(rows, -1, dtype=np.int64), np.zeros(rows, bool))

    def _first_present(self, slots: list[Slot]) -> Slot:
        chosen = self._none()
        for slot in slots:
            chosen = _merge(chosen, slot, slot.present & ~chosen.present)
        return chosen

    def _chained(self, chain: Chained) -> Slot:
        """A row whose earlier step answered well and whose last was not asked has an error: nobody could take it."""
        last, earlier = self.slot(chain.last), self.slot(chain.earlier)
        chosen = self._first_present([last, earlier])
        stranded = np.flatnonzero(~last.present & self.pool.valid(earlier.index))
        if not len(stranded):
            return chosen
        errors = refusals(self.shard.selections, len(self.shard), otherwise="no_candidate").take(pa.array(stranded))
        index = np.full(len(self.shard), -1, dtype=np.int64)
        index[stranded] = self.pool.add(failed(stranded, self.shard.records, errors)) + np.arange(len(stranded))
        return _merge(chosen, Slot(index, np.zeros(len(self.shard), bool)), index >= 0)

    def _first_accepted(self, cascade: FirstAccepted) -> Slot:
        slots = [self.slot(stage) for stage in cascade.stages]
        chosen = self._none()
        for number, slot in enumerate(slots):
            if number < len(cascade.gates):
                good = slot.present & self.shard.accepted[cascade.gates[number]]
            else:
                good = self.pool.valid(slot.index)
            chosen = _merge(chosen, slot, good & ~chosen.present)
        best = self._best_earlier(slots)
        left = best.present & ~chosen.present
        chosen = _merge(chosen, best, left)
        return Slot(chosen.index, chosen.degraded | (left & self.pool.valid(best.index)), chosen.used)

    def _best_earlier(self, slots: list[Slot]) -> Slot:
        """For rows that no stage answered well: the valid answer with the highest score, else the last error."""
        best = self._none()
        best_score = np.full(len(self.shard), -np.inf)
        for slot in slots:
            valid = self.pool.valid(slot.index)
            score = np.nan_to_num(self.pool.numbers("score", slot.index), nan=-1.0)
            better = (valid & (score > best_score)) | (slot.present & ~valid & ~np.isfinite(best_score))
            best = _merge(best, slot, better)
            best_score[better & valid] = score[better & valid]
        return best

    def _ensemble(self, node: Ensemble) -> Slot:
        slots = [self.slot(member) for member in node.members]
        if len(self.shard) == 0 or not slots:
            return self._none()
        return ensemble.combine(node, slots, self.pool, self.shard.records, self.allowed_handlers)


def _merge(first: Slot, second: Slot, where: Bools) -> Slot:
    """``second`` where ``where``, else ``first``."""
    index: Ints = np.where(where, second.index, first.index)
    degraded: Bools = np.where(where, second.degraded, first.degraded)
    used: dict[str, Bools] = {name: mask & ~where for name, mask in first.used.items()}
    for name, mask in second.used.items():
        used[name] = used[name] | (mask & where) if name in used else mask & where
    return Slot(index, degraded, used)
