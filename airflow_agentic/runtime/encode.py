"""Records to arrays, as the card's ``runtime`` says.

One encoder a card, made when the model is loaded. A record that cannot be encoded gets an error of its own and is left
out of the arrays; the others are still answered in the one call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from airflow_agentic.exceptions import ModelLoadError, RecordError
from airflow_agentic.runtime import inputs

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_agentic.runtime.base import Arrays
    from airflow_agentic.spec.model import InputType, ModelCard

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A batch as the session takes it."""

    arrays: Arrays
    """Batch axis first; only the rows without an error."""
    rows: int
    """How many rows that are."""
    errors: Mapping[int, RecordError] = field(default_factory=dict)
    """By row of the batch."""
    mask: npt.NDArray[np.int64] | None = None
    """Which tokens are real (1) or padding (0), ``[rows, tokens]``: for pooling."""


Encoder = Callable[[pa.Table], Encoded]

TENSORS_ONLY: Final = ("torch", "litert", "transformers")
"""Frameworks without string tensors."""


def open_encoder(card: ModelCard, resolve: Callable[[str], Path], folder: Path | None = None) -> Encoder:
    """The encoder of ``card``.

    :param resolve: URI of a file the card names → its local path.
    :param folder: the model's own folder, where its tokenizer may be (framework ``transformers``).
    :raises ModelLoadError: the framework cannot take this input.
    """
    if card.input == "image":
        from airflow_agentic.runtime.encode_image import ImageEncoder

        return ImageEncoder(card)
    if card.input == "text" and ((card.runtime.text and card.runtime.text.tokenizer) or folder is not None):
        from airflow_agentic.runtime.encode_text import TokenEncoder

        return TokenEncoder(card, resolve, folder)
    if card.input == "tabular":
        from airflow_agentic.runtime.encode_tabular import TabularEncoder

        return TabularEncoder(card)
    return ObjectEncoder(card) if card.input in {"text", "bytes"} else TensorEncoder(card)


def each(
    values: Sequence[Any], errors: Mapping[int, RecordError], convert: Callable[[Any], T]
) -> tuple[list[T], dict[int, RecordError]]:
    """``convert`` of every value whose row has no error; rows where it raises ``RecordError`` join the errors."""
    found, bad = [], dict(errors)
    for row, value in enumerate(values):
        if row in bad:
            continue
        try:
            found.append(convert(value))
        except RecordError as error:
            bad[row] = error
    return found, bad


class ObjectEncoder:
    """Text or bytes as an array of strings: for models that take them as they are."""

    def __init__(self, card: ModelCard) -> None:
        if card.runtime.framework in TENSORS_ONLY:
            way_out = "write runtime.text.tokenizer" if card.input == "text" else "use framework python"
            raise ModelLoadError(
                f"model {card.name!r}: {card.runtime.framework} takes numbers, not {card.input!r} input; {way_out}"
            )
        self._input: InputType = card.input
        self._name = card.runtime.input_name or ""

    def __call__(self, batch: pa.Table) -> Encoded:
        values, errors = inputs.payloads(batch, self._input)
        if self._input == "bytes" or errors:
            values, errors = each(values, errors, inputs.read if self._input == "bytes" else str)
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return Encoded(arrays={self._name: array}, rows=len(values), errors=errors)


class TensorEncoder:
    """JSON nested lists as one float array. Records of different shapes cannot share a batch: then each goes alone."""

    def __init__(self, card: ModelCard) -> None:
        if card.input == "json":
            raise ModelLoadError(
                f"model {card.name!r}: input 'json' needs framework python; use input tabular or tensor for "
                f"{card.runtime.framework}"
            )
        self._name = card.runtime.input_name or ""

    def __call__(self, batch: pa.Table) -> Encoded:
        values, errors = inputs.payloads(batch, "tensor")
        tensors, errors = each(values, errors, _tensor)
        if len({tensor.shape for tensor in tensors}) > 1:
            raise ValueError("the tensors of this batch have different shapes")
        array = np.stack(tensors) if tensors else np.empty((0,), np.float32)
        return Encoded(arrays={self._name: array}, rows=len(tensors), errors=errors)


def _tensor(text: str) -> npt.NDArray[np.float32]:
    try:
        return np.asarray(inputs.from_json(text), dtype=np.float32)
    except (ValueError, TypeError, OverflowError) as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError("bad_value", f"the tensor is not a rectangle of numbers: {error}") from error
