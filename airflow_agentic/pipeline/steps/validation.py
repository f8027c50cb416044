"""The step ``validate``: refuse records that no model should see."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from airflow_agentic.pipeline.steps.base import StepModel, input_field, register, usable, with_errors
from airflow_agentic.spec.base import Bytes  # pydantic reads it

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["text", "bytes", "uri", "struct", "tensor"]
Kinds = Annotated[tuple[Kind, ...], Field(min_length=1)]


@register("validate")
class Validate(StepModel):
    """Give records that break a rule an ``error``; the first rule broken is the one named."""

    kinds: Kinds | None = None
    """The kinds of input that are allowed."""
    max_bytes: Bytes | None = None
    """The largest input, as ``500k`` or ``5Mi``: of text as UTF-8, bytes, and structs and tensors as JSON. What a URI
    names is not opened; ``image_info`` gives the size of images."""
    required: tuple[str, ...] = ()
    """Columns that must not be null (``language``, a feature), or fields of a struct."""
    min_chars: int | None = Field(None, ge=1)
    """The shortest text, in characters; white space counts."""
    max_chars: int | None = Field(None, ge=1)
    """The longest text, in characters."""

    @model_validator(mode="after")
    def _has_rules(self) -> Validate:
        if not self.model_fields_set:
            raise ValueError(f"no rule is given\ngive at least one of: {', '.join(type(self).model_fields)}")
        if self.min_chars is not None and self.max_chars is not None and self.min_chars > self.max_chars:
            raise ValueError(f"min_chars {self.min_chars} is above max_chars {self.max_chars}\nswap them")
        return self

    def apply(self, records: pa.Table) -> pa.Table:
        """See :class:`~airflow_agentic.pipeline.steps.base.Step`."""
        if self.kinds is not None:
            kind = input_field(records, "kind")
            shown = f"', which is none of {', '.join(self.kinds)}"
            message = pc.binary_join_element_wise("the input is '", kind, shown, "", null_handling="replace")
            records = with_errors(records, "invalid_kind", pc.invert(usable(records, *self.kinds)), message)
        if self.max_bytes is not None:
            size = self._size(records)
            message = _measured("the input has ", size, f" bytes; at most {self.max_bytes:,} are allowed")
            records = with_errors(records, "too_large", pc.greater(size, self.max_bytes), message)
        for name in self.required:
            missing = pa.array(self._missing(records, name), pa.bool_())
            records = with_errors(records, "missing_field", missing, f"the field {name!r} is required and null here")
        return self._lengths(records)

    def apply_one(self, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """A record that breaks no rule passes; what is said of others is :meth:`apply`'s."""
        return record if record["error"] is not None or self._passes(record) else None

    def _passes(self, record: Mapping[str, Any]) -> bool:
        given = record["input"] or {"kind": None, "text": None, "data": None}
        if self.kinds is not None and given["kind"] not in self.kinds:
            return False
        held = given["text"].encode() if given["text"] is not None else given["data"] or b""
        if self.max_bytes is not None and len(held) > self.max_bytes:
            return False
        if any(_lacks(record, given, name) for name in self.required):
            return False
        if given["kind"] != "text":
            return True
        chars = len(given["text"])
        return (self.min_chars or 0) <= chars and (self.max_chars is None or chars <= self.max_chars)

    def _size(self, records: pa.Table) -> pa.Array:
        text = pc.binary_length(input_field(records, "text"))
        return pc.cast(pc.coalesce(text, pc.binary_length(input_field(records, "data"))), pa.int64())

    def _missing(self, records: pa.Table, name: str) -> list[bool]:
        if name in records.column_names:
            missing: list[bool] = records.column(name).is_null().to_pylist()
            return missing
        structs = pc.if_else(usable(records, "struct"), input_field(records, "text"), None).to_pylist()
        return [text is None or _field(text, name) is None for text in structs]

    def _lengths(self, records: pa.Table) -> pa.Table:
        chars = pc.cast(pc.utf8_length(input_field(records, "text")), pa.int64())
        is_text = usable(records, "text")
        if self.min_chars is not None:
            message = _measured("the text has ", chars, f" characters; at least {self.min_chars:,} are required")
            failed = pc.and_(is_text, pc.less(chars, self.min_chars))
            records = with_errors(records, "text_too_short", failed, message)
        if self.max_chars is not None:
            message = _measured("the text has ", chars, f" characters; at most {self.max_chars:,} are allowed")
            failed = pc.and_(is_text, pc.greater(chars, self.max_chars))
            records = with_errors(records, "text_too_long", failed, message)
        return records


def _measured(before: str, numbers: pa.Array, after: str) -> pa.Array:
    return pc.binary_join_element_wise(before, pc.cast(numbers, pa.string()), after, "", null_handling="replace")


def _lacks(record: Mapping[str, Any], given: Mapping[str, Any], name: str) -> bool:
    if name in record:
        return record[name] is None
    return given["kind"] != "struct" or _field(given["text"], name) is None


def _field(text: str, name: str) -> Any:
    value = json.loads(text)
    return value.get(name) if isinstance(value, dict) else None
