"""Fuzz conditions: any text compiles or is a ConditionError, and over a table it gives what CEL gives record by record.

    python tests/fuzz/fuzz_condition.py -max_total_time=60 CORPUS

The arguments are libFuzzer's. Hypothesis makes expression and records of libFuzzer's bytes, so that coverage guides it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import atheris
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

with atheris.instrument_imports(include=["airflow_agentic"]):
    from condition_checks import arrow_columns, check_condition
    from condition_strategies import CONDITION_COLUMNS, HARD, conditions, records, wild_text

    from airflow_agentic.exceptions import ConditionError
    from airflow_agentic.routing.conditions import Condition


EXPRESSIONS = st.booleans().flatmap(lambda wild: wild_text() if wild else conditions())
"""Every second one may be any text."""


@given(EXPRESSIONS, st.lists(records(CONDITION_COLUMNS), max_size=6))
def try_condition(expression: str, rows: list[dict[str, Any]]) -> None:
    """One case. Any error but :class:`ConditionError`, or a difference, ends the fuzzing."""
    try:
        Condition.compile(expression, CONDITION_COLUMNS)
    except ConditionError:
        return
    rows = rows + HARD[::8]
    check_condition(expression, rows, arrow_columns(rows))


if __name__ == "__main__":
    atheris.Setup(sys.argv, try_condition.hypothesis.fuzz_one_input)
    atheris.Fuzz()
