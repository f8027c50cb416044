"""A loaded model as its server sees it: named arrays in, named arrays out, the batch axis first.

A card whose ``input`` is ``tensor`` is served as it is: its session's arrays. Every other card is served for records:
its encoder and decoder run here, see :mod:`airflow_agentic.runtime.record_tensors`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import orjson

from airflow_agentic.exceptions import ModelError, ProtocolError, RecordError
from airflow_agentic.openinference.tensors import TensorSpec
from airflow_agentic.runtime import predict_records, start
from airflow_agentic.runtime.process import ModelProcess
from airflow_agentic.runtime.record_tensors import (
    ERRORS,
    FEATURES,
    from_results,
    input_specs,
    output_specs,
    to_records,
)
from airflow_agentic.tables import RESULT

if TYPE_CHECKING:
    from airflow_agentic.openinference.tensors import RequestedOutput, Tensor
    from airflow_agentic.runtime.base import Arrays
    from airflow_agentic.runtime.predictor import CardPredictor
    from airflow_agentic.spec.model import ModelCard

OURS = frozenset({"model_error", "bad_output", "unknown_label"})
"""Error codes of records that are the model's fault, not the request's."""

_FEATURES = TensorSpec(FEATURES, "BYTES", (-1,))


class Loaded(Protocol):
    """A loaded model."""

    inputs: tuple[TensorSpec, ...]
    """What a request must have; ``()`` where the model does not tell."""
    optional: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    hidden: frozenset[str]
    """Outputs that are given only to who names them."""

    @property
    def process(self) -> ModelProcess | None:
        """Where it runs, if not here."""

    def run(self, given: Arrays) -> Arrays:
        """Answer a batch; blocks.

        :raises ModelUnavailableError: its process is gone.
        """

    def refuse(self, answered: Arrays, asked: Sequence[RequestedOutput]) -> None:
        """Look at the part of an answer that is one request's.

        :raises RecordError: a record has no answer, and the request does not ask which.
        """

    def close(self) -> None:
        """Free the model."""


class TensorModel:
    """A session's arrays, as they are."""

    optional: tuple[TensorSpec, ...] = ()
    hidden: frozenset[str] = frozenset()

    def __init__(self, card: ModelCard, predictor: CardPredictor | ModelProcess) -> None:
        self._predictor = predictor
        self.inputs, self.outputs = predictor.signature
        self._only = card.runtime.input_name or ""
        self._renamed = [one.name for one in card.runtime.tensors.outputs] if card.runtime.tensors else []

    @property
    def process(self) -> ModelProcess | None:
        """See :class:`Loaded`."""
        return self._predictor if isinstance(self._predictor, ModelProcess) else None

    def run(self, given: Arrays) -> Arrays:
        """See :class:`Loaded`."""
        if len(given) == 1:
            (array,) = given.values()
            given = {self._only: array}
        found = self._predictor.run(given)
        if self._renamed and found.keys() != set(self._renamed):
            return dict(zip(self._renamed, found.values(), strict=True))
        return found

    def refuse(self, answered: Arrays, asked: Sequence[RequestedOutput]) -> None:
        """See :class:`Loaded`."""

    def close(self) -> None:
        """See :class:`Loaded`."""
        self._predictor.close()


class RecordModel:
    """Records, encoded and decoded as the card says; a bad one is an error of its own."""

    optional: tuple[TensorSpec, ...] = (_FEATURES,)
    hidden = frozenset({ERRORS})

    def __init__(self, card: ModelCard, predictor: CardPredictor | ModelProcess) -> None:
        self._card = card
        self._predictor = predictor
        self.inputs = input_specs(card)
        self.outputs = output_specs(card)

    @property
    def process(self) -> ModelProcess | None:
        """See :class:`Loaded`."""
        return self._predictor if isinstance(self._predictor, ModelProcess) else None

    def run(self, given: Arrays) -> Arrays:
        """See :class:`Loaded`."""
        predictions = predict_records(self._predictor, self._card, to_records(self._card, given))
        return from_results(self._card, predictions.select(RESULT.names))

    def refuse(self, answered: Arrays, asked: Sequence[RequestedOutput]) -> None:
        """See :class:`Loaded`."""
        if any(one.name == ERRORS for one in asked):
            return
        texts = answered[ERRORS]
        row = next((place for place, text in enumerate(texts) if text), None)
        if row is not None:
            found: dict[str, Any] = orjson.loads(texts[row])
            raise RecordError(found["code"], f"record {row} of {len(texts)} has no answer: {found['message']}")

    def close(self) -> None:
        """See :class:`Loaded`."""
        self._predictor.close()


