"""Sentiment by the VADER lexicon (Hutto and Gilbert, ICWSM 2014; the package ``vaderSentiment``, MIT)."""

from __future__ import annotations

from typing import Any

from airflow_agentic.exceptions import MissingExtraError


class Vader:
    """Rates English text by its words: no training, about 40 µs a text.

    The lexicon was rated by people on tweets, among them the authors' own tweet set: a score on that set says nothing.
    """

    def __init__(self) -> None:
        self._analyzer: Any = None

    def load(self) -> None:
        """Read the lexicon.

        :raises MissingExtraError: ``vaderSentiment`` is not installed.
        """
        try:
            from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
        except ImportError as error:
            raise MissingExtraError("vaderSentiment", "examples") from error
        self._analyzer = SentimentIntensityAnalyzer()

    def predict_one(self, text: str) -> dict[str, float]:
        """``{"negative": p, "positive": 1 - p}``.

        VADER's compound score runs from -1 to 1; it is moved to 0 to 1. That orders texts, it is not calibrated: a text
        without any rated word gets 0.5.
        """
        positive = (1.0 + float(self._analyzer.polarity_scores(text)["compound"])) / 2.0
        return {"negative": 1.0 - positive, "positive": positive}

    def close(self) -> None:
        """Drop the lexicon."""
        self._analyzer = None
