"""The columns that conditions may use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_agentic.spec.workflow import ColumnType

RECORD_COLUMNS: Final[dict[str, ColumnType]] = {
    "record.record_id": "string",
    "record.position": "int",
    "record.kind": "string",
    "record.text": "string",
    "record.uri": "string",
    "record.task": "string",
    "record.language": "string",
    "record.max_latency_ms": "double",
    "record.max_cost": "double",
    "record.min_quality": "double",
}
"""``kind``, ``text`` and ``uri`` are those of the record's input."""

PREDICTION_COLUMNS: Final[dict[str, ColumnType]] = {
    "prediction.label": "string",
    "prediction.score": "double",
    "prediction.value": "double",
    "prediction.model": "string",
}

ARROW_TYPES: Final[dict[ColumnType, pa.DataType]] = {
    "string": pa.string(),
    "double": pa.float64(),
    "int": pa.int64(),
    "bool": pa.bool_(),
}


def column_type(type_: pa.DataType) -> ColumnType:
    """The condition type of an Arrow type.

    :raises ValueError: conditions have no such type.
    """
    if pa.types.is_boolean(type_):
        return "bool"
    if pa.types.is_integer(type_):
        return "int"
    if pa.types.is_floating(type_):
        return "double"
    if pa.types.is_string(type_) or pa.types.is_dictionary(type_) or pa.types.is_large_string(type_):
        return "string"
    raise ValueError(f"conditions cannot use a column of type {type_}")


def record_columns(features: Mapping[str, ColumnType]) -> dict[str, ColumnType]:
    """All of a record's columns, with the feature columns of the input and of preprocessing."""
    return {**RECORD_COLUMNS, **{f"record.{name}": type_ for name, type_ in features.items()}}


def gate_columns(columns: Mapping[str, ColumnType]) -> dict[str, ColumnType]:
    """What a gate's condition may use."""
    return {**columns, **PREDICTION_COLUMNS}
