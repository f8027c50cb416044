"""How a container ends: which code, and what Kubernetes keeps of the last error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_agentic.container.exits import MOST, Exit, LastWords
from airflow_agentic.exceptions import (
    ChecksumError,
    HandlerNotAllowedError,
    InputError,
    ModelLoadError,
    ModelMemoryError,
    ModelUnavailableError,
    PlanMismatchError,
    StoreError,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("no unit 3"), Exit.BAD_INPUT),
        (ModelLoadError("no weights"), Exit.BAD_MODEL),
        (ChecksumError("other bytes"), Exit.BAD_MODEL),
        (ModelUnavailableError("died"), Exit.RETRY),
        (StoreError("full"), Exit.RETRY),
        (RuntimeError("nobody foresaw it"), Exit.RETRY),
        (ModelMemoryError("was killed"), Exit.OUT_OF_MEMORY),
        (MemoryError(), Exit.OUT_OF_MEMORY),
        (PlanMismatchError("another Dag"), Exit.BAD_CONFIGURATION),
        (HandlerNotAllowedError("evil:Model"), Exit.BAD_CONFIGURATION),
    ],
)
def test_each_error_has_its_code(error: Exception, code: Exit) -> None:
    assert Exit.of(error) is code


def test_who_may_try_again() -> None:
    assert {code for code in Exit if code.retryable} == {Exit.RETRY, Exit.OUT_OF_MEMORY}


def test_the_last_words_are_read_back() -> None:
    words = LastWords.of(ModelLoadError("its weights are gone"))

    assert LastWords.parse(words.to_json()) == words
    assert words == LastWords(code=70, error="ModelLoadError", message="its weights are gone")


@pytest.mark.parametrize("letter", ["x", "ü", '"', "\U0001f600"])
def test_a_long_message_is_cut_to_what_kubernetes_keeps(letter: str) -> None:
    text = LastWords.of(ModelLoadError(letter * 20_000)).to_json()

    assert MOST - 100 < len(text.encode()) <= MOST
    assert set(json.loads(text)["message"]) == {letter}


@pytest.mark.parametrize("text", [None, "", "no JSON", "[]", "{}", '{"code": "x", "error": "", "message": ""}', "3"])
def test_other_texts_are_no_last_words(text: str | None) -> None:
    assert LastWords.parse(text) is None


def test_they_are_left_where_there_is_such_a_file(tmp_path: Path) -> None:
    words, path = LastWords.of(InputError("empty")), tmp_path / "termination-log"
    words.write(path)
    assert not path.exists()
    path.touch()
    words.write(path)
    assert LastWords.parse(path.read_text()) == words
