"""Steps on text: ``normalize_text``, ``truncate_text``, ``text_info``. Other kinds of input pass untouched."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from airflow_agentic.pipeline.steps.base import (
    StepModel,
    input_field,
    register,
    usable,
    usable_one,
    with_column,
    with_texts,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_SPACE: Final = r"\s\p{Z}\x{0B}\x{1C}-\x{1F}\x{85}"
"""What Unicode calls white space; RE2's own ``\\s`` knows only ASCII."""
_SPACES: Final = re.compile(r"\s+")
"""The same for Python."""
_FIRST_COMBINING: Final = "\N{COMBINING GRAVE ACCENT}"
"""NFC changes no text of characters before it only."""


@register("normalize_text")
class NormalizeText(StepModel):
    """One spelling for what reads the same: Unicode normal form, white space, and case if asked."""

    form: Literal["NFC", "NFKC"] = "NFC"
    """``NFKC`` also unifies what only looks different (ligatures, full-width letters)."""
    strip: bool = True
    """Drop white space at both ends."""
    collapse: bool = True
    """Each run of white space, line ends too, becomes one space."""
    lower: bool = False
    """Lower-case letters."""

    def apply(self, records: pa.Table) -> pa.Table:
        """See :class:`~airflow_agentic.pipeline.steps.base.Step`."""
        texts = pc.utf8_normalize(input_field(records, "text"), form=self.form)
        if self.collapse:
            texts = pc.replace_substring_regex(texts, f"[{_SPACE}]+", " ")
        if self.strip:
            texts = pc.replace_substring_regex(texts, rf"\A[{_SPACE}]+|[{_SPACE}]+\z", "")
        if self.lower:
            texts = pc.utf8_lower(texts)
        return with_texts(records, texts, usable(records, "text"))

    def apply_one(self, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Latin letters are their own normal form; other text is left to Arrow, whose Unicode version decides."""
        if not usable_one(record, "text"):
            return record
        text = record["input"]["text"]
        simple = text.isascii() or (self.form == "NFC" and not self.lower and max(text) < _FIRST_COMBINING)
        if not simple:
            return None
        if self.collapse:
            text = _SPACES.sub(" ", text)
        if self.strip:
            text = text.strip()
        return _with_text(record, text.lower() if self.lower else text)


@register("truncate_text")
class TruncateText(StepModel):
    """Keep the beginning of long texts."""

    chars: int = Field(ge=1)
    """How many characters (Unicode code points) to keep."""

    def apply(self, records: pa.Table) -> pa.Table:
        """See :class:`~airflow_agentic.pipeline.steps.base.Step`."""
        texts = pc.utf8_slice_codeunits(input_field(records, "text"), 0, self.chars)
        return with_texts(records, texts, usable(records, "text"))

    def apply_one(self, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """See :class:`~airflow_agentic.pipeline.steps.base.Step`."""
        return _with_text(record, record["input"]["text"][: self.chars]) if usable_one(record, "text") else record


@register("text_info")
class TextInfo(StepModel):
    """How long a text is: ``text_chars`` (code points) and ``text_words`` (runs of anything but white space)."""

    def columns(self) -> Mapping[str, pa.DataType]:
        """``text_chars`` and ``text_words``; null for inputs that are not text."""
        return {"text_chars": pa.int64(), "text_words": pa.int64()}

    def apply(self, records: pa.Table) -> pa.Table:
        """See :class:`~airflow_agentic.pipeline.steps.base.Step`."""
        texts = pc.if_else(usable(records, "text"), input_field(records, "text"), pa.scalar(None, pa.string()))
        chars = pc.cast(pc.utf8_length(texts), pa.int64())
        words = pc.cast(pc.count_substring_regex(texts, f"[^{_SPACE}]+"), pa.int64())
        return with_column(with_column(records, "text_chars", chars, pa.int64()), "text_words", words, pa.int64())

    def apply_one(self, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """See :class:`~airflow_agentic.pipeline.steps.base.Step`."""
        if not usable_one(record, "text"):
            return {**record, "text_chars": None, "text_words": None}
        text = record["input"]["text"]
        return {**record, "text_chars": len(text), "text_words": len(text.split())}


def _with_text(record: Mapping[str, Any], text: str) -> Mapping[str, Any]:
    return {**record, "input": {**record["input"], "text": text}}
