"""Feature columns: the scalar fields a row brings beside its input, each of one type over the whole input.

The type of a column is decided once: by what the workflow declares, else by the file's own schema (Parquet), else by
the first value of the first chunk that is not null; integers become ``double`` where that chunk also has fractions,
and a column that is null throughout it is ``string``. After that, a value of another type and a column that was not
there before (or is beyond the first :data:`MAX_COLUMNS`) make their row an error: a condition over ``record.size`` must
mean one thing for every record.
"""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

from airflow_agentic.exceptions import RecordError

Scalar = str | bool | int | float | None

MAX_COLUMNS: Final = 1000
"""Every table of the run has all of them: an input that brings more is no table but a structure."""
INT64: Final = range(-(2**63), 2**63)
KINDS: Final = {"string": pa.string(), "double": pa.float64(), "int": pa.int64(), "bool": pa.bool_()}
"""The types a feature can have, by the name a spec uses."""


def scalar(name: str, value: object) -> Scalar:
    """``value`` as a plain scalar: NaN is null, dates are ISO text, decimals are floats.

    :raises RecordError: ``bad_record``: nested, bytes, infinite, beyond 64 bits, or text that is not Unicode.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return unicode_text(name, value)
    if isinstance(value, int):
        if value not in INT64:
            raise RecordError("bad_record", f"the field {name!r} holds a whole number beyond 64 bits; give it as text")
        return value
    if isinstance(value, decimal.Decimal):
        value = float(value)
    if isinstance(value, float):
        if math.isinf(value):
            raise RecordError("bad_record", f"the field {name!r} is infinite; give a finite number or null")
        return None if math.isnan(value) else value
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    raise RecordError(
        "bad_record",
        f"the field {name!r} holds {describe(value)}; a field beside the input is text, a number, true/false or null "
        "(put a structure under 'input')",
    )


def unicode_text(name: str, value: str) -> str:
    """``value``, unless it holds half of a surrogate pair, which no UTF-8 file can.

    :raises RecordError: ``bad_record``.
    """
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise RecordError(
                "bad_record", f"the field {name!r} is not Unicode text (a lone surrogate at character {error.start})"
            ) from error
    return value


def describe(value: object) -> str:
    """What kind of value it is, in a user's words."""
    if isinstance(value, bool):
        return "true/false"
    names: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (Mapping, "an object"),
        ((list, tuple, np.ndarray), "a list"),
        (bytes, "bytes"),
        (str, "text"),
        ((int, float), "a number"),
    )
    if value is None:
        return "null"
    return next((text for kind, text in names if isinstance(value, kind)), type(value).__name__)


class FeatureColumns:
    """The feature columns of an input, fixed by its first chunk."""

    def __init__(self, declared: Mapping[str, pa.DataType], hints: Mapping[str, pa.DataType]) -> None:
        """``declared`` columns exist whether or not a row has them; ``hints`` are types of columns that may come."""
        self._declared = declared
        self._hints = hints
        self._types: dict[str, pa.DataType] | None = None

    def decide(self, rows: Iterable[Mapping[str, Scalar]]) -> dict[str, pa.DataType]:
        """Names and types, in the order in which the first chunk has them; later calls do not look at ``rows``."""
        if self._types is None:
            found: dict[str, pa.DataType | None] = dict(self._declared)
            for row in rows:
                for name, value in row.items():
                    if name in found or len(found) < MAX_COLUMNS:
                        found[name] = _wider(found.get(name), value)
            fixed = {**self._hints, **self._declared}
            self._types = {name: fixed.get(name) or kind or pa.string() for name, kind in found.items()}
        return self._types

    def fit(self, row: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """``row`` with every value of its column's type.

        :raises RecordError: ``bad_record``: a value of another type, or a column that the first chunk had not.
        """
        types = self._types or {}
        return {name: _fit(name, value, types.get(name), types) for name, value in row.items()}


def _wider(known: pa.DataType | None, value: Scalar) -> pa.DataType | None:
    kind = _kind(value)
    if known is None or (known == pa.int64() and kind == pa.float64()):
        return kind
    return known


def _kind(value: Scalar) -> pa.DataType | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int):
        return pa.int64()
    return pa.float64() if isinstance(value, float) else pa.string()


def _fit(name: str, value: Scalar, kind: pa.DataType | None, types: Mapping[str, Any]) -> Scalar:
    if kind is None:
        if len(types) >= MAX_COLUMNS:
            raise RecordError(
                "bad_record",
                f"the field {name!r} is one too many: at most {MAX_COLUMNS:,} fields beside the input are kept; "
                "put them as one structure under 'input'",
            )
        known = ", ".join(types) or "none"
        raise RecordError(
            "bad_record", f"the field {name!r} is new here; the first records decide the features, which are: {known}"
        )
    if value is None or _kind(value) == kind:
        return value
    if kind == pa.float64() and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    raise RecordError(
        "bad_record", f"the field {name!r} is {kind} in the first records (or declared so) and {describe(value)} here"
    )
