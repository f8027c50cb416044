"""What model cards and workflows share: strict pydantic models and errors that point into the file.

Must never import Airflow, a framework or a handler: specs are read by the Dag processor every few seconds.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError

from airflow_agentic.exceptions import SpecError
from airflow_agentic.spec.explain import NAME_PATTERN, in_short, kind, problems
from airflow_agentic.spec.explain import nearest as nearest
from airflow_agentic.spec.source import Source

if TYPE_CHECKING:
    from airflow_agentic.exceptions import Problem
    from airflow_agentic.spec.source import KeyPath

API_VERSION: Final = "airflow-agentic/v1"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""Lower-case letters, digits, ``-``, ``_`` and ``.``; it becomes part of file names, Airflow task ids and pod names."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_MAX_SECONDS = 1e12
_MIN_RETENTION = 3600


_NUMBER = r"([0-9]{1,18}(?:\.[0-9]{1,18})?)"


def seconds(value: Any) -> float:
    """``"1.5s"``, ``"200ms"``, ``"7d"`` or a number of seconds, as seconds."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MAX_SECONDS:
        return float(value)
    match = re.fullmatch(rf"{_NUMBER}\s*(ms|s|m|h|d|w)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{in_short(value)} is not a duration\nwrite for example 200ms, 30s, 5m, 12h, 7d or 4w")
    return float(match[1]) * _UNITS[match[2]]


def retention(value: Any) -> float:
    """How long a run is kept, as :func:`seconds`: at least an hour."""
    kept = seconds(value)
    if kept < _MIN_RETENTION:
        message = f"{in_short(value)} is less than an hour, and could end a run that is under way"
        raise ValueError(f"{message}\nwrite for example 30d; a number alone is seconds")
    return kept


def size(value: Any) -> int:
    """``"64Mi"``, ``"1G"`` or a number of bytes, as bytes (Kubernetes' notation)."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = re.fullmatch(rf"{_NUMBER}\s*(|k|M|G|T|Ki|Mi|Gi|Ti)B?", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{in_short(value)} is not a size\nwrite for example 500k, 64Mi or 1Gi")
    return int(float(match[1]) * _SIZES[match[2]])


Seconds = Annotated[float, BeforeValidator(seconds, json_schema_input_type=str | float), Field(gt=0)]
Retention = Annotated[float, BeforeValidator(retention, json_schema_input_type=str | float)]
Bytes = Annotated[int, BeforeValidator(size, json_schema_input_type=str | int), Field(gt=0)]


class Strict(BaseModel):
    """Immutable, and refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False, defer_build=True)


class Spec(Strict):
    """A whole file: a model card or a workflow."""

    api_version: Literal["airflow-agentic/v1"] = Field(default=API_VERSION, alias="apiVersion")
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


def build(model: type[S], data: Any, source: Source, folder: Path) -> S:
    """Validate ``data`` as ``model``; every problem found is in the one :class:`SpecError`."""
    source = source if source.values else source.over(data)
    if not isinstance(data, dict):
        raise SpecError(source.problem((), f"expected a mapping, found {kind(data)}"))
    try:
        spec = model.model_validate(data)
    except ValidationError as error:
        raise SpecError(problems(model, source, error.errors())) from None
    spec._source = source
    spec._folder = folder
    return spec
