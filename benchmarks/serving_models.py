"""Models of the serving benchmarks."""

from __future__ import annotations

from typing import Any


class Sum:
    """The sum of each row's numbers, on arrays."""

    def run(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """``[rows, …]`` to ``sum [rows]``."""
        (array,) = arrays.values()
        return {"sum": array.reshape(len(array), -1).sum(axis=1)}
