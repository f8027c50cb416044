"""What model cards and workflows share: strict pydantic models and errors that point into the file.

Must never import Airflow, a framework or a handler: specs are read by the Dag processor every few seconds.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError

from airflow_agentic.exceptions import Problem, SpecError
from airflow_agentic.spec.source import KeyPath, Source

API_VERSION: Final = "airflow-agentic/v1"
NAME_PATTERN: Final = r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"

Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=64)]
"""Lower-case letters, digits, ``-``, ``_`` and ``.``; it becomes part of file names, Airflow task ids and pod names."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def seconds(value: Any) -> float:
    """``"1.5s"``, ``"200ms"``, ``"7d"`` or a number of seconds, as seconds."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = re.fullmatch(r"([0-9.]+)\s*(ms|s|m|h|d|w)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a duration; write for example 200ms, 30s, 5m, 12h, 7d or 4w")
    return float(match[1]) * _UNITS[match[2]]


def size(value: Any) -> int:
    """``"64Mi"``, ``"1G"`` or a number of bytes, as bytes (Kubernetes' notation)."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = re.fullmatch(r"([0-9.]+)\s*(|k|M|G|T|Ki|Mi|Gi|Ti)B?", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a size; write for example 500k, 64Mi or 1Gi")
    return int(float(match[1]) * _SIZES[match[2]])


Seconds = Annotated[float, BeforeValidator(seconds, json_schema_input_type=str | float), Field(gt=0)]
Bytes = Annotated[int, BeforeValidator(size, json_schema_input_type=str | int), Field(gt=0)]


class Strict(BaseModel):
    """Immutable, and refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True)


class Spec(Strict):
    """A whole file: a model card or a workflow."""

    api_version: Literal["airflow-agentic/v1"] = Field(API_VERSION, alias="apiVersion")
    """Always ``airflow-agentic/v1``."""

    _source: Source = PrivateAttr(default_factory=Source)
    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    @property
    def source(self) -> Source:
        """Where its values stand."""
        return self._source

    @property
    def folder(self) -> Path:
        """The folder of its file: relative paths start here."""
        return self._folder

    def problem(self, path: KeyPath, message: str, hint: str | None = None) -> Problem:
        """A problem at ``path`` of this spec."""
        return self._source.problem(path, message, hint)


S = TypeVar("S", bound=Spec)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name a misspelt one most likely means."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def build(model: type[S], data: Any, source: Source, folder: Path) -> S:
    """Validate ``data`` as ``model``; every problem found is in the one :class:`SpecError`."""
    if not isinstance(data, dict):
        raise SpecError(source.problem((), f"expected a mapping, found {_kind(data)}"))
    try:
        spec = model.model_validate(data)
    except ValidationError as error:
        raise SpecError([_translate(model, source, data, item) for item in error.errors()]) from None
    spec._source = source
    spec._folder = folder
    return spec


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true/false", int: "a number", float: "a number"}
    return "nothing" if value is None else names.get(type(value), type(value).__name__)


def _translate(model: type[BaseModel], source: Source, data: Any, item: Any) -> Problem:
    """A pydantic error in our words."""
    path: KeyPath = tuple(item["loc"])
    kind, context, found = item["type"], item.get("ctx", {}), item.get("input")
    if kind == "extra_forbidden":
        known = _keys_at(model, path[:-1])
        near = nearest(str(path[-1]), known)
        hint = f"did you mean {near!r}?" if near else f"known here: {', '.join(sorted(known))}" if known else None
        return source.problem(path, f"{path[-1]!r} is not a key here", hint)
    if kind == "missing":
        return source.problem(path, f"is required: {path[-1]!r}")
    if kind in {"value_error", "assertion_error"}:
        message, _, hint = str(context.get("error", item["msg"])).partition("\n")
        return source.problem(path, message, hint or None)
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context.get("expected", ""))
        near = nearest(str(found), choices)
        hint = f"did you mean {near!r}?" if near else f"one of: {', '.join(choices)}"
        return source.problem(path, f"{found!r} is not possible here", hint)
    if kind == "string_pattern_mismatch":
        hint = "use lower-case letters, digits, '-', '_' and '.', at most 64" if NAME_PATTERN in item["msg"] else None
        return source.problem(path, f"{found!r} is not a valid name" if hint else item["msg"], hint)
    message = item["msg"][:1].lower() + item["msg"][1:]
    shown = repr(found) if not isinstance(found, dict | list) else _kind(found)
    return source.problem(path, f"{message}, found {shown}")


def _keys_at(model: Any, path: KeyPath) -> set[str]:
    """The keys that ``model`` knows at ``path``, by walking its annotations."""
    current = model
    for key in path:
        fields = _fields(current)
        if isinstance(key, str) and key in fields:
            current = fields[key].annotation
        elif isinstance(key, int):
            continue
    return set(_fields(current))


def _fields(annotation: Any) -> dict[str, Any]:
    """Fields by the name a user writes, of the first model inside ``annotation``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {info.alias or name: info for name, info in annotation.model_fields.items()}
    for argument in getattr(annotation, "__args__", ()):
        found = _fields(argument)
        if found:
            return found
    return {}
