"""One record's answer, checked and made a prediction in plain Python: for a single row that is cheaper than Arrow.

Says the same as :mod:`.batching` says of whole columns; a property test compares them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from airflow_agentic.exceptions import RecordError
from airflow_agentic.tables import PREDICTION, RESULT, error

if TYPE_CHECKING:
    from airflow_agentic.spec.model import ModelCard

Answer = Mapping[str, Any]
"""A row of ``tables.RESULT``."""

NOTHING: Final[Answer] = dict.fromkeys(RESULT.names)
_COLUMNS: Final = [(field.name, field.type, pa.nulls(1, field.type)) for field in PREDICTION]
"""Name, type and the column of one null; of each field Arrow makes new objects."""


def checked_answer(answer: Answer, card: ModelCard, top_k: int, needed: tuple[str, str]) -> Answer:
    """``answer``, or an error where it breaks the contract of ``tables.RESULT`` or of the card's output.

    :param needed: what the card promises, and in which column it is.
    """
    if answer["error"] is not None:
        return {**NOTHING, "error": answer["error"]}
    scores = answer["scores"]
    wrong = _violation(answer, card, scores or (), needed)
    if wrong is not None:
        return failed(RecordError(*wrong))
    if scores is None:
        return answer
    return {**answer, "scores": sorted(scores, key=lambda pair: -pair["p"])[:top_k]}


def failed(problem: RecordError) -> Answer:
    """The row of a record that has no answer."""
    return {**NOTHING, "error": error(problem.code, str(problem))}


def _violation(
    answer: Answer, card: ModelCard, scores: Sequence[Mapping[str, Any]], needed: tuple[str, str]
) -> tuple[str, str] | None:
    """Code and message of the first thing that is wrong."""
    for name in ("score", "value"):
        if answer[name] is not None and not math.isfinite(answer[name]):
            return "bad_output", f"the model gave a {name} that is not finite (NaN or infinity)"
    if not all(pair["p"] is not None and math.isfinite(pair["p"]) for pair in scores):
        return "bad_output", "the model gave scores that are not finite"
    what, column = needed
    if answer[column] is None:
        return "bad_output", f"the model gave no {what}"
    if isinstance(card.output.classes, list):
        mapped = card.output.label_map
        space = {mapped.get(label, label) for label in card.output.classes}
        if answer["label"] not in space or not all(pair["label"] in space for pair in scores):
            space_shown = card.output.label_space
            return "unknown_label", f"the model gave a label that is not in the card's label space ({space_shown})"
    return None


def prediction(fixed: Mapping[str, pa.Array], values: Mapping[str, Any]) -> pa.Table:
    """``tables.PREDICTION`` of one row.

    :param fixed: columns that are there already.
    :param values: of the others; those not given are null.
    """
    columns = []
    for name, type_, null in _COLUMNS:
        made = fixed.get(name)
        if made is None:
            value = values.get(name)
            made = null if value is None else pa.array([value], type_)
        columns.append(made)
    return pa.Table.from_arrays(columns, schema=PREDICTION)
