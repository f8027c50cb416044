"""Conditions: what compiles, what it says of rows, and in which words it refuses."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pytest

from airflow_agentic.exceptions import ConditionError
from airflow_agentic.routing.conditions import Condition, Verdict
from airflow_agentic.routing.distinct import distinct

COLUMNS = {
    "record.task": "string",
    "record.language": "string",
    "record.size": "int",
    "record.ok": "bool",
    "prediction.score": "double",
}
LOWEST, HIGHEST = -(2**63), 2**63 - 1


def condition(expression: str) -> Condition:
    return Condition.compile(expression, COLUMNS)


def outcome(expression: str, **columns: Any) -> list[bool | str]:
    """For each row True, False or the reason why there is no answer; ``size`` is ``record.size``."""
    arrays = {("prediction." if name == "score" else "record.") + name: values for name, values in columns.items()}
    types = {"string": pa.string(), "int": pa.int64(), "bool": pa.bool_(), "double": pa.float64()}
    arrays = {
        name: array if isinstance(array, pa.Array | pa.ChunkedArray) else pa.array(array, types[COLUMNS[name]])
        for name, array in arrays.items()
    }
    rows = len(next(iter(arrays.values())))
    found = condition(expression).evaluate(arrays, rows)
    assert found.true.null_count == found.failed.null_count == 0
    texts = found.messages.to_pylist()
    return [texts[row] if found.failed[row].as_py() else found.true[row].as_py() for row in range(rows)]


def refusal(expression: str) -> str:
    with pytest.raises(ConditionError) as raised:
        condition(expression)
    return str(raised.value)


def test_it_knows_what_it_reads() -> None:
    assert condition('has(record.language) && record.size > 1 || record.task == "x"').references == {
        "record.language",
        "record.size",
        "record.task",
    }


def test_a_variable_of_a_macro_is_no_column() -> None:
    made = Condition.compile("[x].exists(x, x == 3)", {"x": "int"})
    assert made.references == {"x"}
    assert Condition.compile("[1, 3].exists(x, x == 3)", {"x": "int"}).references == frozenset()
    assert made.evaluate_one({"x": 3}) == Verdict(True)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("prediction.score >= 'x'", "column 18: found no matching overload for '_>=_' applied to '(double, string)'"),
        ('recrd.task == "x"', "column 6: there is no column 'recrd.task'; did you mean 'record.task'?"),
        (
            "record.size == 1 && zzz",
            "column 21: there is no column 'zzz'; there are: prediction.score, record.language, record.ok, "
            "record.size, record.task",
        ),
        ("record.task.lower() == 'x'", "column 18: there is no function 'lower'"),
        ("record.task", "column 1: a condition is true or false, but this is of type string"),
        ("dyn(record.ok)", "column 1: a condition is true or false, but this is of type dyn"),
        ("record.size >", "column 14: Syntax error: mismatched input '<EOF>'"),
        ("", "column 1: Syntax error: mismatched input '<EOF>'"),
        (
            "record.size > 1\n  && record.task",
            "line 2, column 3: found no matching overload for '_&&_' applied to '(bool, string)'",
        ),
        ("has(record.nope)", "column 11: there is no column 'record.nope'; did you mean 'record.ok'?"),
        ("has(1)", "column 4: has() asks whether a column has a value; it takes a column"),
        ("has()", "column 4: has() takes one column"),
        ("'ä' == record.task && record.task.matches('[')", "column 43: invalid regular expression: missing ]: ["),
        (
            "record.size == 'x' && record.task > 1",
            "column 13: found no matching overload for '_==_' applied to '(int, string)'; "
            "column 35: found no matching overload for '_>_' applied to '(string, int)'",
        ),
        ("record.size * 0.5 > 1.0", "column 13: found no matching overload for '_*_' applied to '(int, double)'"),
    ],
)
def test_what_does_not_compile_is_pointed_at(expression: str, message: str) -> None:
    assert refusal(expression) == message


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (
            "record.ok &&\n record.ok &&\n  recor.size == 1",
            "line 3, column 8: there is no column 'recor.size'; did you mean 'record.size'?",
        ),
        ("\nrecord.ok && zz(1)", "line 2, column 16: there is no function 'zz'"),
        ("zz(1)\n", "column 3: there is no function 'zz'"),
        ("record.ok &&\n\n has('a')", "line 3, column 5: has() asks whether a column has a value; it takes a column"),
        ("record.ok ||\n record.task.matches('(')", "line 2, column 22: invalid regular expression: missing ): ("),
        ("'x'.matches(record.task) && 'x'.matches('[')", "column 41: invalid regular expression: missing ]: ["),
        ("has(record.task, 1)", "column 4: has() takes one column"),
        (
            "record.size > 'a' && record.ok < 1",
            "column 13: found no matching overload for '_>_' applied to '(int, string)'; "
            "column 32: found no matching overload for '_<_' applied to '(bool, int)'",
        ),
        ("(" * 100 + "true" + ")" * 100, "column 1: Expression recursion limit exceeded. limit: 32"),
        ("record.size == " + "+".join(["1"] * 200), "column 1: Exceeded max recursion depth of 32 when parsing."),
        (
            "record.ok" + " " * 100_000,
            "column 1: expression size exceeds codepoint limit. input size: 100009, limit: 100000",
        ),
        (
            "record.task == '\ud800'",
            "column 1: the expression is not Unicode text: it holds half of a surrogate pair",
        ),
    ],
)
def test_every_refusal_is_one_line_with_its_place(expression: str, message: str) -> None:
    assert refusal(expression) == message


def test_undeclared_columns_name_what_there_is_when_there_is_nothing() -> None:
    with pytest.raises(ConditionError, match=r"^column 1: there is no column 'a'; there are: no columns$"):
        Condition.compile("a == 1", {})


def test_null_is_asked_for_and_otherwise_fails() -> None:
    language = ["de", "fr", None]
    null = "record.language is null"
    assert outcome("has(record.language)", language=language) == [True, True, False]
    assert outcome("has ( record . language )", language=language) == [True, True, False]
    assert outcome("record.language == null", language=language) == [False, False, True]
    assert outcome("null != record.language", language=language) == [True, True, False]
    assert outcome('record.language == "de"', language=language) == [True, False, null]
    assert outcome('record.language != "de"', language=language) == [False, True, null]
    assert outcome('record.language in ["de"]', language=language) == [True, False, null]
    assert outcome('!(record.language == "de")', language=language) == [False, True, null]
    assert outcome('has(record.language) && record.language == "de"', language=language) == [True, False, False]
    assert outcome('record.language == "de" && has(record.language)', language=language) == [True, False, False]
    assert outcome('record.language == "de" || record.language == null', language=language) == [True, False, True]
    assert outcome('has(record.language) ? record.language == "de" : true', language=language) == [True, False, True]


def test_has_within_text_or_a_comment_is_text() -> None:
    quoted = """record.task == 'has(record.size)' || record.task == r"has(\\d" || record.task == '''has ('''// has(x"""
    assert outcome(quoted, task=["has(record.size)", "has(\\d", "has (", "hAs(record.size)"]) == [
        True,
        True,
        True,
        False,
    ]


