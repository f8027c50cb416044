"""Structs to rows of numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from airflow_agentic.exceptions import ModelLoadError, RecordError
from airflow_agentic.runtime import inputs
from airflow_agentic.runtime.encode import Encoded, each

if TYPE_CHECKING:
    import pyarrow as pa

    from airflow_agentic.spec.model import ModelCard


class TabularEncoder:
    """``(value - mean) / scale`` by column, as ``float32 [rows, columns]``.

    Errors of a record: ``missing_value`` (no value and no ``fill``), ``unknown_category``, ``bad_value`` (not a finite
    number, or text in a column of numbers).
    """

    def __init__(self, card: ModelCard) -> None:
        spec = card.runtime.tabular
        if spec is None:  # the card's own check refuses this
            raise ModelLoadError(f"model {card.name!r}: input 'tabular' needs runtime.tabular")
        self._columns = spec.columns
        self._fill = spec.fill
        self._categories = {
            column: {value: float(place) for place, value in enumerate(values)}
            for column, values in spec.categories.items()
        }
        self._mean = np.array(spec.mean or [0.0] * len(spec.columns))
        self._scale = np.array(spec.scale or [1.0] * len(spec.columns))
        self._name = card.runtime.input_name or ""

    def __call__(self, batch: pa.Table) -> Encoded:
        texts, errors = inputs.payloads(batch, "tabular")
        rows, errors = each(texts, errors, self.row)
        numbers = np.array(rows, np.float64).reshape(len(rows), len(self._columns))
        array = ((numbers - self._mean) / self._scale).astype(np.float32)
        return Encoded(arrays={self._name: array}, rows=len(rows), errors=errors)

    def row(self, text: str) -> list[float]:
        """The numbers of one record.

        :raises RecordError: see the class.
        """
        values = inputs.from_json(text)
        if not isinstance(values, Mapping):
            raise RecordError("wrong_input", f"the input is not a struct but {type(values).__name__}")
        return [self._number(column, values.get(column)) for column in self._columns]

    def _number(self, column: str, value: Any) -> float:
        if value is None:
            if column in self._fill:
                return self._fill[column]
            raise RecordError("missing_value", f"column {column!r} has no value, and runtime.tabular.fill none for it")
        known = self._categories.get(column)
        if known is not None:
            if not isinstance(value, str) or value not in known:
                raise RecordError("unknown_category", f"column {column!r} has {value!r}; known are {', '.join(known)}")
            return known[value]
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise RecordError("bad_value", f"column {column!r} has {value!r}, which is not a finite number")
        return float(value)
