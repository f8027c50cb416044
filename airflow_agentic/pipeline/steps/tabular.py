"""Steps on struct records: ``impute`` and ``scale``, with constants that the workflow states.

They rewrite the struct's JSON. What a *model* was trained with (its own scaler) belongs to its card.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, FiniteFloat, StrictBool, StrictInt, StrictStr, model_validator

from airflow_agentic.exceptions import RecordError
from airflow_agentic.pipeline.steps.base import StepModel, input_field, register, usable, with_errors, with_texts

if TYPE_CHECKING:
    from collections.abc import Callable

Constant = StrictBool | StrictInt | FiniteFloat | StrictStr
Deviation = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@register("impute")
class Impute(StepModel):
    """Put a constant where a field of a struct is null or missing."""

    values: dict[str, Constant] = Field(min_length=1)
    """The field → its constant."""

    def apply(self, records: pa.Table) -> pa.Table:
        """See :class:`~airflow_agentic.pipeline.steps.base.Step`."""
        return _map_structs(records, self._fill)

    def _fill(self, struct: dict[str, Any]) -> dict[str, Any]:
        missing = {name: value for name, value in self.values.items() if struct.get(name) is None}
        return {**struct, **missing}


@register("scale")
class Scale(StepModel):
    """Standardise fields of a struct: ``(value - mean) / scale``; null stays null, text becomes an error."""

    mean: dict[str, FiniteFloat] = Field(min_length=1)
    """The field → its mean."""
    scale: dict[str, Deviation] = Field(min_length=1)
    """The field → its standard deviation."""

    @model_validator(mode="after")
    def _same_fields(self) -> Scale:
        lonely = sorted(self.mean.keys() ^ self.scale.keys())
        if lonely:
            raise ValueError(f"{', '.join(map(repr, lonely))} has only one of mean and scale\ngive both for each field")
        return self

    def apply(self, records: pa.Table) -> pa.Table:
        """See :class:`~airflow_agentic.pipeline.steps.base.Step`."""
        return _map_structs(records, self._standardise)

    def _standardise(self, struct: dict[str, Any]) -> dict[str, Any]:
        scaled = dict(struct)
        for name, mean in self.mean.items():
            value = struct.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float | None):
                raise RecordError("bad_field", f"the field {name!r} is {value!r}, not a number; it cannot be scaled")
            if value is not None:
                scaled[name] = (value - mean) / self.scale[name]
        return scaled


def _map_structs(records: pa.Table, change: Callable[[dict[str, Any]], dict[str, Any]]) -> pa.Table:
    """``records`` with ``change`` applied to their structs; where it refuses, the struct stays and has its error."""
    where = usable(records, "struct")
    texts = pc.if_else(where, input_field(records, "text"), pa.scalar(None, pa.string())).to_pylist()
    problems: list[str | None] = [None] * len(texts)
    for row, text in enumerate(texts):
        if text is None:
            continue
        try:
            changed = change(json.loads(text))
            texts[row] = json.dumps(changed, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except RecordError as error:
            problems[row] = str(error)
        except (OverflowError, ValueError) as error:
            problems[row] = f"a field of the struct is too large to be used ({error})"
    failed = pa.array(problems, pa.string())
    return with_errors(with_texts(records, pa.array(texts, pa.string()), where), "bad_field", failed.is_valid(), failed)
