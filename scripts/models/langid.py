"""The language identification data: sentences of the wheel ``eld`` (Apache-2.0), 100 in each of 46 languages.

Left out are the 14 languages that one of the usual detectors cannot answer, so that detectors are compared on what
all of them know. Nothing is built: both models come with their packages.
"""

from __future__ import annotations

from typing import Final

from scripts.models.base import member

PER_LANGUAGE: Final = 100
LEFT_OUT: Final = frozenset(["am", "az", "be", "eu", "hy", "is", "ka", "kn", "ku", "lo", "ml", "or", "sr", "yo"])
CLOSE: Final = {"ms": {"ms", "id"}, "hr": {"hr", "bs"}}
"""Languages whose sentences are as often right in another: Malay and Indonesian, Croatian and Bosnian."""
_SHORT_WORDS, _SHORT_CHARACTERS = 3, 24


def sentences() -> list[tuple[str, set[str]]]:
    """4,600 sentences and the codes that are right for each."""
    found: dict[str, list[str]] = {}
    for line in member("eld", "tests/data/big-test.txt").decode().splitlines():
        code, _, text = line.partition("\t")
        if text and code not in LEFT_OUT and len(found.setdefault(code, [])) < PER_LANGUAGE:
            found[code].append(text)
    return [(text, CLOSE.get(code, {code})) for code, texts in sorted(found.items()) for text in texts]


def shortened(text: str) -> str:
    """The first words: what a search box or a chat sees."""
    return " ".join(text.split()[:_SHORT_WORDS])[:_SHORT_CHARACTERS]