def test_a_null_condition_fails() -> None:
    assert outcome("record.ok", ok=[True, False, None]) == [True, False, "record.ok is null"]
    assert outcome("record.ok ? null : record.ok", ok=[True, False]) == ["the result is null", False]


def test_integers_are_checked() -> None:
    size = [0, 1, -1, LOWEST, HIGHEST]
    over = "integer overflow"
    assert outcome("record.size + 1 > 0", size=size) == [True, True, False, False, over]
    assert outcome("record.size - 2 < 0", size=size) == [True, True, True, over, False]
    assert outcome("record.size * 2 >= 0", size=size) == [True, True, False, over, over]
    assert outcome("-record.size <= 0", size=size) == [True, True, False, over, True]
    assert outcome("10 / record.size == 10", size=size) == ["divide by zero", True, False, False, False]
    assert outcome("record.size / -1 == 1", size=size) == [False, False, True, over, False]
    assert outcome("10 % record.size == 0", size=size) == ["modulus by zero", True, True, False, False]
    assert outcome("-7 / record.size == 7 || -7 % 3 == 1", size=[-1, 2]) == [True, False]
    assert outcome("record.size > 0 || 1 / 0 > 1", size=[1, 0]) == [True, "divide by zero"]


def test_doubles_follow_ieee() -> None:
    score = [0.5, -0.0, math.nan, math.inf, None]
    null = "prediction.score is null"
    assert outcome("prediction.score > 0.25", score=score) == [True, False, False, True, null]
    assert outcome("prediction.score != prediction.score", score=score) == [False, False, True, False, null]
    assert outcome("1.0 / prediction.score < 0.0", score=score) == [False, True, False, False, null]
    assert outcome("prediction.score in [0.0, 0.5]", score=score) == [True, True, False, False, null]
    assert outcome("int(prediction.score) == 0", score=score)[2:4] == ["double out of int64 range"] * 2


