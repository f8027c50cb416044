"""A checked CEL expression as Arrow compute, for a million rows a second.

Every part of the tree becomes a function of a batch of rows whose result has a null where CEL has an error;
``and_kleene`` and ``or_kleene`` then absorb errors exactly as CEL does. Beside the values runs *why*: the reason's
number for each null.

What Arrow cannot express exactly is evaluated by CEL itself, the smallest such part alone, once for each distinct
combination of the columns that part reads (:mod:`airflow_agentic.routing.distinct`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic.routing.cel_check import HAS, NULL, Checked, column_of
from airflow_agentic.routing.distinct import distinct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_agentic.routing.cel_tree import Node
    from airflow_agentic.spec.workflow import ColumnType

ARROW: Final[dict[ColumnType, pa.DataType]] = {
    "string": pa.string(),
    "double": pa.float64(),
    "int": pa.int64(),
    "bool": pa.bool_(),
}
_LOWEST: Final = -(2**63)
_COMPARISONS: Final[dict[str, Any]] = {
    "_==_": pc.equal,
    "_!=_": pc.not_equal,
    "_<_": pc.less,
    "_<=_": pc.less_equal,
    "_>_": pc.greater,
    "_>=_": pc.greater_equal,
}
_DOUBLES: Final[dict[str, Any]] = {"_+_": pc.add, "_-_": pc.subtract, "_*_": pc.multiply, "_/_": pc.divide}
_TEXT_TESTS: Final[dict[str, Any]] = {
    "startsWith": pc.starts_with,
    "endsWith": pc.ends_with,
    "contains": pc.match_substring,
    "matches": pc.match_substring_regex,  # both are RE2, searching anywhere, with its default options
}


@dataclass(frozen=True)
class Column:
    """Values of some rows, or one value for all (a scalar)."""

    data: pa.Array | pa.Scalar
    """Null where there is no value."""
    why: pa.Array | pa.Scalar | None
    """int32: for each null of ``data`` its reason's number, null elsewhere; ``None`` where nothing is null."""


class Batch:
    """The columns of some rows, and the reasons found so far why something of them cannot be evaluated."""

    def __init__(self, columns: Mapping[str, pa.Array], rows: int) -> None:
        self.columns = columns
        self.rows = rows
        self.reasons: dict[str, int] = {}

    def reason(self, text: str) -> pa.Scalar:
        """The number of a reason."""
        return pa.scalar(self.reasons.setdefault(text, len(self.reasons)), pa.int32())


Run = Callable[[Batch], Column]


@dataclass(frozen=True)
class Part:
    """A part of the expression, translated."""

    type: ColumnType
    run: Run
    literal: str | float | bool | None = None
    """Its value, where it is one."""


class Translator:
    """Translates one expression; stateless after that."""

    def __init__(self, checked: Checked) -> None:
        self._checked = checked
        self._types = dict(checked.columns)

    def condition(self) -> Part:
        """The whole expression. CEL evaluates it where not even a part of it can be translated."""
        return self._part(self._checked.tree.root) or self._by_cel(self._checked.tree.root, "bool")

    def _part(self, node: Node) -> Part | None:
        part = self._translated(node)
        return part if part is not None or node.type is None else self._by_cel(node, node.type)

    def _by_cel(self, node: Node, type_: ColumnType) -> Part:
        return Part(type_, partial(_evaluate_distinct, self._checked.program(node), type_))

    def _translated(self, node: Node) -> Part | None:
        if node.kind == "literal":
            return _literal(node)
        if node.kind == "variable":
            return self._variable(node.name)
        if node.kind != "call":
            return None
        if node.name == "@in" and node.args[1].kind == "list":
            return self._membership(node)
        found = [self._part(arg) for arg in node.args]
        parts = [part for part in found if part is not None]
        return _call(node.name, parts) if len(parts) == len(found) else None

    def _variable(self, name: str) -> Part | None:
        column = column_of(name)
        if column not in self._types:
            return None
        if name.startswith((HAS, NULL)):
            test = pc.is_valid if name.startswith(HAS) else pc.is_null
            return Part("bool", lambda batch: Column(test(batch.columns[column]), None))
        return Part(self._types[column], partial(_read, column))

    def _membership(self, node: Node) -> Part | None:
        found = [self._part(arg) for arg in (node.args[0], *node.args[1].args)]
        parts = [part for part in found if part is not None]
        if len(parts) < len(found):
            return None
        needle, *elements = parts
        values = [element.literal for element in elements]
        if needle.type in {"string", "int"} and all(e.type == needle.type and e.literal is not None for e in elements):
            return Part("bool", partial(_is_in, needle, pa.array(values, ARROW[needle.type])))
        tests = [_compare("_==_", [needle, element]) for element in elements]
        known = [test for test in tests if test is not None]
        # a list is made before it is searched: an error in it, or in what is looked for, is an error of the whole
        return Part("bool", partial(_strict, _any, [needle, *known])) if len(known) == len(tests) else None


