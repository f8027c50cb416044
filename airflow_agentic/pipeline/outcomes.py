"""Rows that reach no model: what Route and the gates said of them, and the error of their answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic import tables
from airflow_agentic.pipeline.texts import codes_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow_agentic.tables import Selected

VERDICTS: Final = ("accepted", "rejected")
"""Outcomes of rows that have been asked already."""

_MEANING: Final = {
    "no_route": "no route takes this record",
    "no_candidate": "no candidate satisfies what the record asks",
    "all_unhealthy": "every candidate is unhealthy",
    "condition_failed": "a condition could not be evaluated",
    "bad_record": "the record cannot be used",
}


def refusals(selections: Sequence[pa.Table], rows: int, *, otherwise: str) -> pa.StructArray:
    """The error of each row if it reaches no model: why a control sent it nowhere; of several, the first.

    :param otherwise: the outcome of rows that none sent nowhere.
    """
    errors = [refusal(otherwise, None)]
    code = np.zeros(rows, dtype=np.int64)
    for selection in selections:
        outcome = selection.column("outcome").cast(pa.string())
        nowhere = pc.and_(outcome.is_valid(), pc.invert(pc.is_in(outcome, pa.array(VERDICTS))))
        refused = selection.select(["row", "outcome", "reason"]).filter(nowhere)
        outcomes, names = codes_of(refused.column("outcome"))
        reasons, texts = codes_of(refused.column("reason"))
        kinds = pa.array(outcomes * (len(texts) + 1) + reasons + 1).dictionary_encode()
        row = refused.column("row").to_numpy()[::-1]  # of two entries for one row the first is written last
        new = (len(errors) + kinds.indices.to_numpy())[::-1]
        code[row] = np.where(code[row] == 0, new, code[row])
        for kind in kinds.dictionary.to_pylist():
            outcome_code, reason_code = divmod(kind, len(texts) + 1)
            errors.append(refusal(names[outcome_code], texts[reason_code - 1] if reason_code else None))
    return pa.array(errors, tables.ERROR).take(pa.array(code))


def refusal_of(selections: Iterable[Sequence[Selected]], *, otherwise: str) -> dict[str, Any]:
    """:func:`refusals` for one record."""
    for selection in selections:
        for one in selection:
            if one.outcome is not None and one.outcome not in VERDICTS:
                return refusal(one.outcome, one.reason)
    return refusal(otherwise, None)


def refusal(outcome: str, reason: str | None) -> dict[str, Any]:
    """A row's outcome as an error: ``no_candidate``, *no candidate satisfies what the record asks: not a does b*."""
    meaning = _MEANING.get(outcome, outcome)
    return tables.error(outcome, f"{meaning}: {reason}" if reason else meaning)
