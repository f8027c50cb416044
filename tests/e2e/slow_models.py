"""A model that takes its time, or memory, as its card says. In pods it lies on a volume."""

from __future__ import annotations

import atexit
import time
from typing import Any

from airflow_agentic.contrib.rules import KeywordSentiment


class Slow(KeywordSentiment):
    """Counts words.

    :param seconds: a record takes.
    :param linger: seconds the process lives on at its end.
    :param mebibytes: of memory that a record takes, and keeps.
    """

    def __init__(self, seconds: float = 0.0, linger: float = 0.0, mebibytes: int = 0, **words: Any) -> None:
        super().__init__(**words)
        self._seconds = seconds
        self._mebibytes = mebibytes
        self._kept: list[bytes] = []
        if linger:
            atexit.register(time.sleep, linger)

    def predict_one(self, text: str) -> dict[str, float]:
        """As of the words alone."""
        self._kept += [b"\1" * 2**20 for _ in range(self._mebibytes)]
        time.sleep(self._seconds)
        return super().predict_one(text)