def _call(name: str, parts: list[Part]) -> Part | None:
    types = [part.type for part in parts]
    if name in {"_&&_", "_||_"}:
        return Part("bool", partial(_absorbing, pc.and_kleene if name == "_&&_" else pc.or_kleene, parts))
    if name == "!_":
        return Part("bool", partial(_strict, pc.invert, parts))
    if name == "_?_:_":
        return Part(types[1], partial(_choose, parts)) if types[1] == types[2] else None
    if name in _COMPARISONS:
        return _compare(name, parts)
    if name in _TEXT_TESTS and isinstance(parts[1].literal, str):
        return Part("bool", partial(_strict, partial(_TEXT_TESTS[name], pattern=parts[1].literal), parts[:1]))
    if name == "size" and types == ["string"]:
        return Part("int", partial(_strict, _size, parts))
    return _converted(name, parts, types) or _arithmetic(name, parts, types)


def _converted(name: str, parts: list[Part], types: list[ColumnType]) -> Part | None:
    if name in {"int", "double"} and types == [name]:
        return Part(types[0], parts[0].run)
    if name == "double" and types == ["int"]:
        return Part("double", partial(_strict, _as_double, parts))
    if name == "int" and types == ["double"]:
        return Part("int", partial(_checked, _truncate, parts))
    return None


def _arithmetic(name: str, parts: list[Part], types: list[ColumnType]) -> Part | None:
    if types == ["double", "double"] and name in _DOUBLES:
        return Part("double", partial(_strict, _DOUBLES[name], parts))
    if types == ["double"] and name == "-_":
        return Part("double", partial(_strict, pc.negate, parts))
    if types == ["string", "string"] and name == "_+_":
        return Part("string", partial(_strict, _join, parts))
    if types == ["int"] and name == "-_":
        return Part("int", partial(_checked, _negate, parts))
    if types == ["int", "int"] and name in _INTEGERS:
        return Part("int", partial(_checked, _INTEGERS[name], parts))
    return None


def _compare(name: str, parts: list[Part]) -> Part | None:
    types = [part.type for part in parts]
    if types[0] != types[1]:
        if set(types) != {"int", "double"}:
            return None
        parts = [_call("double", [part]) or part if part.type == "int" else part for part in parts]  # as CEL does
    return Part("bool", partial(_strict, _COMPARISONS[name], parts))


def _literal(node: Node) -> Part | None:
    if node.value is None or node.type is None:
        return None
    value = Column(pa.scalar(node.value, ARROW[node.type]), None)
    return Part(node.type, lambda _: value, node.value)


def _read(name: str, batch: Batch) -> Column:
    data = batch.columns[name]
    return Column(data, _number(data.is_null(), batch, f"{name} is null") if data.null_count else None)


def _number(failed: pa.Array | pa.Scalar, batch: Batch, reason: str) -> pa.Array | pa.Scalar:
    return pc.if_else(failed, batch.reason(reason), pa.scalar(None, pa.int32()))


def _first(*whys: pa.Array | pa.Scalar | None) -> pa.Array | pa.Scalar | None:
    known = [why for why in whys if why is not None]
    return pc.coalesce(*known) if len(known) > 1 else known[0] if known else None


def _strict(kernel: Callable[..., Any], parts: list[Part], batch: Batch) -> Column:
    """A function that has no value where an argument has none."""
    columns = [part.run(batch) for part in parts]
    return Column(kernel(*(column.data for column in columns)), _first(*(column.why for column in columns)))


def _absorbing(kernel: Callable[..., Any], parts: list[Part], batch: Batch) -> Column:
    left, right = (part.run(batch) for part in parts)
    data, why = kernel(left.data, right.data), _first(left.why, right.why)
    return Column(data, None if why is None else pc.if_else(pc.is_null(data), why, pa.scalar(None, pa.int32())))


def _choose(parts: list[Part], batch: Batch) -> Column:
    """``?:``, which does not look at the branch that it does not take."""
    test, yes, no = (part.run(batch) for part in parts)
    none = pa.scalar(None, pa.int32())
    branch = None
    if yes.why is not None or no.why is not None:
        branch = pc.if_else(test.data, none if yes.why is None else yes.why, none if no.why is None else no.why)
    return Column(pc.if_else(test.data, yes.data, no.data), _first(test.why, branch))


