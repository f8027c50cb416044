"""Distinct combinations of column values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence


def distinct(columns: Sequence[pa.Array], rows: int) -> tuple[pa.Array, pa.Array]:
    """Group the rows that hold the same values in all ``columns``; null is a value, and doubles are told apart by bits.

    :returns: for each group its first row; for each row its group, counted from 0 in the order they appear.
    """
    group = pa.array(np.zeros(rows, dtype=np.int64))
    for column in columns:
        value = column.view(pa.int64()) if pa.types.is_floating(column.type) else column
        encoded = value.dictionary_encode()
        code = pc.fill_null(pc.cast(encoded.indices, pa.int64()), len(encoded.dictionary))
        # numbered anew after each column, so that the product of two counts of at most 2**31 never overflows
        pair = pc.add(pc.multiply(group, len(encoded.dictionary) + 1), code)
        group = pc.cast(pair.dictionary_encode().indices, pa.int64())
    codes = group.to_numpy()
    first = np.empty(int(codes.max()) + 1 if rows else 0, dtype=np.int64)
    first[codes[::-1]] = np.arange(rows, dtype=np.int64)[::-1]
    return pa.array(first), group
