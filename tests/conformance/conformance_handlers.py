"""The suite's models as our server's handlers."""

from __future__ import annotations

from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray[Any, Any]]


class Echo:
    """Gives its only input, whatever it is, as ``output``."""

    def run(self, arrays: Arrays) -> Arrays:
        (array,) = arrays.values()
        return {"output": array}


class Sum:
    """``sum`` [rows] of ``a`` and ``b``, FP32 [rows, 2]: by row, those of ``b`` ten times."""

    def run(self, arrays: Arrays) -> Arrays:
        return {"sum": arrays["a"].sum(axis=1) + 10 * arrays["b"].sum(axis=1)}


class Label:
    """Of each text ``label``, its first letter or ``-``, and ``length`` in characters."""

    def run(self, arrays: Arrays) -> Arrays:
        (array,) = arrays.values()
        texts = [one.decode() for one in array.tolist()]
        labels = np.array([text[:1] or "-" for text in texts], object)
        return {"label": labels, "length": np.array([len(text) for text in texts], np.int64)}
