"""One record's predictions → its answer: the same row as :mod:`answers` gives it, in microseconds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from airflow_agentic.pipeline.answers import KEPT_SCORES
from airflow_agentic.pipeline.combination import leaves
from airflow_agentic.pipeline.outcomes import refusal_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_agentic.pipeline.combination import Combination, Leaf
    from airflow_agentic.pipeline.combine_one import OneCombiner, OnePrediction

_TAKEN: Final = ("model", "score_kind", "label", "score", "scores", "value", "output")


class OneAnswerer:
    """Makes the answers of one plan, a record at a time.

    :param combination: of the plan's Aggregate.
    :param tasks: the task of each model, for a record that states none.
    """

    def __init__(self, combination: Combination, tasks: Mapping[str, str]) -> None:
        self.combination = combination
        self.tasks = tasks
        self.leaves = tuple(dict.fromkeys(leaves(combination)))

    def answer(self, combiner: OneCombiner, record: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of a record.

        :param record: a row of ``tables.RECORD``.
        :returns: a row of ``tables.ANSWER``, in plain values.
        """
        chosen = combiner.of(self.combination)
        values = chosen.values or {}
        asked = [leaf for leaf in self.leaves if leaf.node in combiner.predictions]
        predictions = [combiner.predictions[leaf.node] for leaf in asked]
        taken = {name: values.get(name) for name in _TAKEN}
        if taken["scores"] is not None:
            taken["scores"] = taken["scores"][:KEPT_SCORES]
        return {
            "record_id": record["record_id"],
            "task": _task(record, asked, chosen, self.tasks),
            **taken,
            "error": _error(record, chosen, combiner),
            "degraded": chosen.degraded,
            "cost": _total(predictions, "cost"),
            "calls": len(predictions),
            "latency_ms": _total(predictions, "latency_ms") if predictions else None,
            "route": _route(chosen, combiner),
            "predictions": [
                _member(leaf, one, used=leaf.node in chosen.used) for leaf, one in zip(asked, predictions, strict=True)
            ],
        }


def _total(predictions: Sequence[Mapping[str, Any]], name: str) -> float:
    total = 0.0
    for one in predictions:  # one by one as arrays are added up: ``sum`` compensates for rounding
        value = one[name]
        if value is not None and not math.isnan(value):
            total += value
    return total


def _task(
    record: Mapping[str, Any], asked: Sequence[Leaf], chosen: OnePrediction, tasks: Mapping[str, str]
) -> str | None:
    """The record's task, else that of the first model its answer rests on, else that of the first model asked."""
    if record["task"] is not None:
        return str(record["task"])
    rests_on = [leaf for leaf in asked if leaf.node in chosen.used] or asked
    return tasks[rests_on[0].model] if rests_on else None


def _error(record: Mapping[str, Any], chosen: OnePrediction, combiner: OneCombiner) -> dict[str, Any] | None:
    """The record's own error; else the chosen prediction's; where no model was reached, why not."""
    own: dict[str, Any] | None = record["error"]
    if own is None and chosen.values is None:
        return refusal_of(combiner.selections.values(), otherwise="no_route")
    return own if chosen.values is None else own or chosen.values["error"]


def _route(chosen: OnePrediction, combiner: OneCombiner) -> dict[str, Any]:
    """The first rule that decided it, and the reasons: one a control, and the verdict of an ensemble."""
    firsts = [selection[0] for selection in combiner.selections.values() if selection]
    said = [one.reason for one in firsts]
    if chosen.values is not None and chosen.values["model_version"] is None:  # a model's own reason is said already
        said.append(chosen.values["reason"])
    return {
        "rule": next((one.rule for one in firsts if one.rule is not None), None),
        "reason": "; ".join(text for text in said if text),
    }


def _member(leaf: Leaf, prediction: Mapping[str, Any], *, used: bool) -> dict[str, Any]:
    error = prediction["error"]
    return {
        "node": leaf.node,
        **{name: prediction[name] for name in ("model", "model_version", "label", "score", "value")},
        "error": None if error is None else error["code"],
        "used": used,
    }
