"""What pydantic finds wrong, in our words and with its place in the file."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from airflow_agentic.exceptions import Problem
    from airflow_agentic.spec.source import KeyPath, Source

NAME_PATTERN: Final = r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"
HANDLER_PATTERN: Final = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
VERSION_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$"
SHA256_PATTERN: Final = r"^[0-9a-f]{64}$"
COLUMN_PATTERN: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"

_PATTERNS: Final = {
    NAME_PATTERN: (
        "a name",
        "use lower-case letters, digits, '-', '_' and '.', at most 64, a letter or digit at both ends",
    ),
    HANDLER_PATTERN: ("a handler", "write package.module:Name"),
    VERSION_PATTERN: ("a version", "use letters, digits, '.', '_', '+' and '-', at most 64"),
    SHA256_PATTERN: ("a SHA-256", "write its 64 lower-case hexadecimal digits"),
    COLUMN_PATTERN: ("a column that a condition can name", "use letters, digits and '_'; input.columns renames"),
}
_EXPECTED: Final = {
    "string_type": "text",
    "int_type": "a whole number", "int_parsing": "a whole number", "int_from_float": "a whole number",
    "float_type": "a number", "float_parsing": "a number",
    "bool_type": "true or false", "bool_parsing": "true or false",
    "list_type": "a list", "tuple_type": "a list",
    "dict_type": "a mapping", "model_type": "a mapping",
}  # fmt: skip
SHOWN_CHARACTERS: Final = 80
MAX_PROBLEMS: Final = 100
"""More are counted, not explained: explaining takes time, and nobody reads them all."""


class MisfitError(ValueError):
    """A rule between several keys is broken; raised by validators.

    :param message: what is wrong, and after a line end the way out.
    :param at: the key to point at, below the model that is validated.
    """

    def __init__(self, message: str, *, at: KeyPath = ()) -> None:
        super().__init__(message)
        self.at = at


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name a misspelt one most likely means."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def kind(value: Any) -> str:
    """What ``value`` is, in a reader's words."""
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true/false", int: "a number", float: "a number"}
    return "nothing" if value is None else names.get(type(value), type(value).__name__)


def problems(model: type[BaseModel], source: Source, errors: Sequence[Any]) -> list[Problem]:
    """Pydantic's ``errors`` as they stand in the file; the branches of a union become one problem.

    After the first :data:`MAX_PROBLEMS` errors one problem says how many more there are.
    """
    if len(errors) > MAX_PROBLEMS:
        more = source.problem((), f"has {len(errors) - MAX_PROBLEMS:,} more problems", "mend the others first")
        return [*problems(model, source, errors[:MAX_PROBLEMS]), more]
    places = [source.locate(error["loc"]) for error in errors]
    misspelt = {
        (*place[:-1], nearest(str(place[-1]), _keys_at(model, place[:-1]))) for place in _unknown(errors, places)
    }
    found: list[Problem] = []
    wrong: dict[KeyPath, list[Any]] = {}
    for error, place in zip(errors, places, strict=True):
        if error["type"] not in _EXPECTED:
            if error["type"] != "missing" or (*place, error["loc"][-1]) not in misspelt:
                found.append(_explain(model, source, error))
        elif not any(len(other) > len(place) and other[: len(place)] == place for other in places):
            wrong.setdefault(place, []).append(error)  # else another branch of the union failed further inside
    found += [_wrong_type(source, place, together) for place, together in wrong.items()]
    return sorted(found, key=lambda problem: (problem.line or 0, problem.column or 0))


def _unknown(errors: Sequence[Any], places: Sequence[KeyPath]) -> Iterator[KeyPath]:
    for error, place in zip(errors, places, strict=True):
        if error["type"] == "extra_forbidden":
            yield place


def _wrong_type(source: Source, place: KeyPath, errors: Sequence[Any]) -> Problem:
    """One value that has none of the types it could have."""
    expected = list(dict.fromkeys(_EXPECTED[error["type"]] for error in errors))
    value = errors[0]["input"]
    bare = expected == ["text"] and isinstance(value, int | float)
    hint = f'put it in quotes: "{in_short(value)}"' if bare else None
    return source.problem(place, f"expected {' or '.join(expected)}, found {in_short(value)}", hint)


def _explain(model: type[BaseModel], source: Source, error: Any) -> Problem:
    path: KeyPath = tuple(error["loc"])
    type_, context, found = error["type"], error.get("ctx", {}), error.get("input")
    if type_ == "extra_forbidden":
        hint = _one_of(str(path[-1]), _keys_at(model, path[:-1]), "known here")
        return source.problem(path, f"{path[-1]!r} is not a key here", hint, at_key=True)
    if type_ == "missing":
        return source.missing(path)
    if type_ == "value_error":
        message, _, hint = str(context["error"]).partition("\n")
        return source.problem((*path, *getattr(context["error"], "at", ())), message, hint or None)
    if type_ == "literal_error":
        hint = _one_of(str(found), re.findall(r"'([^']*)'", context["expected"]), "one of")
        return source.problem(path, f"{in_short(found)} is not possible here", hint)
    if type_ == "string_pattern_mismatch" and context["pattern"] in _PATTERNS:
        what, hint = _PATTERNS[context["pattern"]]
        return source.problem(path, f"{in_short(found)} is not {what}", hint, at_key=path[-1] == "[key]")
    if type_ == "too_short":
        at_least, length = context["min_length"], context["actual_length"]
        return source.problem(
            path, f"needs at least {at_least} {'entry' if at_least == 1 else 'entries'}, found {length}"
        )
    message = error["msg"].replace("Input should be", "must be")
    return source.problem(path, f"{message[:1].lower()}{message[1:]}, found {in_short(found)}")


def _one_of(name: str, known: Iterable[str], label: str) -> str | None:
    near = nearest(name, known)
    return f"did you mean {near!r}?" if near else f"{label}: {', '.join(known)}" if known else None


def in_short(value: Any) -> str:
    """``value`` as messages show it: short."""
    if value is None or isinstance(value, dict | list):
        return kind(value)
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def _keys_at(model: Any, path: KeyPath) -> list[str]:
    """The keys that ``model`` knows at ``path``, by walking its annotations."""
    current = model
    for key in path:
        fields = _fields(current)
        if key in fields:
            current = fields[key].annotation
    found = _model(current)
    return [*_fields(current), *getattr(found, "also_known", ())]


def _fields(annotation: Any) -> dict[Any, Any]:
    """Fields by the name a user writes, of the first model inside ``annotation``."""
    model = _model(annotation)
    return {info.alias or name: info for name, info in model.model_fields.items()} if model else {}


def _model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model(argument)
        if found is not None:
            return found
    return None
