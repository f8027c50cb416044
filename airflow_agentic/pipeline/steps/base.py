"""The contract of preprocessing steps, and their registry.

A step belongs to the workflow, not to a model: it validates, cleans, and adds small columns that routing or several
models need. Turning a record into a tensor (decode, resize, tokenise) belongs to the model card and happens in the
model's process.

A step is a frozen model of its options. It must be a pure function of a batch: same rows in the same order, no state,
no network but for the record's own URI, and rows that already carry an ``error`` come out as they went in. Options are
read by the plan compiler, so this package imports no library of a step before the step is applied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ValidationError

from airflow_agentic import tables
from airflow_agentic.spec.base import Strict, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class Step(Protocol):
    """One step with its options."""

    def columns(self) -> Mapping[str, pa.DataType]:
        """The feature columns it adds, known without data: conditions may use them."""
        ...

    def apply(self, records: pa.Table) -> pa.Table:
        """The records after this step.

        :param records: columns of ``tables.RECORD`` and feature columns.
        :returns: the same rows in the same order, with :meth:`columns`; a row that fails has an ``error``.
        :raises MissingExtraError: a library that the step needs is not installed.
        """
        ...

    def apply_one(self, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """:meth:`apply` for a record in plain values, where that is simple; ``None`` where only :meth:`apply` can."""
        ...


class StepModel(Strict):
    """A step whose options are its fields."""

    def columns(self) -> Mapping[str, pa.DataType]:
        """None, unless a step says otherwise."""
        return {}

    def apply(self, records: pa.Table) -> pa.Table:
        """See :class:`Step`."""
        raise NotImplementedError

    def apply_one(self, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Left to :meth:`apply`, unless a step says otherwise."""
        return None


STEPS: Final[dict[str, type[StepModel]]] = {}
"""All steps by the name a workflow uses."""

M = TypeVar("M", bound=StepModel)


def register(name: str) -> Callable[[type[M]], type[M]]:
    """Enter a step under ``name``."""

    def enter(model: type[M]) -> type[M]:
        if name in STEPS:
            raise ValueError(f"the step {name!r} is registered twice, by {STEPS[name].__name__} and {model.__name__}")
        STEPS[name] = model
        return model

    return enter


def parse_step(name: str, options: Mapping[str, Any], *, allowed_handlers: Sequence[str] = ()) -> Step:
    """The step ``name`` with ``options``; nothing is imported for it.

    :param allowed_handlers: what the step ``handler`` may import when it is applied.
    :raises ValueError: ``"message\\nhint"``: no such step, or options it does not take.
    """
    model = STEPS.get(name)
    if model is None:
        near = nearest(name, STEPS)
        hint = f"did you mean {near!r}?" if near else f"one of: {', '.join(sorted(STEPS))}"
        raise ValueError(f"{name!r} is no preprocessing step\n{hint}")
    try:
        return model.model_validate(dict(options), context={"allowed_handlers": tuple(allowed_handlers)})
    except ValidationError as error:
        unknown_first = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
        raise ValueError(_explain(name, model, unknown_first[0])) from None


def step_schema() -> dict[str, Any]:
    """JSON Schema of one entry of a workflow's ``preprocess``: a step's name, or ``{name: options}``."""
    from airflow_agentic.spec.descriptions import DescribedSchema

    options = {name: model.model_json_schema(schema_generator=DescribedSchema) for name, model in sorted(STEPS.items())}
    bare = [name for name in options if _needs_none(name)]
    return {
        "oneOf": [
            {"enum": bare},
            {
                "type": "object",
                "properties": options,
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
            },
        ]
    }


def _needs_none(name: str) -> bool:
    try:
        parse_step(name, {})
    except ValueError:
        return False
    return True


def _explain(name: str, model: type[BaseModel], item: Any) -> str:
    """A pydantic error as ``"message\\nhint"``."""
    where = ".".join(map(str, (name, *item["loc"])))
    key = str(item["loc"][-1]) if item["loc"] else ""
    if item["type"] == "extra_forbidden":
        near = nearest(key, model.model_fields)
        known = ", ".join(model.model_fields) or "nothing"
        return f"the step {name!r} has no option {key!r}\n" + (
            f"did you mean {near!r}?" if near else f"it takes: {known}"
        )
    if item["type"] == "missing":
        from airflow_agentic.spec.descriptions import descriptions

        return f"the step {name!r} needs the option {key!r}\n{descriptions(model)[key]}"
    if item["type"] == "value_error":
        message, _, hint = str(item["ctx"]["error"]).partition("\n")
        return f"{where}: {message}" + (f"\n{hint}" if hint else "")
    return f"{where}: {item['msg'][:1].lower()}{item['msg'][1:]}, found {item['input']!r}"


def input_field(records: pa.Table, name: str) -> pa.Array:
    """``kind``, ``text``, ``data`` or ``uri`` of every record's input; null where there is none."""
    return _one(pc.struct_field(records.column("input"), name))


def usable(records: pa.Table, *kinds: str) -> pa.BooleanArray:
    """Which rows have no error and, where ``kinds`` are given, an input of one of them; never null."""
    clean = _one(pc.is_null(records.column("error")))
    if not kinds:
        return clean
    return pc.and_(clean, pc.fill_null(pc.is_in(input_field(records, "kind"), pa.array(kinds)), False))


def usable_one(record: Mapping[str, Any], *kinds: str) -> bool:
    """:func:`usable` of one record in plain values."""
    given = record["input"]
    return record["error"] is None and given is not None and given["kind"] in kinds


def with_column(records: pa.Table, name: str, values: Any, kind: pa.DataType) -> pa.Table:
    """``records`` with the column ``name``, in its place where there is one."""
    array = values if isinstance(values, pa.Array) else pa.array(values, kind)
    index = records.schema.get_field_index(name)
    if index < 0:
        return records.append_column(pa.field(name, kind), array)
    return records.set_column(index, pa.field(name, kind), array)


def with_texts(records: pa.Table, texts: pa.Array, where: pa.BooleanArray) -> pa.Table:
    """``records`` with ``texts`` as their inputs' text in the rows ``where``."""
    inputs = _one(records.column("input"))
    fields = {field.name: _one(pc.struct_field(inputs, field.name)) for field in tables.INPUT}
    fields["text"] = pc.if_else(where, texts, fields["text"])
    changed = pa.StructArray.from_arrays(
        list(fields.values()), fields=list(tables.INPUT), mask=_one(pc.is_null(inputs))
    )
    return with_column(records, "input", changed, tables.INPUT)


def with_errors(records: pa.Table, code: str, failed: pa.BooleanArray, message: str | pa.Array) -> pa.Table:
    """``records`` with an error in the rows that ``failed``; earlier errors stay."""
    new = pc.fill_null(pc.and_(failed, usable(records)), False)
    if not pc.any(new).as_py():
        return records
    rows = len(records)
    messages = pa.array([message] * rows, pa.string()) if isinstance(message, str) else message
    columns = [pa.array([code] * rows, pa.string()), messages, pa.array([False] * rows)]
    errors = pa.StructArray.from_arrays(columns, fields=list(tables.ERROR))
    merged = pc.if_else(new, errors, _one(records.column("error")))
    return with_column(records, "error", merged, tables.ERROR)


def _one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
