"""What the CEL checker is told beyond its standard library.

CEL evaluates comparisons of int with double (both as double), but its checker refuses them: ``prediction.score > 1``
would be an error. The checker knows no conversions, so each pair of types is an overload, and a function of the
standard library can only be declared anew as a whole.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

HAS_FUNCTION: Final = "hAs"
"""Stands in for the macro ``has``, which refuses dotted variables; of the same length, so that columns stay right."""

_ANY: Final = "{type_name: A, is_type_param: true}"


@lru_cache(maxsize=1)
def config() -> str:
    """The configuration of the checking environment, as YAML."""
    numbers = [("int64", "int"), ("uint64", "uint"), ("double", "double")]
    others = [(name, name) for name in ("bool", "string", "bytes", "timestamp", "duration")]
    crossed = [("int64_double", "int", "double"), ("double_int64", "double", "int")]
    functions: dict[str, list[tuple[str, str, str]]] = {}
    for operator, name in {"_<_": "less", "_<=_": "less_equals", "_>_": "greater", "_>=_": "greater_equals"}.items():
        same = [(f"{name}_{short}", _declared(type_), _declared(type_)) for short, type_ in numbers + others]
        functions[operator] = same + [(f"{name}_{pair}", _declared(a), _declared(b)) for pair, a, b in crossed]
    for operator, name in {"_==_": "equals", "_!=_": "not_equals"}.items():
        same = [(name, _ANY, _ANY)]
        functions[operator] = same + [(f"{name}_{pair}", _declared(a), _declared(b)) for pair, a, b in crossed]
    functions["@in"] = [
        ("in_list", _ANY, _declared("list", _ANY)),
        ("in_map", _ANY, _declared("map", _ANY, "{type_name: B, is_type_param: true}")),
        *((f"in_{pair}", _declared(a), _declared("list", _declared(b))) for pair, a, b in crossed),
    ]
    lines = [
        "stdlib:",
        "  exclude_functions:",
        *(f'    - {{name: "{operator}"}}' for operator in functions),
        "functions:",
    ]
    for operator, overloads in functions.items():
        lines += [f'  - name: "{operator}"', "    overloads:"]
        lines += [f"      - {{id: {id_}, args: [{a}, {b}], return: {_declared('bool')}}}" for id_, a, b in overloads]
    lines += [f'  - name: "{HAS_FUNCTION}"', "    overloads:"]
    lines += [f"      - {{id: has_column, args: [{_declared('dyn')}], return: {_declared('bool')}}}"]
    return "\n".join(lines)


def _declared(name: str, *params: str) -> str:
    return f"{{type_name: {name}, params: [{', '.join(params)}]}}" if params else f"{{type_name: {name}}}"
