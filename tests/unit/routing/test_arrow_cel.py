"""What Arrow can express is evaluated by Arrow: CEL is not asked, not even for a part."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from condition_checks import arrow_columns, check_condition
from condition_strategies import CONDITION_COLUMNS

from airflow_agentic.routing.cel_check import Program
from airflow_agentic.routing.conditions import Condition

ROWS: list[dict[str, Any]] = [
    dict(zip(CONDITION_COLUMNS, row, strict=True))
    for row in (
        ("de", "en", 3, 0, 0.5, 3.0, True),
        ("image", "de", -(2**63), -1, -1.5, float("nan"), False),
        ("", "ä😀", 2**63 - 1, 2, 1e300, -0.0, True),
        (None, "de", None, 1, None, 1.0, None),
        ("de", None, 7, None, 2.0, None, False),
        ("x", "y", 1, 1, -1000.25, -1000.0, True),
    )
]
TRANSLATED = [
    "int(prediction.score) == -1000",
    # each result goes on into another function, which must know its type
    "(record.ok && record.ok) == record.ok",
    "(record.ok || record.size > 3) != record.ok",
    "(!record.ok) == record.ok",
    "has(record.task) == record.ok",
    "(record.task == null) == record.ok",
    "(null != record.size) == record.ok",
    "(record.size == record.position) == record.ok",
    "(record.size < prediction.score) == record.ok",
    "(prediction.value >= record.size) == record.ok",
    "(record.size in [1, 3]) == record.ok",
    "(record.task in ['de', 'en']) == record.ok",
    "(record.task in ['de', record.language]) == record.ok",
    "(record.size in [record.position, 3]) == record.ok",
    "(record.size in [0.5, 3.0]) == record.ok",
    "(prediction.score in [0.5, prediction.value]) == record.ok",
    "(record.ok in [true]) == record.ok",
    "record.task.startsWith('d') == record.ok",
    "record.task.endsWith('e') == record.ok",
    "record.task.contains('mag') == record.ok",
    "record.task.matches('^d.$') == record.ok",
    "(record.ok ? 1 : 2) + 1 == record.size",
    "(record.ok ? 'd' : 'x') + 'e' == record.task",
    "(record.ok ? 1.5 : prediction.score) + 1.0 > 2.0",
    "(record.ok ? record.ok : has(record.task)) == record.ok",
    "size(record.task) + 1 == record.size",
    "double(record.size) + 1.0 > prediction.score",
    "int(prediction.score) + 1 > record.size",
    "int(record.size) + 1 > record.position",
    "double(prediction.score) + 1.0 > 0.0",
    "-record.size + 1 > 0",
    "-prediction.score + 1.0 > 0.0",
    "record.task + record.language + '' == 'deen'",
    *(f"(record.size {sign} record.position) + 0 >= 1" for sign in "+-*/%"),
    *(f"(prediction.score {sign} prediction.value) + 0.0 >= 1.0" for sign in "+-*/"),
]
LEFT_TO_CEL = [
    "record.task.matches(record.language)",
    "[record.size].exists(one, one == 3)",
    "(record.ok ? record.ok : dyn(1) == 1)",
    "size([record.size]) == 1",
    "string(record.size) == '3'",
    "record.task.startsWith(record.language)",
]


@pytest.mark.parametrize("expression", TRANSLATED)
def test_arrow_evaluates_all_of_it(expression: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_condition(expression, ROWS, arrow_columns(ROWS))
    monkeypatch.setattr(Program, "run", lambda *_: pytest.fail("CEL was asked"))
    found = Condition.compile(expression, CONDITION_COLUMNS).evaluate(arrow_columns(ROWS), len(ROWS))
    assert isinstance(found.true, pa.BooleanArray)


@pytest.mark.parametrize("expression", LEFT_TO_CEL)
def test_cel_evaluates_what_arrow_cannot(expression: str) -> None:
    check_condition(expression, ROWS, arrow_columns(ROWS))


@pytest.mark.parametrize(
    ("expression", "reads"),
    [
        ("{'a': record.task}['a'] == 'de'", {"record.task"}),
        ("{'a': record.task}.a == record.language", {"record.task", "record.language"}),
        ("{record.task: 1}.size() == 1", {"record.task"}),
        ("[[record.task]][0][0] == 'de'", {"record.task"}),
        ("[1, 2].all(one, one < record.size)", {"record.size"}),
        ("[record.size].map(one, one + record.position)[0] > 1", {"record.size", "record.position"}),
        ("[1].exists(one, [one].exists(two, two == record.size))", {"record.size"}),
        ("google.protobuf.Int64Value{value: record.size} == 3", {"record.size"}),
        ("type(record.ok) == bool", {"record.ok"}),
        ("{'a': has(record.task)}.a && [has(record.size)][0]", {"record.task", "record.size"}),
        ("[1].exists(one, has(record.task) && record.language != null)", {"record.task", "record.language"}),
        ("b'x' == b'x' && 1u < 2u && record.ok", {"record.ok"}),
        ("record.size == 0x7F && 127 == record.size || record.size == 128 || record.size == 16384", {"record.size"}),
    ],
)
def test_what_is_read_is_found_wherever_it_stands(expression: str, reads: set[str]) -> None:
    assert Condition.compile(expression, CONDITION_COLUMNS).references == reads
    check_condition(expression, ROWS, arrow_columns(ROWS))
