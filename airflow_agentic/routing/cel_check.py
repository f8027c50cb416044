"""Compile CEL expressions against columns, and evaluate them for one record.

CEL itself (``cel-expr-python``, the C++ implementation) does both. Between the two the checked tree is changed: tests
for null become boolean variables (``has record.language``), so that evaluating is left with variables that are there
or are not. Importing CEL costs 30 ms and an environment 2 ms; environments are kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from cel_expr_python import cel

from airflow_agentic.exceptions import ConditionError
from airflow_agentic.routing.cel_declarations import HAS_FUNCTION, config
from airflow_agentic.routing.cel_tree import CheckedTree, Node

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_agentic.spec.workflow import ColumnType

Columns = tuple[tuple[str, "ColumnType"], ...]

HAS: Final = "has "
"""Prefix of the variable that says whether a column has a value; no name of CEL's contains a space."""

NULL: Final = "null "
"""Prefix of the variable that says whether a column is null."""

# What columns are declared as. Wrappers may be compared with null, and are otherwise what they wrap.
_WRAPPERS: Final[dict[ColumnType, Any]] = {
    "string": cel.Type("google.protobuf.StringValue"),
    "double": cel.Type("google.protobuf.DoubleValue"),
    "int": cel.Type("google.protobuf.Int64Value"),
    "bool": cel.Type("google.protobuf.BoolValue"),
}
_PYTHON: Final[dict[ColumnType, type]] = {"string": str, "double": float, "int": int, "bool": bool}
_INT64: Final = range(-(2**63), 2**63)

_QUOTED: Final = "|".join((r'"""[\s\S]*?"""', r"'''[\s\S]*?'''", r'"[^"\n]*"', r"'[^'\n]*'"))
_ESCAPED: Final = "|".join(
    (r'"""(?:\\.|[^\\])*?"""', r"'''(?:\\.|[^\\])*?'''", r'"(?:\\.|[^"\\\n])*"', r"'(?:\\.|[^'\\\n])*'")
)
_HAS_OR_TEXT: Final = re.compile(
    rf"//[^\n]*|\b(?:[rR][bB]?|[bB][rR])(?:{_QUOTED})|{_ESCAPED}|(?<![\w.])(?P<has>has)(?=\s*\()", re.DOTALL
)

_PROBLEM: Final = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
"""Line and column are -1 where CEL gives up on the expression as a whole."""
_STATUS: Final = re.compile(r"^[A-Z_]+: ")
_STATUS_BEHIND: Final = re.compile(r" \[[A-Z_]+\]$", re.MULTILINE)
_ABSENT: Final = re.compile(r'No value with name "(.+)" found in Activation')


@dataclass(frozen=True, kw_only=True)
class Checked:
    """An expression that compiles."""

    tree: CheckedTree
    """With tests for null as variables."""
    references: frozenset[str]
    """The columns it reads."""
    columns: Columns

    def program(self, node: Node | None = None) -> Program:
        """What evaluates ``node`` (all of it, where absent) for one record."""
        node = node or self.tree.root
        return Program(_runtime().deserialize(self.tree.only(node)), node.variables(), dict(self.columns))


class Program:
    """Evaluates an expression for one record, by CEL."""

    def __init__(self, expression: Any, variables: frozenset[str], columns: Mapping[str, ColumnType]) -> None:
        self._expression = expression
        self._reads = [
            (name, column, columns[column], name.startswith(HAS), name.startswith(NULL))
            for name in sorted(variables)
            if (column := column_of(name)) in columns
        ]
        self.references = frozenset(column for _, column, *_ in self._reads)

    def run(self, values: Mapping[str, object]) -> tuple[Any, str | None]:
        """The result, or ``None`` and why there is none. A column that is absent or ``None`` is null."""
        data: dict[str, object] = {}
        for name, column, type_, tests_has, tests_null in self._reads:
            value = values.get(column)
            if tests_has or tests_null:
                data[name] = (value is None) is tests_null
            elif value is not None:
                if type_ == "double" and type(value) is int:
                    value = float(value)
                wrong = _wrong_type(value, type_)
                if wrong is not None:
                    return None, f"{column} {wrong}"
                data[name] = value
        try:
            result = self._expression.eval(data=data)
        except RuntimeError as error:
            return None, reason(str(error))
        value = result.value()
        if isinstance(value, str) and result.type() == cel.Type.ERROR:  # comparing types takes as long as evaluating
            return None, reason(value)
        return value, "the result is null" if value is None else None


def _wrong_type(value: object, type_: ColumnType) -> str | None:
    if not isinstance(value, _PYTHON[type_]) or (type_ == "int" and isinstance(value, bool)):
        return f"is {type(value).__name__}, not {type_}"
    if isinstance(value, int) and value not in _INT64:
        return "does not fit into 64 bits"
    return _unreadable(value) if isinstance(value, str) else None


