"""Hypothesis strategies that several property tests share."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

CONDITION_COLUMNS = {
    "record.task": "string",
    "record.language": "string",
    "record.size": "int",
    "record.position": "int",
    "prediction.score": "double",
    "prediction.value": "double",
    "record.ok": "bool",
}
"""Two of most types, so that expressions compare columns with columns."""

TEXTS = ["", "de", "fr", "DE", "ä", "a\u0308", "😀", "de\x00", "a\nb", "z'\"\\"]
INTEGERS = [
    0,
    1,
    -1,
    2,
    3,
    7,
    10,
    2**31,
    2**53,
    2**53 + 1,
    -(2**53) - 1,
    2**62,
    3037000500,
    2**63 - 1,
    -(2**63),
    -(2**63) + 1,
]
DOUBLES = [
    0.0,
    -0.0,
    1.0,
    -1.5,
    -1000.25,
    0.1,
    2.0**53,
    2.0**63,
    -(2.0**63),
    1e308,
    5e-324,
    float("inf"),
    float("-inf"),
    float("nan"),
]

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

values: dict[str, st.SearchStrategy[Any]] = {
    "string": st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    "int": st.sampled_from(INTEGERS) | st.integers(-(2**63), 2**63 - 1),
    "double": st.sampled_from(DOUBLES) | st.floats(),
    "bool": st.booleans(),
}
"""By column type."""


def records(columns: dict[str, str]) -> st.SearchStrategy[dict[str, Any]]:
    """One value a column, or ``None``."""
    return st.fixed_dictionaries({name: st.none() | values[type_] for name, type_ in columns.items()})


def quoted(text: str) -> str:
    """``text`` as a CEL literal."""
    return '"' + "".join(f"\\U{ord(char):08x}" if char in '"\\\n\r' or ord(char) < 32 else char for char in text) + '"'


def _literal(type_: str) -> st.SearchStrategy[str]:
    if type_ == "string":
        return st.sampled_from(TEXTS).map(quoted)
    if type_ == "int":
        return st.sampled_from(INTEGERS).map(lambda number: f"({number})")
    if type_ == "double":
        finite = [repr(number) for number in DOUBLES if number - number == 0]
        return st.sampled_from([*(f"({text})" for text in finite), "(0.0 / 0.0)", "(1.0 / 0.0)"])
    return st.sampled_from(["true", "false"])


def _leaf(type_: str) -> st.SearchStrategy[str]:
    names = [name for name, declared in CONDITION_COLUMNS.items() if declared == type_]
    return st.sampled_from(names) | st.sampled_from(names) | _literal(type_)


def _join(template: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(lambda found: template.format(*found))


def _operator(
    left: st.SearchStrategy[str], right: st.SearchStrategy[str], operators: list[str]
) -> st.SearchStrategy[str]:
    return st.tuples(left, st.sampled_from(operators), right).map(lambda parts: f"({' '.join(parts)})")


def _values_of(type_: str, depth: int) -> st.SearchStrategy[str]:
    if depth == 0:
        return _leaf(type_)
    same, smaller = _values_of(type_, depth - 1), _leaf(type_)
    choice = _join("({} ? {} : {})", conditions(depth - 1), same, smaller)
    if type_ == "string":
        return _leaf(type_) | _operator(same, smaller, ["+"]) | choice
    other = _values_of("double" if type_ == "int" else "int", depth - 1)
    converted = _join(type_ + "({})", other)
    if type_ == "int":
        more = _operator(same, smaller, ["+", "-", "*", "/", "%"]) | _join("size({})", _values_of("string", depth - 1))
    else:
        more = _operator(same, smaller, ["+", "-", "*", "/"])
    return _leaf(type_) | more | _join("(-{})", same) | choice | converted


def conditions(depth: int = 3) -> st.SearchStrategy[str]:
    """CEL expressions of type bool over :data:`CONDITION_COLUMNS`, mostly of what Arrow can express."""
    texts, integers, doubles = (_values_of(type_, max(depth - 1, 0)) for type_ in ("string", "int", "double"))
    order = ["==", "!=", "<", "<=", ">", ">="]
    column = st.sampled_from(sorted(CONDITION_COLUMNS))
    flat = [
        _operator(texts, texts, order),
        _operator(integers, integers, order),
        _operator(doubles, doubles, order),
        _operator(integers, doubles, order),
        _operator(doubles, integers, order),
        _operator(_leaf("bool"), _leaf("bool"), order),
        _join("has({})", column),
        _join("({} == null)", column),
        _join("(null != {})", column),
        _join("({} in [{}, {}])", texts, _literal("string"), _literal("string")),
        _join("({} in [{}, {}])", integers, _literal("int"), integers),
        _join("({} in [{}, {}])", integers, _literal("int"), _literal("int")),
        _join("({} in [{}, {}])", doubles, _literal("double"), doubles),
        _join("({} in [{}])", integers, _literal("double")),
        _join("({} in [])", integers),
        st.tuples(texts, st.sampled_from(["startsWith", "endsWith", "contains"]), _leaf("string")).map(
            lambda parts: f"{parts[0]}.{parts[1]}({parts[2]})"
        ),
        st.tuples(texts, st.sampled_from(["^d", "e$", ".", "^.$", "(?i)de", "[^a-z]", "\\\\pL+"])).map(
            lambda parts: f'{parts[0]}.matches("{parts[1]}")'
        ),
        _join("[{}, 7].exists(x, x == {})", integers, integers),  # left to CEL
        _leaf("bool"),
    ]
    if depth == 0:
        return st.one_of(flat)
    below = conditions(depth - 1)
    joined = _operator(below, below, ["&&", "||"]), _operator(below, below, ["&&", "||"])
    return st.one_of(*flat, *joined, _join("!{}", below), _join("({} ? {} : {})", below, below, below))


_TOKENS = [
    *CONDITION_COLUMNS, *(f"({number})" for number in INTEGERS), "0.5", "1e308", "null", "true", "false", "'de'",
    "b'x'", "&&", "||", "!", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "?", ":", "in", "(", ")",
    "[", "]", "{", "}", ",", ".", "has(", "size(", "int(", "double(", "string(", "bool(", "type(", "dyn(", "duration(",
    "timestamp(", "'1s'", ".matches(", ".startsWith(", ".contains(", ".exists(x, ", ".all(x, ", ".map(x, ",
    ".filter(x, ", "x", "record", "2u", "r'''", '"""', "\\", "//", "\n", "\0", "\ud800", "😀",
]  # fmt: skip
_IN_USE = [
    'record.task == "image-classification" && record.size >= 64',
    "prediction.score >= 0.8 || record.size > 20",
    'has(record.language) && record.language != "en"',
    "record.task in ['de', 'fr'] ? prediction.score > 0.5 : record.ok",
]


