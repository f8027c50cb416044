"""What every condition keeps: over a table it gives what CEL gives record by record."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from condition_strategies import CONDITION_COLUMNS

from airflow_agentic.routing.arrow_cel import ARROW
from airflow_agentic.routing.conditions import Condition


def arrow_columns(rows: list[dict[str, Any]]) -> dict[str, pa.Array]:
    """Rows of ``CONDITION_COLUMNS`` by column."""
    return {name: pa.array([row[name] for row in rows], ARROW[type_]) for name, type_ in CONDITION_COLUMNS.items()}


def check_condition(expression: str, rows: list[dict[str, Any]], columns: dict[str, Any]) -> None:
    """Compare the table's outcome with each record's verdict: true, false, or cannot be evaluated, with a reason.

    :param columns: ``rows`` as Arrow columns, sliced and chunked as one likes.
    """
    condition = Condition.compile(expression, CONDITION_COLUMNS)
    outcome = condition.evaluate(columns, len(rows))
    verdicts = [condition.evaluate_one(row) for row in rows]
    assert outcome.true.to_pylist() == [verdict.value is True for verdict in verdicts]
    assert outcome.failed.to_pylist() == [verdict.value is None for verdict in verdicts]
    messages = outcome.messages.to_pylist()
    assert [text is None for text in messages] == [verdict.value is not None for verdict in verdicts]
