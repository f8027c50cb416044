"""Models of the model server's tests; their folder is on ``PYTHONPATH`` there."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

HERE = os.getpid()


def label(text: str) -> Any:
    """What the text says."""
    if text == "die":
        os._exit(9)
    if text == "hang":
        threading.Event().wait()
    if text == "raise":
        raise KeyError(f"no {text}")
    return ("good" if "good" in text else "bad", 0.75)


class Double:
    """Twice each number, on arrays."""

    def run(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """``[rows, 3]`` to ``double [rows, 3]``."""
        (array,) = arrays.values()
        return {"double": array * 2.0}


class Slow:
    """Waits at its first load for as long as the file ``held`` beside it is there."""

    def __init__(self, held: str) -> None:
        while Path(held).exists():
            threading.Event().wait(0.05)

    def predict_one(self, text: str) -> Any:
        """Label a text."""
        return label(text)