def _unreadable(text: str) -> str | None:
    if "\0" in text:
        return "holds a NUL character, at which cel-expr-python 0.1.3 would cut it off"
    return None if _encodable(text) else "is not Unicode text"


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def column_of(variable: str) -> str:
    """The column behind a variable of the changed tree."""
    return variable.removeprefix(HAS).removeprefix(NULL)


def reason(error: str) -> str:
    """CEL's runtime error as a reason: without its status code, a missing variable as a null."""
    absent = _ABSENT.search(error)
    return f"{absent[1]} is null" if absent else _STATUS.sub("", error)


def check(expression: str, columns: Columns) -> Checked:
    """Compile ``expression``.

    :raises ConditionError: it does not compile, is not a condition, or tests something else than a column for null.
    """
    if not _encodable(expression):
        raise ConditionError("column 1: the expression is not Unicode text: it holds half of a surrogate pair")
    try:
        compiled = _checker(columns).compile(_replace_has(expression))
    except RuntimeError as error:
        raise ConditionError(_explain(str(error), expression, [name for name, _ in columns])) from None
    type_ = compiled.return_type()
    if type_ != cel.Type.BOOL:
        raise ConditionError(f"column 1: a condition is true or false, but this is of type {_type_name(type_)}")
    tree = CheckedTree(compiled.serialize())
    names = {name for name, _ in columns}
    tests = dict(_null_tests(expression, tree, names))
    _check_patterns(expression, tree)
    changed = CheckedTree(tree.with_variables(tests))
    references = {column_of(name) for name in changed.root.variables()} & names
    return Checked(tree=changed, references=frozenset(references), columns=columns)


def _replace_has(expression: str) -> str:
    return _HAS_OR_TEXT.sub(lambda found: HAS_FUNCTION if found["has"] else found[0], expression)


def _type_name(type_: Any) -> str:
    return str(type_.name()).lower()


def _null_tests(expression: str, tree: CheckedTree, columns: set[str]) -> Iterator[tuple[int, str]]:
    """The nodes that ask whether a column is null, and the variables that answer."""
    for node, bound in tree.root.walk():
        operands = [arg.name for arg in node.args if arg.kind == "variable" and arg.name in columns - bound]
        if node.kind != "call":
            continue
        if node.name == HAS_FUNCTION:
            if not operands:
                where = _place(expression, tree.positions()[node.id])
                raise ConditionError(f"{where}: has() asks whether a column has a value; it takes a column")
            yield node.id, HAS + operands[0]
        elif node.name in {"_==_", "_!=_"} and operands and any(arg.is_null for arg in node.args):
            yield node.id, (NULL if node.name == "_==_" else HAS) + operands[0]


def _check_patterns(expression: str, tree: CheckedTree) -> None:
    """A literal regular expression that is none would fail for every record."""
    for node, _ in tree.root.walk():
        if node.kind == "call" and node.name == "matches" and isinstance(node.args[-1].value, str):
            result = _matcher().eval(data={"pattern": node.args[-1].value})
            if result.type() == cel.Type.ERROR:
                where = _place(expression, tree.positions()[node.args[-1].id])
                raise ConditionError(f"{where}: {reason(str(result.value()))}")


def _place(expression: str, offset: int) -> str:
    before = expression[:offset]
    return _shown(expression, before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)


def _shown(expression: str, line: int, column: int) -> str:
    return f"line {line}, column {column}" if "\n" in expression.rstrip() else f"column {column}"


def _explain(error: str, expression: str, names: list[str]) -> str:
    """CEL's compile errors in one line."""
    error = _STATUS_BEHIND.sub("", error)
    lines = expression.split("\n")
    problems = []
    for line, column, text in _PROBLEM.findall(error):
        where = max(int(line), 1), max(int(column), 1)
        text = text.replace(f"'{HAS_FUNCTION}'", "'has'")
        text = re.sub(r"wrapper\((\w+)\)", r"\1", text).partition(" expecting {")[0]
        undeclared = re.fullmatch(r"undeclared reference to '(.+)' \(in container ''\)", text)
        if undeclared:
            text = _undeclared(undeclared[1], names, called=lines[where[0] - 1][where[1] - 1 :].startswith("("))
        problems.append(f"{_shown(expression, *where)}: {text}")
    return "; ".join(dict.fromkeys(problems)) or f"column 1: {' '.join(_STATUS.sub('', error).split())}"


def _undeclared(name: str, names: list[str], *, called: bool) -> str:
    if name == "has":
        return "has() takes one column"
    if called:
        return f"there is no function {name!r}"
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(names)) or 'no columns'}"
    return f"there is no column {name!r}; {hint}"


@lru_cache(maxsize=64)
def _checker(columns: Columns) -> Any:
    variables = {name: _WRAPPERS[type_] for name, type_ in columns}
    return cel.NewEnv(config=cel.NewEnvConfigFromYaml(config()), variables=variables)


@lru_cache(maxsize=1)
def _runtime() -> Any:
    return cel.NewEnv()


@lru_cache(maxsize=1)
def _matcher() -> Any:
    return cel.NewEnv(variables={"pattern": cel.Type.STRING}).compile("''.matches(pattern)")
