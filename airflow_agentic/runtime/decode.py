"""Arrays to ``tables.RESULT``, as the card's ``output`` says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic.exceptions import ModelLoadError
from airflow_agentic.runtime.base import Arrays
from airflow_agentic.runtime.encode import Encoded
from airflow_agentic.runtime.results import Ranking, results, without_bad

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_agentic.spec.model import ModelCard

Decoder = Callable[[Arrays, Encoded], pa.Table]
"""The session's outputs and the batch they answer → one result row per encoded row."""

Floats = npt.NDArray[np.float64]

_QUIET = np.errstate(all="ignore")  # what is not finite becomes an error row, not a warning


def open_decoder(card: ModelCard, resolve: Callable[[str], Path], *, top_k: int | None = None) -> Decoder:
    """The decoder of ``card``.

    :raises ModelLoadError: its label space has no labels.
    """
    output = card.output
    if output.classes is not None:
        return ClassDecoder(card, model_labels(card, resolve), top_k=top_k)
    if output.embedding is not None:
        return EmbeddingDecoder(card, output.embedding)
    if output.value is not None:
        return ValueDecoder(card)
    return FieldsDecoder(card)


def model_labels(card: ModelCard, resolve: Callable[[str], Path]) -> list[str]:
    """The model's labels in the order of its outputs, before ``label_map``."""
    output = card.output
    if isinstance(output.classes, list):
        return output.classes
    if output.labels is None:
        raise ModelLoadError(
            f"model {card.name!r}: the label space {output.classes!r} is only a name; write output.labels: "
            "a file with one label a line, in the order of the model's outputs"
        )
    path = resolve(output.labels)
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelLoadError(f"model {card.name!r}: output.labels {output.labels!r} cannot be read: {error}") from error
    return [line.strip() for line in lines if line.strip()]


class ClassDecoder:
    """Class scores ``[rows, classes]`` to labels; one number a row with two classes is the second one's probability."""

    def __init__(self, card: ModelCard, labels: list[str], *, top_k: int | None = None) -> None:
        self._card = card
        self._ranking = Ranking(labels, card, top_k=top_k)

    @_QUIET
    def __call__(self, outputs: Arrays, batch: Encoded) -> pa.Table:
        scores = _activate(_floats(_pick(self._card, outputs), batch.rows), self._card.runtime.activation)
        if scores.shape[1] == 1 and self._ranking.outputs == 2 and self._card.runtime.activation != "softmax":
            scores = np.concatenate([1.0 - scores, scores], axis=1)
        if scores.shape[1] != self._ranking.outputs:
            raise ModelLoadError(
                f"model {self._card.name!r} gives {scores.shape[1]} numbers a record for {self._ranking.outputs} "
                "labels; fix output.classes, output.labels or runtime.output_name"
            )
        return self._ranking.table(scores)


class EmbeddingDecoder:
    """Vectors, pooled and scaled, as JSON lists."""

    def __init__(self, card: ModelCard, length: int) -> None:
        self._card = card
        self._length = length

    @_QUIET
    def __call__(self, outputs: Arrays, batch: Encoded) -> pa.Table:
        array = _pick(self._card, outputs).astype(np.float32, copy=False)
        vectors = _rows(self._pool(array, batch), batch.rows).reshape(batch.rows, -1)
        if vectors.shape[1] != self._length:
            raise ModelLoadError(
                f"model {self._card.name!r} gives vectors of {vectors.shape[1]} numbers, output.embedding is "
                f"{self._length}; fix output.embedding, runtime.pooling or runtime.output_name"
            )
        if self._card.runtime.normalize:
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors / np.maximum(lengths, np.float32(1e-12))
        table = results(batch.rows, output=json_lists(vectors))
        return without_bad(table, np.isfinite(vectors).all(axis=1))

    def _pool(self, array: npt.NDArray[np.float32], batch: Encoded) -> npt.NDArray[np.float32]:
        pooling = self._card.runtime.pooling
        if pooling == "none":
            return array
        if array.ndim != 3:
            raise ModelLoadError(
                f"model {self._card.name!r}: runtime.pooling {pooling!r} needs [batch, tokens, dim], the output has "
                f"{array.ndim} axes; remove it or set runtime.output_name"
            )
        if pooling == "cls":
            return array[:, 0]
        mask = np.ones(array.shape[:2], np.float32) if batch.mask is None else batch.mask.astype(np.float32)
        summed = np.einsum("rtd,rt->rd", array, mask)
        pooled: npt.NDArray[np.float32] = summed / np.maximum(mask.sum(axis=1, keepdims=True), np.float32(1.0))
        return pooled