def _is_in(needle: Part, values: pa.Array, batch: Batch) -> Column:
    column = needle.run(batch)
    found = pc.is_in(column.data, value_set=values)
    return Column(found if column.why is None else pc.if_else(pc.is_valid(column.data), found, None), column.why)


def _any(needle: Any, *tests: Any) -> Any:
    found = pc.if_else(pc.is_valid(needle), False, None)
    for test in tests:
        found = pc.or_(found, test)
    return found


def _size(text: Any) -> Any:
    return pc.cast(pc.utf8_length(text), pa.int64())


def _as_double(number: Any) -> Any:
    return pc.cast(number, pa.float64(), safe=False)  # rounds to nearest, as C++ does


def _join(left: Any, right: Any) -> Any:
    return pc.binary_join_element_wise(left, right, "")


Failures = list[tuple[Any, str]]
"""Where the operation has no value, and why."""


def _checked(kernel: Callable[..., tuple[Any, Failures]], parts: list[Part], batch: Batch) -> Column:
    """A function with an integer as its result that can fail by itself."""
    columns = [part.run(batch) for part in parts]
    data, failures = kernel(*(column.data for column in columns))
    whys = [column.why for column in columns]
    for failed, reason in failures:
        if pc.any(failed).as_py() if isinstance(failed, pa.Array) else failed.as_py():
            data = pc.if_else(failed, pa.scalar(None, pa.int64()), data)
            whys.append(_number(failed, batch, reason))
    return Column(data, _first(*whys))


def _negate(number: Any) -> tuple[Any, Failures]:
    return pc.negate(number), [(pc.equal(number, _LOWEST), "integer overflow")]


def _truncate(number: Any) -> tuple[Any, Failures]:
    fits = pc.and_(pc.greater(number, -(2.0**63)), pc.less(number, 2.0**63))  # CEL leaves out the lowest int64, too
    whole = pc.cast(pc.if_else(fits, number, 0.0), pa.int64(), safe=False)
    return whole, [(pc.invert(fits), "double out of int64 range")]


def _add(left: Any, right: Any) -> tuple[Any, Failures]:
    total = pc.add(left, right)
    wrong = pc.bit_wise_and(pc.bit_wise_xor(left, total), pc.bit_wise_xor(right, total))
    return total, [(pc.less(wrong, 0), "integer overflow")]


def _subtract(left: Any, right: Any) -> tuple[Any, Failures]:
    difference = pc.subtract(left, right)
    wrong = pc.bit_wise_and(pc.bit_wise_xor(left, right), pc.bit_wise_xor(left, difference))
    return difference, [(pc.less(wrong, 0), "integer overflow")]


def _multiply(left: Any, right: Any) -> tuple[Any, Failures]:
    product = pc.multiply(left, right)
    back = pc.divide(product, _not_zero(left))
    wrong = pc.and_(pc.not_equal(left, 0), pc.not_equal(back, right))  # Arrow divides the lowest by -1 to 0
    return product, [(wrong, "integer overflow")]


def _divide(left: Any, right: Any) -> tuple[Any, Failures]:
    return pc.divide(left, _not_zero(right)), [(pc.equal(right, 0), "divide by zero"), _quotient_overflow(left, right)]


def _modulo(left: Any, right: Any) -> tuple[Any, Failures]:
    divisor = _not_zero(right)
    rest = pc.subtract(left, pc.multiply(pc.divide(left, divisor), divisor))
    return rest, [(pc.equal(right, 0), "modulus by zero"), _quotient_overflow(left, right)]


def _not_zero(number: Any) -> Any:
    return pc.if_else(pc.equal(number, 0), pa.scalar(1, pa.int64()), number)


def _quotient_overflow(left: Any, right: Any) -> tuple[Any, str]:
    return pc.and_(pc.equal(left, _LOWEST), pc.equal(right, -1)), "integer overflow"


_INTEGERS: Final[dict[str, Callable[..., tuple[Any, Failures]]]] = {
    "_+_": _add,
    "_-_": _subtract,
    "_*_": _multiply,
    "_/_": _divide,
    "_%_": _modulo,
}


def _evaluate_distinct(program: Any, type_: ColumnType, batch: Batch) -> Column:
    """By CEL, once for each distinct combination of what is read."""
    names = sorted(program.references)
    first, index = distinct([batch.columns[name] for name in names], batch.rows)
    columns = {name: batch.columns[name].take(first).to_pylist() for name in names}
    values, numbers = [], []
    for at in range(len(first)):
        value, reason = program.run({name: column[at] for name, column in columns.items()})
        values.append(value)
        numbers.append(None if reason is None else batch.reason(reason).as_py())
    why = pa.array(numbers, pa.int32())
    data = pa.array(values, ARROW[type_]).take(index)
    return Column(data, why.take(index) if why.null_count < len(why) else None)
