"""Steps on text: ``normalize_text``, ``truncate_text``, ``text_info``. Other kinds of input pass untouched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from airflow_agentic.pipeline.steps.base import StepModel, input_field, register, usable, with_column, with_texts

if TYPE_CHECKING:
    from collections.abc import Mapping

_SPACE: Final = r"\s\p{Z}\x{0B}\x{1C}-\x{1F}\x{85}"
"""What Unicode calls white space; RE2's own ``\\s`` knows only ASCII."""


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


@register("truncate_text")
class TruncateText(StepModel):
    """Keep the beginning of long texts."""

    chars: int = Field(ge=1)
    """How many characters (Unicode code points) to keep."""

    def apply(self, records: pa.Table) -> pa.Table:
        """See :class:`~airflow_agentic.pipeline.steps.base.Step`."""
        texts = pc.utf8_slice_codeunits(input_field(records, "text"), 0, self.chars)
        return with_texts(records, texts, usable(records, "text"))


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