class ValueDecoder:
    """One number a row."""

    def __init__(self, card: ModelCard) -> None:
        self._card = card

    @_QUIET
    def __call__(self, outputs: Arrays, batch: Encoded) -> pa.Table:
        values = _activate(_floats(_pick(self._card, outputs), batch.rows), self._card.runtime.activation)
        if values.shape[1] != 1:
            raise ModelLoadError(
                f"model {self._card.name!r} gives {values.shape[1]} numbers a record, output.value is one; "
                "set runtime.output_name or use output.embedding"
            )
        return without_bad(results(batch.rows, value=values[:, 0]), np.isfinite(values[:, 0]))


class FieldsDecoder:
    """A JSON object a row; a field is the model's output of its name."""

    def __init__(self, card: ModelCard) -> None:
        self._card = card
        self._fields = card.output.fields or {}

    def __call__(self, outputs: Arrays, batch: Encoded) -> pa.Table:
        if len(self._fields) == 1 and len(outputs) == 1:
            outputs = dict(zip(self._fields, outputs.values(), strict=True))
        missing = [name for name in self._fields if name not in outputs]
        if missing:
            raise ModelLoadError(
                f"model {self._card.name!r} has no output {missing[0]!r}, only {', '.join(outputs)}; fix output.fields"
            )
        columns = {name: _rows(outputs[name], batch.rows) for name in self._fields}
        good = np.ones(batch.rows, bool)
        for column in columns.values():
            if column.dtype.kind == "f":
                good &= np.isfinite(column.reshape(batch.rows, -1)).all(axis=1)
        rows = [
            json.dumps({name: _field(columns[name][row], kind) for name, kind in self._fields.items()})
            for row in range(batch.rows)
        ]
        return without_bad(results(batch.rows, output=rows), good)


def json_lists(vectors: npt.NDArray[np.float32]) -> pa.Array:
    """Each row of ``[rows, length]`` as a JSON list; a number is the shortest text that reads back as that float32."""
    rows, length = vectors.shape
    texts = pc.cast(pa.array(vectors.astype(np.float32, copy=False).ravel()), pa.string())
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * length)
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, texts), ",")
    return pc.binary_join_element_wise("[", joined, "]", "")


def _pick(card: ModelCard, outputs: Arrays) -> npt.NDArray[np.generic]:
    wanted = card.runtime.output_name
    if wanted is None and len(outputs) == 1:
        return next(iter(outputs.values()))
    if wanted is not None and wanted in outputs:
        return outputs[wanted]
    found = ", ".join(outputs)
    if wanted is None:
        raise ModelLoadError(f"model {card.name!r} has the outputs {found}; set runtime.output_name to one of them")
    raise ModelLoadError(f"model {card.name!r}: runtime.output_name {wanted!r} is not one of its outputs: {found}")


def _rows(array: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    if array.ndim == 0 or len(array) != rows:
        found = 1 if array.ndim == 0 else len(array)
        raise ValueError(f"the model answered {found} rows for {rows} records")
    return array


def _floats(array: npt.NDArray[Any], rows: int) -> Floats:
    floats: Floats = _rows(array, rows).reshape(rows, -1).astype(np.float64)
    return floats


def _activate(scores: Floats, activation: str) -> Floats:
    if activation == "softmax":
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        softmax: Floats = powers / powers.sum(axis=1, keepdims=True)
        return softmax
    if activation == "sigmoid":
        small = np.exp(-np.abs(scores))  # never overflows
        sigmoid: Floats = np.where(scores >= 0, 1.0 / (1.0 + small), small / (1.0 + small))
        return sigmoid
    return scores


def _field(value: Any, kind: str) -> Any:
    array = np.asarray(value)
    if kind == "array":
        return [_text(item) for item in array.ravel()] if array.dtype.kind in "OSU" else array.tolist()
    first = array.ravel()[0].item() if array.dtype.kind != "O" else array.ravel()[0]
    if kind == "integer":
        return round(first)
    return {"number": float, "boolean": bool}.get(kind, _text)(first)


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
