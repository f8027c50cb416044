"""Columns of texts of which few are different: dictionary arrays (``tables.NAME``), so that each text is made once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from airflow_agentic import tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_agentic.pipeline.pool import Ints


def coded(codes: Ints, texts: Sequence[str]) -> pa.DictionaryArray:
    """``texts`` by their place; -1 is null."""
    return pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32), mask=codes < 0), pa.array(texts, pa.string())
    )


def codes_of(texts: pa.ChunkedArray | pa.Array) -> tuple[Ints, list[str]]:
    """The reverse of :func:`coded`."""
    column = texts if isinstance(texts, pa.ChunkedArray) else pa.chunked_array([texts])
    whole = column.cast(tables.NAME).unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # of no chunks
        return np.empty(0, np.int64), []
    return whole.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64), whole.dictionary.to_pylist()


def spread(texts: pa.ChunkedArray | pa.Array, rows: Ints, count: int) -> pa.DictionaryArray:
    """``texts`` at ``rows`` of ``count``, null elsewhere."""
    codes, words = codes_of(texts)
    everywhere = np.full(count, -1, dtype=np.int64)
    everywhere[rows] = codes
    return coded(everywhere, words)


def joined(first: pa.DictionaryArray, second: pa.DictionaryArray, separator: str = "; ") -> pa.DictionaryArray:
    """Row by row ``first; second``; a null or empty one adds nothing, both give null."""
    (one, firsts), (two, seconds) = codes_of(first), codes_of(second)
    size = len(seconds) + 1
    pairs = pa.array((one + 1) * size + two + 1).dictionary_encode()
    texts: dict[str, int] = {}
    number = []
    for pair in pairs.dictionary.to_pylist():
        parts = [firsts[pair // size - 1] if pair >= size else "", seconds[pair % size - 1] if pair % size else ""]
        text = separator.join(part for part in parts if part)
        number.append(texts.setdefault(text, len(texts)) if text else -1)
    return coded(np.array(number, dtype=np.int64)[pairs.indices.to_numpy()], list(texts))
