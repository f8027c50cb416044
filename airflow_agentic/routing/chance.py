"""Chance that a retry and the other executor meet alike: a hash of a record's value, the seed and what it is for."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    Rows = npt.NDArray[np.int64]


def chance(column: pa.ChunkedArray, rows: Rows, seed: int, purpose: str) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each of ``rows``: a hash of the value, the seed and what it is for."""
    key = _key(seed, purpose)
    digests = b"".join(_hashed(value, key) for value in column.take(pa.array(rows)).to_pylist())
    return (np.frombuffer(digests, dtype="<u8") >> np.uint64(11)).astype(np.float64) / 2.0**53


def chance_of(value: object, seed: int, purpose: str) -> float:
    """:func:`chance` of one value."""
    return (int.from_bytes(_hashed(value, _key(seed, purpose)), "little") >> 11) / 2.0**53


def _key(seed: int, purpose: str) -> bytes:
    return f"{purpose}:{seed}".encode()[:64]


def _hashed(value: object, key: bytes) -> bytes:
    return blake2b(str(value).encode(), digest_size=8, key=key).digest()
