"""The campaign's model: slow enough to be killed at work, and what it says is known. Copied into the project.

A model's process imports it, so it imports nothing of this project.
"""

from __future__ import annotations

import hashlib
import os
import time


class Opinion:
    """Scores ``negative`` and ``positive`` by a hash of its mood and the text.

    :param mood: part of the hash, so that models differ.
    :param log: a file; every call appends ``time pid mood text``.
    :param seconds: a call takes so long.
    """

    def __init__(self, *, mood: str, log: str, seconds: float) -> None:
        self.mood = mood
        self.seconds = seconds
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def predict_one(self, text: str) -> dict[str, float]:
        """The scores of one text."""
        time.sleep(self.seconds)
        os.write(self._log, f"{time.time():.3f} {os.getpid()} {self.mood} {text}\n".encode())
        return scores(self.mood, text)


def scores(mood: str, text: str) -> dict[str, float]:
    """What the model with ``mood`` says of ``text``, always."""
    positive = int.from_bytes(hashlib.sha256(f"{mood} {text}".encode()).digest()[:4]) / 2**32
    return {"negative": 1.0 - positive, "positive": positive}
