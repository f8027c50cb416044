"""Evaluate a combination for one record: the same prediction as :mod:`combine` gives its row, in microseconds.

Predictions are rows of ``tables.PREDICTION`` in plain values. Choosing one is plain Python; an ensemble's answer is
computed by :mod:`ensemble` itself, over a shard of one row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from airflow_agentic import tables
from airflow_agentic.pipeline import ensemble
from airflow_agentic.pipeline.combination import Chained, Coalesce, Combination, Ensemble, FirstAccepted, Leaf, Primary
from airflow_agentic.pipeline.outcomes import VERDICTS, refusal_of
from airflow_agentic.pipeline.pool import Pool, Slot, plain_field

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow_agentic.tables import Selected

ACCEPTED: Final = VERDICTS[0]
BLANK: Final[dict[str, Any]] = dict.fromkeys(tables.PREDICTION.names)


@dataclass(frozen=True)
class OnePrediction:
    """What a combination says of the record; the row of a :class:`~airflow_agentic.pipeline.pool.Slot`."""

    values: Mapping[str, Any] | None = None
    """A row of ``tables.PREDICTION``; ``None``: nobody was asked."""
    degraded: bool = False
    used: frozenset[str] = frozenset()
    """The leaves that it rests on."""

    @property
    def present(self) -> bool:
        """Whether somebody was asked."""
        return self.values is not None

    @property
    def valid(self) -> bool:
        """Whether it is an answer, not an error."""
        return self.values is not None and self.values["error"] is None


NOBODY: Final = OnePrediction()


class OneCombiner:
    """Evaluates combinations for one record.

    :param record_id: of the record.
    :param predictions: by infer node, of those that were asked.
    :param selections: by control, in the plan's order; empty where it said nothing of the record.
    """

    def __init__(
        self,
        record_id: str,
        predictions: Mapping[str, Mapping[str, Any]],
        selections: Mapping[str, Sequence[Selected]],
        *,
        allowed_handlers: Sequence[str] = (),
    ) -> None:
        self.record_id = record_id
        self.predictions = predictions
        self.selections = selections
        self.allowed_handlers = allowed_handlers

    def of(self, combination: Combination) -> OnePrediction:
        """The prediction of the record."""
        if isinstance(combination, Leaf):
            found = self.predictions.get(combination.node)
            return NOBODY if found is None else OnePrediction(found, used=frozenset([combination.node]))
        if isinstance(combination, Coalesce):
            return _first_present(self.of(member) for member in combination.members)
        if isinstance(combination, FirstAccepted):
            return self._first_accepted(combination)
        if isinstance(combination, Chained):
            return self._chained(combination)
        if isinstance(combination, Primary):
            return self.of(combination.primary)
        return self._ensemble(combination)

    def _chained(self, chain: Chained) -> OnePrediction:
        last, earlier = self.of(chain.last), self.of(chain.earlier)
        if last.present or not earlier.valid:
            return last if last.present else earlier
        error = refusal_of(self.selections.values(), otherwise="no_candidate")
        return OnePrediction({**BLANK, "record_id": self.record_id, "error": error})

    def _first_accepted(self, cascade: FirstAccepted) -> OnePrediction:
        stages = [self.of(stage) for stage in cascade.stages]
        for number, stage in enumerate(stages):
            last = number == len(cascade.gates)
            if stage.valid if last else stage.present and self._accepted(cascade.gates[number]):
                return stage
        best = _best(stages)
        return replace(best, degraded=True) if best.valid else best

    def _accepted(self, gate: str) -> bool:
        return any(one.outcome == ACCEPTED for one in self.selections[gate])

    def _ensemble(self, node: Ensemble) -> OnePrediction:
        members = [self.of(member) for member in node.members]
        pool = _FewPredictions([one.values for one in members if one.values is not None])
        places = iter(range(len(members)))
        slots = [_slot(member, next(places) if member.present else -1) for member in members]
        if not pool.rows:
            return NOBODY
        records = pa.table({"record_id": pa.array([self.record_id])})
        slot = ensemble.combine(node, slots, pool, records, self.allowed_handlers)
        used = frozenset(name for name, mask in slot.used.items() if mask[0])
        return OnePrediction(pool.rows[int(slot.index[0])], bool(slot.degraded[0]), used)


def _first_present(found: Iterable[OnePrediction]) -> OnePrediction:
    return next((one for one in found if one.present), NOBODY)


def _best(stages: Sequence[OnePrediction]) -> OnePrediction:
    """Where no stage answered well: the valid answer with the highest score, else the last error."""
    best, best_score = NOBODY, -np.inf
    for stage in stages:
        if stage.values is None:
            continue
        if stage.valid:
            score = _score(stage.values["score"])
            if score > best_score:
                best, best_score = stage, score
        elif not np.isfinite(best_score):
            best = stage
    return best


def _score(score: float | None) -> float:
    return -1.0 if score is None else float(np.nan_to_num(score, nan=-1.0))


def _slot(one: OnePrediction, place: int) -> Slot:
    return Slot(np.array([place]), np.array([one.degraded]), {name: np.array([True]) for name in one.used})


class _FewPredictions(Pool):
    """A pool of few predictions, held in plain values: only the columns that somebody asks for are made."""

    def __init__(self, rows: list[Mapping[str, Any]]) -> None:
        super().__init__()
        self.rows = rows

    def add(self, predictions: pa.Table) -> int:
        start = len(self.rows)
        self.rows += predictions.to_pylist()
        self._columns.clear()
        self._views.clear()
        return start

    def column(self, name: str) -> pa.Array:
        if name not in self._columns:
            plain = plain_field(tables.PREDICTION.field(name)).type
            self._columns[name] = pa.array([row[name] for row in self.rows], plain)
        return self._columns[name]