def load(card: ModelCard, *, allowed_handlers: Sequence[str] = (), cache_dir: Path | None = None) -> Loaded:
    """Load ``card``, in this process or a child, as its ``isolation`` says; blocks.

    :raises ModelError: it cannot be loaded.
    """
    predictor = start(card, allowed_handlers=allowed_handlers, cache_dir=cache_dir)
    kind: Callable[[ModelCard, CardPredictor | ModelProcess], Loaded] = (
        TensorModel if card.input == "tensor" else RecordModel
    )
    return kind(card, predictor)


def batch_of(arrays: Sequence[Arrays]) -> Arrays:
    """Several requests' arrays as one batch; they have the same names, types and shapes but for the first axis."""
    if len(arrays) == 1:
        return arrays[0]
    return {name: np.concatenate([one[name] for one in arrays]) for name in arrays[0]}


def parts_of(answered: Arrays, rows: Sequence[int]) -> list[Arrays]:
    """A batch's answer, cut into those of its requests.

    :raises ModelError: the model gave another number of rows than it was asked.
    """
    if len(rows) == 1:
        return [answered]
    total = sum(rows)
    for name, array in answered.items():
        if array.ndim == 0 or len(array) != total:
            found = 1 if array.ndim == 0 else len(array)
            raise ModelError(f"the model answered {found} rows of {name!r} for a batch of {total}")
    ends = np.cumsum(rows)[:-1]
    cut = {name: np.split(array, ends) for name, array in answered.items()}
    return [{name: pieces[place] for name, pieces in cut.items()} for place in range(len(rows))]


class Inputs:
    """The tensors that a loaded model takes, against which requests are checked."""

    def __init__(self, loaded: Loaded) -> None:
        self._known = {one.name: one for one in (*loaded.inputs, *loaded.optional)}
        self._needed = [one.name for one in loaded.inputs]

    def rows(self, tensors: Sequence[Tensor]) -> int:
        """How many rows a request has.

        :raises ProtocolError: its tensors are not those that the model takes.
        """
        rows = -1
        for name, datatype, array, _ in tensors:
            if self._needed:
                spec = self._known.get(name)
                if spec is None:
                    raise ProtocolError(f"inputs: the model has no input {name!r}, only {', '.join(self._known)}")
                _check(spec, array.shape, datatype)
            if not array.ndim:
                raise ProtocolError(f"inputs: {name!r} has no axis; its first one counts the batch")
            if rows not in {-1, len(array)}:
                raise ProtocolError(f"inputs: {name!r} has {len(array)} rows, others have {rows}; give one a record")
            rows = len(array)
        if self._needed:
            given = [one.name for one in tensors]
            missing = next((name for name in self._needed if name not in given), None)
            if missing is not None:
                raise ProtocolError(f"inputs: {missing!r} is missing; the model takes {', '.join(self._known)}")
        return rows


def _check(spec: TensorSpec, shape: Sequence[int], datatype: str) -> None:
    if datatype != spec.datatype:
        raise ProtocolError(f"inputs: {spec.name!r} is {datatype}, the model takes {spec.datatype}")
    if not spec.fits(shape):
        raise ProtocolError(f"inputs: {spec.name!r} has shape {list(shape)}, the model takes {list(spec.shape)}")