def test_int_and_double_compare_as_doubles() -> None:
    assert outcome("record.size > 1.5", size=[1, 2]) == [False, True]
    assert outcome("prediction.score > 1", score=[1.0, 1.5]) == [False, True]
    assert outcome("record.size == 9007199254740992.0", size=[2**53, 2**53 + 1, 2**53 + 2]) == [True, True, False]
    assert outcome("record.size < 9223372036854775808.0", size=[HIGHEST, LOWEST]) == [False, True]
    assert outcome("record.size in [1.0, 2.5]", size=[1, 2]) == [True, False]
    assert outcome("double(record.size) * 0.5 == 1.5", size=[3, 2]) == [True, False]


def test_text() -> None:
    task = ["image", "", "ä😀", "a\nb"]
    assert outcome('record.task.startsWith("im")', task=task) == [True, False, False, False]
    assert outcome('record.task.endsWith("😀") || record.task.contains("mag")', task=task) == [True, False, True, False]
    assert outcome("size(record.task) == 2", task=task) == [False, False, True, False]
    assert outcome('record.task.matches("^b")', task=task) == [False] * 4
    assert outcome('record.task + "!" == "!"', task=task) == [False, True, False, False]
    assert outcome('record.task < "b"', task=task) == [False, True, False, True]


def test_what_arrow_cannot_say_is_left_to_cel() -> None:
    assert outcome("record.task.contains(record.language)", task=["abc", "abc", None], language=["b", "x", "b"]) == [
        True,
        False,
        "record.task is null",
    ]
    assert outcome("int(record.task) > 3", task=["4", "3", "x", "4"])[:2] == [True, False]
    assert outcome("[1, 2].exists(x, x == record.size)", size=[2, 3, None]) == [True, False, "record.size is null"]
    assert outcome("has(record.task) && record.task.contains(record.task)", task=["a", None]) == [True, False]


def test_cel_is_asked_once_for_each_distinct_combination(monkeypatch: pytest.MonkeyPatch) -> None:
    made = condition("record.task.contains(record.language) && record.size > 3")
    asked: list[dict[str, object]] = []
    program = type(made._program)
    run = program.run
    monkeypatch.setattr(program, "run", lambda self, values: asked.append(dict(values)) or run(self, values))
    columns = {
        "record.task": pa.array(["a", "b"] * 50),
        "record.language": pa.array(["a"] * 100),
        "record.size": pa.array(range(100)),
    }
    assert made.evaluate(columns, 100).true.true_count == 48
    assert asked == [{"record.task": "a", "record.language": "a"}, {"record.task": "b", "record.language": "a"}]


def test_distinct_tells_null_and_the_two_zeros_apart() -> None:
    first, group = distinct([pa.array([0.0, -0.0, None, 0.0, None]), pa.array(["a", "a", "a", "a", None])], 5)
    assert first.to_pylist() == [0, 1, 2, 4]
    assert group.to_pylist() == [0, 1, 2, 0, 3]
    assert distinct([], 0)[1].to_pylist() == []


def test_columns_may_be_chunked_encoded_or_narrow() -> None:
    encoded = pa.chunked_array([["de", None], ["fr"]]).dictionary_encode()
    assert outcome('record.language == "de"', language=encoded) == [True, "record.language is null", False]
    assert outcome("record.size + 1 > 200", size=pa.array([200, 255], pa.uint8())) == [True, True]
    assert outcome("prediction.score > 0.5", score=pa.array([1, 0], pa.int64())) == [True, False]
    assert outcome("has(record.language)", language=pa.nulls(2)) == [False, False]
    assert outcome("has(record.language)", language=pa.chunked_array([], pa.string())) == []
    assert outcome("record.size / 2 * 2 == 6", size=pa.array([6, 7], pa.int8())) == [True, True]
    assert outcome('record.task + "x" == "dex"', task=pa.array(["de"], pa.large_string())) == [True]


