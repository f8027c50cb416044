"""Light models for the pattern tests: cheap, deterministic, and mortal on request. Imported where a model runs."""

from __future__ import annotations

import hashlib
import os
from typing import Any

MARK = "far"
"""In the text of every record of the unit that gets lost."""


class Opinion:
    """Scores ``negative`` and ``positive`` by a hash of its name and the text.

    :param mood: part of the hash, so that models differ.
    :param errs: raise for every text that ends in an even digit.
    :param broken: cannot be loaded.
    :param mortal: the process ends at the first record of the marked unit.
    """

    def __init__(self, *, mood: str, errs: bool = False, broken: bool = False, mortal: bool = False) -> None:
        self.mood = mood
        self.errs = errs
        self.broken = broken
        self.mortal = mortal

    def load(self) -> None:
        if self.broken:
            raise OSError("its weights are gone")

    def predict_one(self, given: Any) -> dict[str, float]:
        text = repr(given)
        if self.mortal and MARK in text:
            os._exit(9)
        if self.errs and text.rstrip("'")[-1] in "02468":
            raise ValueError("even")
        positive = int.from_bytes(hashlib.sha256(f"{self.mood} {text}".encode()).digest()[:4]) / 2**32
        return {"negative": 1.0 - positive, "positive": positive}


class Length(Opinion):
    """The first step of a chain: a JSON object instead of a label."""

    def predict_one(self, given: Any) -> dict[str, Any]:
        super().predict_one(given)
        return {"words": len(given.split()), "text": given}


class Meta(Opinion):
    """A stack's meta-model: the mean of its members' ``positive``."""

    def predict_one(self, given: Any) -> dict[str, float]:
        if self.mortal:
            os._exit(9)
        votes = [value for name, value in sorted(given.items()) if name.endswith(".positive")]
        positive = sum(votes) / len(votes)
        return {"negative": 1.0 - positive, "positive": positive}
