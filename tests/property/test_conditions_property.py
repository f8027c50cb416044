"""A condition over a table gives what CEL gives record by record."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from condition_strategies import CONDITION_COLUMNS, DOUBLES, INTEGERS, TEXTS, conditions, records
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from airflow_agentic.exceptions import ConditionError
from airflow_agentic.routing.arrow_cel import ARROW
from airflow_agentic.routing.conditions import Condition

TABLES = st.lists(records(CONDITION_COLUMNS), max_size=12)
HARD = [
    dict(zip(CONDITION_COLUMNS, (text, other, number, second, double, value, ok), strict=True))
    for text, other, ok in zip([*TEXTS, None], [None, *TEXTS], [True, False, None] * 4, strict=False)
    for number in (*INTEGERS[:3], 2**53 + 1, *INTEGERS[-3:], None)
    for second in (0, -1, 2, 2**63 - 1, -(2**63), None)
    for double, value in (
        (DOUBLES[0], DOUBLES[1]),
        (2.0**63, 2.0**53),
        (float("nan"), float("-inf")),
        (-(2.0**63), -0.0),
        (None, 1.0),
    )
][::7]
"""Limits against limits: the cases that random values seldom meet."""


def columns(rows: list[dict[str, Any]]) -> dict[str, pa.Array]:
    return {name: pa.array([row[name] for row in rows], ARROW[type_]) for name, type_ in CONDITION_COLUMNS.items()}


def check(expression: str, rows: list[dict[str, Any]], arrays: dict[str, Any]) -> None:
    condition = Condition.compile(expression, CONDITION_COLUMNS)
    outcome = condition.evaluate(arrays, len(rows))
    verdicts = [condition.evaluate_one(row) for row in rows]
    assert outcome.true.to_pylist() == [verdict.value is True for verdict in verdicts]
    assert outcome.failed.to_pylist() == [verdict.value is None for verdict in verdicts]
    assert [text is None for text in outcome.messages.to_pylist()] == [
        verdict.value is not None for verdict in verdicts
    ]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(conditions(), TABLES)
@example("record.size * record.position == record.size / record.position", HARD)
@example("record.size + record.position > record.size - record.position", HARD)
@example("record.size % record.position == 0", HARD)
@example("record.size == prediction.score || record.position < prediction.value", HARD)
@example("int(prediction.score) >= record.size && !(prediction.score in [prediction.value, 2.0])", HARD)
@example("int(prediction.score) < 0 || prediction.value in [0.0, 2.0]", HARD)
@example('record.task.matches("e$")', HARD)
@example("record.task < record.language ? has(record.ok) : record.ok", HARD)
@example('record.task + record.language in ["de", "dede"] || size(record.task) > 1', HARD)
def test_a_table_gives_what_its_records_give(expression: str, rows: list[dict[str, Any]]) -> None:
    check(expression, rows, columns(rows))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(conditions(2), TABLES, TABLES, st.data())
def test_slices_and_chunks_change_nothing(
    expression: str, first: list[dict[str, Any]], second: list[dict[str, Any]], data: st.DataObject
) -> None:
    rows = first + second
    start = data.draw(st.integers(0, len(rows)))
    chunked = {
        name: pa.chunked_array([one.slice(0), *two_halves(two)])
        for (name, one), two in zip(columns(first).items(), columns(second).values(), strict=True)
    }
    check(expression, rows[start:], {name: array.slice(start) for name, array in chunked.items()})


def two_halves(array: pa.Array) -> list[pa.Array]:
    return [array.slice(0, len(array) // 2), array.slice(len(array) // 2)]


@settings(max_examples=300, deadline=None)
@given(st.text("recod.task>=<'\"()has nul&|!?:[]1\n", max_size=30) | st.text(max_size=20))
def test_any_text_compiles_or_is_refused_in_one_line(expression: str) -> None:
    refusal = ""
    try:
        condition = Condition.compile(expression, CONDITION_COLUMNS)
    except ConditionError as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith(("column ", "line "))
        assert "\n" not in refusal
    else:
        assert condition.evaluate_one({}).value in {True, False, None}
