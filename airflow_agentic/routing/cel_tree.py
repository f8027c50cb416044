"""The checked syntax tree of a CEL expression, read from and patched in its protobuf (``cel.expr.CheckedExpr``).

The few messages of a syntax tree do not justify a dependency on protobuf: this reads the wire format itself. Field
numbers are those of ``cel/expr/checked.proto`` and ``cel/expr/syntax.proto``, which may only grow; fields that are not
known here are kept as they are.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_agentic.spec.workflow import ColumnType

_PRIMITIVES: Final[dict[int, ColumnType]] = {1: "bool", 2: "int", 4: "double", 5: "string"}

# message → field → the message in it, for every way from an expression to the expressions in it
_NESTED: Final[dict[str, dict[int, str]]] = {
    "Expr": {5: "Select", 6: "Call", 7: "List", 8: "Struct", 9: "Comprehension"},
    "Select": {1: "Expr"},
    "Call": {1: "Expr", 3: "Expr"},
    "List": {1: "Expr"},
    "Struct": {2: "Entry"},
    "Entry": {3: "Expr", 4: "Expr"},
    "Comprehension": {2: "Expr", 4: "Expr", 5: "Expr", 6: "Expr", 7: "Expr"},
}


@dataclass(frozen=True, kw_only=True)
class Node:
    """One expression of the tree."""

    id: int
    kind: Literal["literal", "variable", "call", "list", "other"]
    type: ColumnType | None
    """Its type where that is one of a column's and cannot be null."""
    name: str = ""
    """Of the variable or the function; an operator's is its shape, as ``_&&_``."""
    value: str | float | bool | None = None
    """Of a literal; ``kind`` is ``other`` for literals that no column can hold (bytes, unsigned)."""
    args: tuple[Node, ...] = ()
    """Operands (the receiver first), elements, or the parts that see the same variables as the node."""
    inner: tuple[Node, ...] = ()
    """Parts of a comprehension that also see the variables in ``binds``."""
    binds: frozenset[str] = frozenset()
    raw: bytes = b""
    """The ``Expr`` message."""

    @property
    def is_null(self) -> bool:
        """Whether it is the literal ``null``."""
        return self.kind == "literal" and self.value is None

    def walk(self, bound: frozenset[str] = frozenset()) -> Iterator[tuple[Node, frozenset[str]]]:
        """This node and all below, each with the names that a comprehension around it binds."""
        yield self, bound
        for node in self.args:
            yield from node.walk(bound)
        for node in self.inner:
            yield from node.walk(bound | self.binds)

    def variables(self) -> frozenset[str]:
        """The names it reads from outside."""
        return frozenset(node.name for node, bound in self.walk() if node.kind == "variable" and node.name not in bound)


