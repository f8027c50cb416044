"""The ids of records: derived where none was given, and never the same twice in one input."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

ID_DIGITS: Final = 16


def derive(content: bytes, position: int) -> str:
    """The id of a record that brings none: 16 hex digits of the SHA-256 of its content and position."""
    return hashlib.sha256(b"%d\x00%b" % (position, content)).hexdigest()[:ID_DIGITS]


class SeenIds:
    """The ids of an input so far, in 16 bytes each: 10 million records cost 160 MB, not the 1 GB of a set.

    It keeps hashes, in sorted runs that are merged as they grow alike. Two different ids of one 64-bit hash would be
    refused as if they were equal: once in 400,000 inputs of 10 million records, and not again in the next process,
    whose hashes are salted anew.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []

    def add(self, ids: Sequence[str], start: int) -> tuple[int, int] | None:
        """Add the ids of the positions from ``start``.

        :returns: the positions (earlier, later) of the first id that was there already, else ``None``.
        """
        hashes = np.fromiter(map(hash, ids), dtype=np.int64, count=len(ids))
        order = np.argsort(hashes, kind="stable")
        run = (hashes[order], order.astype(np.int64) + start)
        found = _within(*run)
        for earlier in self._runs:
            found += _between(earlier, run)
        while self._runs and len(self._runs[-1][0]) <= len(run[0]):
            run = _merge(self._runs.pop(), run)
        self._runs.append(run)
        return min(found, key=lambda pair: pair[1]) if found else None


def _within(hashes: npt.NDArray[np.int64], positions: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    at = np.flatnonzero(hashes[1:] == hashes[:-1])
    return [(int(positions[index]), int(positions[index + 1])) for index in at]


def _between(
    earlier: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    later: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
) -> list[tuple[int, int]]:
    at = np.minimum(np.searchsorted(earlier[0], later[0]), len(earlier[0]) - 1)
    hits = np.flatnonzero(earlier[0][at] == later[0])
    return [(int(earlier[1][at[index]]), int(later[1][index])) for index in hits]


def _merge(
    left: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    right: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    hashes = np.concatenate([left[0], right[0]])
    order = np.argsort(hashes, kind="stable")
    return hashes[order], np.concatenate([left[1], right[1]])[order]
