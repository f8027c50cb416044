"""Sentiment by lists of words."""

from __future__ import annotations

import pytest

from airflow_agentic.contrib.rules import KeywordSentiment
from airflow_agentic.exceptions import RecordError

MODEL = KeywordSentiment(positive=["good", "Great"], negative=["bad"], negations=["not", "don't"])


@pytest.mark.parametrize(
    ("text", "positive"),
    [
        ("good", 2 / 3),
        ("GOOD, and great!", 3 / 4),
        ("good but bad", 1 / 2),
        ("not good", 1 / 3),
        ("not so good", 1 / 3),
        ("not in the least good", 2 / 3),
        ("don't, not good", 2 / 3),
        ("not bad, good", 3 / 4),
        ("goodness is good", 2 / 3),
    ],
)
def test_words_and_negations_count(text: str, positive: float) -> None:
    assert MODEL.predict_one(text) == {"negative": pytest.approx(1 - positive), "positive": pytest.approx(positive)}


def test_a_negation_just_before_reaches_no_further_than_two_words() -> None:
    assert MODEL.predict_one("not at all good")["positive"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("text", ["", "blue sky", "goodbye"])
def test_a_text_without_a_rated_word_has_no_answer(text: str) -> None:
    with pytest.raises(RecordError, match=r"^the text has none of the card's words$") as caught:
        MODEL.predict_one(text)
    assert caught.value.code == "no_rated_word"