def wild_text() -> st.SearchStrategy[str]:
    """What may stand where a condition is expected: tokens in any order, conditions cut and glued, something else where
    a column stood, any text."""
    whole = st.sampled_from(_IN_USE) | conditions(1)
    glued = st.tuples(whole, st.integers(0, 60), st.sampled_from(_TOKENS), whole, st.integers(0, 60)).map(
        lambda parts: parts[0][: parts[1]] + parts[2] + parts[3][parts[4] :]
    )
    other = st.sampled_from([*_TOKENS, "unheard_of", "unheard(record.ok)", "record.siz", "[]", "{}", "record.size[0]"])
    placed = st.tuples(whole, st.sampled_from(sorted(CONDITION_COLUMNS)), other).map(
        lambda parts: parts[0].replace(parts[1], parts[2])
    )
    tokens = st.lists(st.sampled_from(_TOKENS), max_size=12).map(" ".join)
    kinds = [whole, glued, placed, tokens, st.text(st.characters(), max_size=20)]
    return st.sampled_from(kinds).flatmap(lambda kind: kind)  # each as often as the others; one_of would flatten them


def regexes() -> st.SearchStrategy[str]:
    """Regular expressions, of which some are none."""
    parts = [
        "a", "d", "e", "ä", "😀", ".", "*", "+", "?", "^", "$", "|", "(", ")", "[a-e]", "[^d]", "{2}", r"\b", r"\d",
        r"\W", r"\pL", r"\PL", "(?i)", "(?s)", "(?m)", "(?:", r"\x00", r"\C", r"\1", "(?=", "[[:alpha:]]", r"\Q",
        "\n", r"\z", r"\A",
    ]  # fmt: skip
    return st.lists(st.sampled_from(parts), max_size=8).map("".join)