def test_a_number_that_a_double_cannot_hold_is_rounded_and_one_that_int64_cannot_is_refused() -> None:
    assert outcome("prediction.score == 9007199254740992.0", score=pa.array([2**53 + 1], pa.int64())) == [True]
    with pytest.raises(pa.ArrowInvalid, match="Integer value 9223372036854775808 not in range"):
        outcome("record.size == 1", size=pa.array([2**63], pa.uint64()))


def test_reasons_of_chunks_share_one_dictionary() -> None:
    size = pa.chunked_array([[1], [None], [0]], pa.int64())
    assert outcome("1 / record.size == 1", size=size) == [True, "record.size is null", "divide by zero"]


def test_a_condition_without_columns_is_the_same_for_all_rows() -> None:
    assert condition("1 < 2").evaluate({}, 3).true.to_pylist() == [True] * 3
    assert condition("1 / 0 == 1").evaluate({}, 2).messages.to_pylist() == ["divide by zero"] * 2


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"record.task": pa.array(["a"])},
            "the condition reads 'record.size', which the table does not have; it has ['record.task']",
        ),
        ({"record.size": pa.array([1])}, "column 'record.size' has 1 values for 2 rows"),
        ({"record.size": pa.array([1.0, 2.0])}, "column 'record.size' is of Arrow type double, but is declared as int"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(columns: dict[str, pa.Array], message: str) -> None:
    with pytest.raises(ConditionError) as raised:
        condition("record.size > 1").evaluate(columns, 2)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({"record.size": 3, "prediction.score": 0.5}, Verdict(True)),
        ({"record.size": 1, "prediction.score": None}, Verdict(False)),
        ({"prediction.score": 0.5}, Verdict(None, "record.size is null")),
        ({"record.size": "3", "prediction.score": 0.5}, Verdict(None, "record.size is str, not int")),
        ({"record.size": True, "prediction.score": 0.5}, Verdict(None, "record.size is bool, not int")),
        ({"record.size": 2**63, "prediction.score": 0.5}, Verdict(None, "record.size does not fit into 64 bits")),
        ({"record.size": 3, "prediction.score": 1}, Verdict(False)),
    ],
)
def test_one_record(values: dict[str, object], verdict: Verdict) -> None:
    assert condition("record.size > 2 && prediction.score < 1.0").evaluate_one(values) == verdict


def test_text_with_a_nul_is_not_cut() -> None:
    exact = condition('record.task == "a"')
    assert exact.evaluate_one({"record.task": "a\0b"}) == Verdict(False)
    left_to_cel = condition("record.task.contains(record.language)")
    assert left_to_cel.evaluate_one({"record.task": "a\0b", "record.language": "b"}) == Verdict(
        None, "record.task holds a NUL character, at which cel-expr-python 0.1.3 would cut it off"
    )


def test_other_columns_of_a_record_with_a_nul_are_checked_too() -> None:
    both = condition("record.task == 'a' && record.size == 1")
    assert both.evaluate_one({"record.task": "a\0", "record.size": None}) == Verdict(False)
    assert both.evaluate_one({"record.task": "a\0", "record.size": 2**70}) == Verdict(
        None, "Python int too large to convert to C long"
    )
    assert both.evaluate_one({"record.task": "\ud800\0", "record.size": 1}) == Verdict(
        None, "'utf-8' codec can't encode character '\\ud800' in position 0: surrogates not allowed"
    )
    sized = condition("record.task != 'a' && record.size + 1 == 200 && prediction.score == 1.0")
    found = sized.evaluate_one({"record.task": "a\0", "record.size": 199, "prediction.score": 1})
    assert found == Verdict(True)


def test_text_that_is_no_unicode_fails() -> None:
    assert condition('record.task == "a"').evaluate_one({"record.task": "\ud800"}) == Verdict(
        None, "record.task is not Unicode text"
    )


def test_equal_and_pickled_by_expression_and_columns() -> None:
    made = condition("record.size > 2")
    again = Condition.compile("record.size > 2", dict(reversed(COLUMNS.items())))
    assert made == again
    assert hash(made) == hash(again)
    assert made != condition("record.size > 3")
    assert made != Condition.compile("record.size > 2", {"record.size": "int"})
    copied = pickle.loads(pickle.dumps(made))
    assert copied == made
    assert copied.evaluate_one({"record.size": 3}) == Verdict(True)


def test_a_pickle_is_read_by_a_fresh_process() -> None:
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).evaluate_one({'record.size': 3}).value)"
    data = pickle.dumps(condition("record.size > 2"))
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
    assert done.stdout == b"True\n"
