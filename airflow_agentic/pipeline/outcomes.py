"""Rows that reach no model: what Route and the gates said of them, and the error of their answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic import tables

if TYPE_CHECKING:
    from collections.abc import Sequence

VERDICTS: Final = ("accepted", "rejected")
"""Outcomes of rows that have been asked already."""

_MEANING: Final = {
    "no_route": "no route takes this record",
    "no_candidate": "no candidate satisfies what the record asks",
    "all_unhealthy": "every candidate is unhealthy",
    "condition_failed": "a condition could not be evaluated",
    "bad_record": "the record cannot be used",
}


def refusals(selections: Sequence[pa.Table]) -> dict[int, dict[str, Any]]:
    """The error of each row that a control sent nowhere, by row; of several, the first."""
    found: dict[int, dict[str, Any]] = {}
    for selection in selections:
        outcome = selection.column("outcome").cast(pa.string())
        nowhere = pc.and_(outcome.is_valid(), pc.invert(pc.is_in(outcome, pa.array(VERDICTS))))
        refused = selection.select(["row", "outcome", "reason"]).filter(nowhere).to_pydict()
        for row, code, reason in zip(refused["row"], refused["outcome"], refused["reason"], strict=True):
            if row not in found:
                found[row] = refusal(code, reason)
    return found


def refusal(outcome: str, reason: str | None) -> dict[str, Any]:
    """A row's outcome as an error: ``no_candidate``, *no candidate satisfies what the record asks: not a does b*."""
    meaning = _MEANING.get(outcome, outcome)
    return tables.error(outcome, f"{meaning}: {reason}" if reason else meaning)
