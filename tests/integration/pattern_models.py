"""Light models for the pattern tests: cheap, deterministic, and mortal on request. Imported where a model runs."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

MARK = "far"
"""In the text of every record of the unit that gets lost."""
FIRST_LOST = 4
"""The position of the first of them."""


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
    """A stack's meta-model: the mean of its members' ``positive``. Its input has no text to mark."""

    def predict(self, batch: pa.Table) -> list[dict[str, float]]:
        if self.mortal and pc.max(batch.column("position")).as_py() >= FIRST_LOST:
            os._exit(9)
        return [_mean(json.loads(given["text"])) for given in batch.column("input").to_pylist()]


def _mean(scores: dict[str, float]) -> dict[str, float]:
    votes = [value for name, value in sorted(scores.items()) if name.endswith(".positive")]
    positive = sum(votes) / len(votes)
    return {"negative": 1.0 - positive, "positive": positive}
