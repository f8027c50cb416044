"""A condition over a table gives what CEL gives record by record."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from condition_checks import arrow_columns, check_condition
from condition_strategies import (
    CONDITION_COLUMNS,
    DOUBLES,
    HARD,
    INTEGERS,
    TEXTS,
    conditions,
    quoted,
    records,
    regexes,
    wild_text,
)
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from airflow_agentic.exceptions import ConditionError
from airflow_agentic.routing.conditions import Condition

TABLES = st.lists(records(CONDITION_COLUMNS), max_size=12)


@settings(
    max_examples=3 * settings.default.max_examples,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(conditions(), TABLES)
@example("record.size * record.position == record.size / record.position", HARD)
@example("record.size + record.position > record.size - record.position", HARD)
@example("record.size % record.position == 0", HARD)
@example("-record.size >= record.position", HARD)
@example("record.size == prediction.score || record.position < prediction.value", HARD)
@example("int(prediction.score) >= record.size && !(prediction.score in [prediction.value, 2.0])", HARD)
@example("int(prediction.score) < 0 || prediction.value in [0.0, 2.0]", HARD)
@example('record.task.matches("e$")', HARD)
@example("record.task < record.language ? has(record.ok) : record.ok", HARD)
@example('record.task + record.language in ["de", "dede"] || size(record.task) > 1', HARD)
def test_a_table_gives_what_its_records_give(expression: str, rows: list[dict[str, Any]]) -> None:
    check_condition(expression, rows, arrow_columns(rows))


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(conditions(2), TABLES, TABLES, st.data())
def test_slices_and_chunks_change_nothing(
    expression: str, first: list[dict[str, Any]], second: list[dict[str, Any]], data: st.DataObject
) -> None:
    rows = first + second
    start = data.draw(st.integers(0, len(rows)))
    chunked = {
        name: pa.chunked_array([one.slice(0), *two_halves(two)])
        for (name, one), two in zip(arrow_columns(first).items(), arrow_columns(second).values(), strict=True)
    }
    check_condition(expression, rows[start:], {name: array.slice(start) for name, array in chunked.items()})


def two_halves(array: pa.Array) -> list[pa.Array]:
    return [array.slice(0, len(array) // 2), array.slice(len(array) // 2)]


@settings(max_examples=3 * settings.default.max_examples)
@given(wild_text(), TABLES)
@example("record.task == '\ud800'", HARD)
@example("!" * 40 + "true", HARD)
@example("(" * 100 + "true" + ")" * 100, HARD)
@example(" && ".join(["true"] * 20_000), HARD)
@example("record.task == b'\\x00'", HARD)
@example("has(record.task.length)", HARD)
@example("true ? record.ok : record.ok ? false : null", HARD)
@example("record.size in [1, 2.0, 3u]", HARD)
@example("record.size in [1, 'de', null, true]", HARD)
def test_any_text_compiles_and_agrees_or_is_refused_in_one_line(expression: str, rows: list[dict[str, Any]]) -> None:
    refusal = ""
    try:
        Condition.compile(expression, CONDITION_COLUMNS)
    except ConditionError as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith(("column ", "line "))
        assert "\n" not in refusal
    else:
        check_condition(expression, rows, arrow_columns(rows))


@given(regexes(), TABLES)
@example("(?s).", HARD)
@example(r"^$|\x00", HARD)
def test_any_regular_expression_agrees_or_is_refused(pattern: str, rows: list[dict[str, Any]]) -> None:
    expression = f"record.task.matches({quoted(pattern)})"
    refusal = ""
    try:
        Condition.compile(expression, CONDITION_COLUMNS)
    except ConditionError as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith("column 21: invalid regular expression: ")
    else:
        check_condition(expression, rows, arrow_columns(rows))


LITERALS = {
    "string": [quoted(text) for text in TEXTS],
    "int": [f"({number})" for number in INTEGERS],
    "double": [f"({number!r})" for number in DOUBLES if number - number == 0] + ["(0.0 / 0.0)", "(-1.0 / 0.0)"],
    "bool": ["true", "false"],
}


@given(st.data(), TABLES)
def test_membership_of_mixed_lists(data: st.DataObject, rows: list[dict[str, Any]]) -> None:
    """Whatever mixture of literals and columns the checker takes."""
    literals = [text for texts in LITERALS.values() for text in texts]
    parts = st.sampled_from([*literals, *CONDITION_COLUMNS, "null"])
    needle = data.draw(st.sampled_from([*CONDITION_COLUMNS, "1", "1.0", '"de"']), "needle")
    same = st.sampled_from(LITERALS[CONDITION_COLUMNS[needle]]) if needle in CONDITION_COLUMNS else parts
    listed = data.draw(st.lists(same | parts, max_size=4), "list")
    expression = f"{needle} in [{', '.join(listed)}]"
    try:
        Condition.compile(expression, CONDITION_COLUMNS)
    except ConditionError:
        event("is refused")
        return
    event("compiles")
    check_condition(expression, rows, arrow_columns(rows))


@pytest.mark.parametrize("operator", ["+", "-", "*", "/", "%"])
def test_limits_of_int64_against_each_other(operator: str) -> None:
    """Every operation on every pair of the hard integers is CEL's: its value, an overflow, or a division by zero."""
    blank = dict.fromkeys(CONDITION_COLUMNS)
    pairs = [(one, other) for one in [*INTEGERS, None] for other in [*INTEGERS, None]]
    rows = [{**blank, "record.size": one, "record.position": other} for one, other in pairs]
    for number in (0, 1, -1, 2**62, -(2**63)):
        expression = f"(record.size {operator} record.position) >= ({number})"
        check_condition(expression, rows, arrow_columns(rows))


@pytest.mark.parametrize("operator", ["==", "!=", "<", "<=", ">", ">="])
def test_hard_doubles_against_each_other_and_against_integers(operator: str) -> None:
    blank = dict.fromkeys(CONDITION_COLUMNS)
    pairs = [(one, other) for one in [*DOUBLES, None] for other in [*DOUBLES, None]]
    doubles = [{**blank, "prediction.score": one, "prediction.value": other} for one, other in pairs]
    mixed = [(one, other) for one in [*DOUBLES, None] for other in [*INTEGERS, None]]
    both = [{**blank, "prediction.score": one, "record.size": other} for one, other in mixed]
    check_condition(f"prediction.score {operator} prediction.value", doubles, arrow_columns(doubles))
    check_condition(f"prediction.score {operator} record.size", both, arrow_columns(both))
    check_condition(f"record.size {operator} prediction.score", both, arrow_columns(both))
    check_condition(f"double(record.size) {operator} prediction.score", both, arrow_columns(both))
    check_condition(f"int(prediction.score) {operator} record.size", both, arrow_columns(both))