class CheckedTree:
    """A checked expression.

    :param serialized: what ``cel_expr_python.cel.Expression.serialize`` gives: a ``CheckedExpr`` within an ``Any``.
    """

    def __init__(self, serialized: bytes) -> None:
        self._url = b"".join(raw for number, _, raw in _fields(serialized) if number == 1)
        self._body = list(_fields(_message(serialized, 2)))
        self._types = {key: _primitive(value) for key, value in self._map(3)}
        self.root = self._node(self._single(4))

    def positions(self) -> dict[int, int]:
        """Where the node of an id stands: characters from the start of the expression, from 0."""
        entries = [_values(value) for number, value, _ in _fields(self._single(5)) if number == 4 and _is_bytes(value)]
        return {_number(entry.get(1)): _number(entry.get(2)) for entry in entries}

    def with_variables(self, names: Mapping[int, str]) -> bytes:
        """Serialize it with the nodes of these ids replaced by a variable each."""
        # of two references of one id the last counts, as in every map of protobuf's
        references = b"".join(
            _encode(2, _encode(1, node) + _encode(2, _encode(1, name.encode()))) for node, name in names.items()
        )
        return self._serialize(references + _encode(4, _substitute(self._single(4), "Expr", names)))

    def only(self, node: Node) -> bytes:
        """Serialize one node of it as an expression of its own."""
        return self._serialize(_encode(4, node.raw))

    def _serialize(self, changed: bytes) -> bytes:
        return self._url + _encode(2, b"".join(raw for number, _, raw in self._body if number != 4) + changed)

    def _single(self, wanted: int) -> bytes:
        return next((value for number, value, _ in self._body if number == wanted and _is_bytes(value)), b"")

    def _map(self, wanted: int) -> Iterator[tuple[int, bytes]]:
        for number, value, _ in self._body:
            if number == wanted and _is_bytes(value):
                entry = _values(value)
                yield _number(entry.get(1)), _bytes(entry.get(2))

    def _node(self, raw: bytes) -> Node:
        values = _values(raw)
        id_ = _number(values.get(2))
        type_ = self._types.get(id_)
        if 3 in values:
            known, literal = _literal(_bytes(values[3]))
            return Node(id=id_, kind="literal" if known else "other", type=type_, value=literal, raw=raw)
        if 4 in values:
            return Node(id=id_, kind="variable", type=type_, name=_text(_values(_bytes(values[4])).get(1)), raw=raw)
        if 6 in values:
            call = _bytes(values[6])
            name = _text(_values(call).get(2))
            return Node(id=id_, kind="call", type=type_, name=name, args=self._children(call, "Call"), raw=raw)
        if 7 in values:
            list_ = _bytes(values[7])
            kind: Literal["list", "other"] = "other" if 2 in _values(list_) else "list"  # 2: optional elements
            return Node(id=id_, kind=kind, type=type_, args=self._children(list_, "List"), raw=raw)
        if 9 in values:
            return self._comprehension(id_, type_, _bytes(values[9]), raw)
        return Node(id=id_, kind="other", type=type_, args=self._children(raw, "Expr"), raw=raw)

    def _comprehension(self, id_: int, type_: ColumnType | None, message: bytes, raw: bytes) -> Node:
        values = _values(message)
        outside = tuple(self._node(_bytes(values[number])) for number in (2, 4) if number in values)
        inside = tuple(self._node(_bytes(values[number])) for number in (5, 6, 7) if number in values)
        binds = frozenset(_text(values[number]) for number in (1, 3, 8) if number in values)
        return Node(id=id_, kind="other", type=type_, args=outside, inner=inside, binds=binds, raw=raw)

    def _children(self, message: bytes, kind: str) -> tuple[Node, ...]:
        found: list[Node] = []
        for number, value, _ in _fields(message):
            nested = _NESTED[kind].get(number)
            if nested is not None and _is_bytes(value):
                found.extend([self._node(value)] if nested == "Expr" else self._children(value, nested))
        return tuple(found)


def _substitute(message: bytes, kind: str, names: Mapping[int, str]) -> bytes:
    if kind == "Expr" and (id_ := _number(_values(message).get(2))) in names:
        return _encode(2, id_) + _encode(4, _encode(1, names[id_].encode()))
    out = b""
    for number, value, raw in _fields(message):
        nested = _NESTED[kind].get(number)
        out += _encode(number, _substitute(value, nested, names)) if nested and _is_bytes(value) else raw
    return out


def _primitive(type_: bytes) -> ColumnType | None:
    return _PRIMITIVES.get(_number(_values(type_).get(3)))


def _literal(constant: bytes) -> tuple[bool, str | float | bool | None]:
    """Whether a column can hold it (or it is null), and its value."""
    for number, value, _ in _fields(constant):
        if number == 1:
            return True, None
        if number == 2:
            return True, bool(value)
        if number == 3:
            return True, _signed(_number(value))
        if number == 5:
            return True, float(struct.unpack("<d", _bytes(value))[0])
        if number == 6:
            return True, _text(value)
    return False, None


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes, bytes]]:
    """Number, value and encoded form of each field; fixed-width values stay bytes."""
    at = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        value: int | bytes
        if key & 7 == 0:
            value, at = _varint(message, at)
        else:
            size, at = _varint(message, at) if key & 7 == 2 else ({1: 8, 5: 4}[key & 7], at)
            value, at = message[at : at + size], at + size
        yield key >> 3, value, message[start:at]


def _values(message: bytes) -> dict[int, int | bytes]:
    return {number: value for number, value, _ in _fields(message)}


def _message(message: bytes, wanted: int) -> bytes:
    return _bytes(_values(message).get(wanted))


def _is_bytes(value: int | bytes) -> TypeGuard[bytes]:
    return isinstance(value, bytes)


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _encode(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _encode_varint(number << 3) + _encode_varint(value)
    return _encode_varint(number << 3 | 2) + _encode_varint(len(value)) + value


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _number(value: int | bytes | None) -> int:
    return value if isinstance(value, int) else 0


def _bytes(value: int | bytes | None) -> bytes:
    return value if isinstance(value, bytes) else b""


def _text(value: int | bytes | None) -> str:
    return _bytes(value).decode()
