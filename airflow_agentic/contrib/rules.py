"""Sentiment by lists of words: no library, no training, no file; a first model to try a project with.

A card gives the words::

    runtime:
      framework: python
      handler: airflow_agentic.contrib.rules:KeywordSentiment
      args:
        positive: [good, wonderful]
        negative: [bad, awful]
        negations: [not, never]
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from airflow_agentic.exceptions import RecordError

REACH: Final = 2
"""A negation turns the next rated word, if that is at most this many places after it."""

_WORD: Final = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


class KeywordSentiment:
    """Counts a text's positive and negative words.

    :param positive: words, compared without case; ``negative`` likewise.
    :param negations: words that turn the rated word soon after them into its opposite.
    """

    def __init__(self, positive: Iterable[str], negative: Iterable[str], negations: Iterable[str] = ()) -> None:
        self._rated = {word.casefold(): 1 for word in positive} | {word.casefold(): -1 for word in negative}
        self._negations = frozenset(word.casefold() for word in negations)

    def predict_one(self, text: str) -> dict[str, float]:
        """``{"negative": 1 - p, "positive": p}`` where ``p`` is (positive words + 1) / (rated words + 2).

        One rated word gives 0.67, two that agree 0.75, three 0.8; two that disagree 0.5.

        :raises RecordError: ``no_rated_word``: the text has none, so nothing can be said of it.
        """
        words = [word.casefold() for word in _WORD.findall(text)]
        places = [place for place, word in enumerate(words) if word in self._rated]
        votes = [self._vote(words, before + 1, place) for before, place in pairwise([-1, *places])]
        if not votes:
            raise RecordError("no_rated_word", "the text has none of the card's words")
        positive = (votes.count(1) + 1) / (len(votes) + 2)
        return {"negative": 1.0 - positive, "positive": positive}

    def _vote(self, words: list[str], start: int, place: int) -> int:
        """1 or -1; ``start`` is where the words after the rated word before this one begin."""
        turned = sum(word in self._negations for word in words[max(start, place - REACH) : place]) % 2
        return -self._rated[words[place]] if turned else self._rated[words[place]]
