"""Records as a request to our own model server, and its response as results: the two ways it serves a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import pyarrow as pa

from airflow_agentic.exceptions import ProtocolError, RecordError, ServiceRefusedError
from airflow_agentic.openinference.tensors import InferRequest, RequestedOutput
from airflow_agentic.runtime import inputs, record_tensors
from airflow_agentic.runtime.artifacts import resolve
from airflow_agentic.runtime.decode import open_decoder
from airflow_agentic.runtime.encode import Encoded, open_encoder
from airflow_agentic.runtime.sessions.remote import ServedTensors

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_agentic.openinference.tensors import ModelMetadata
    from airflow_agentic.runtime.base import Arrays
    from airflow_agentic.runtime.single import Answer
    from airflow_agentic.spec.model import ModelCard

Errors = Mapping[int, RecordError]

_NO_ANSWERS: Final = (ProtocolError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException)


class Codec(Protocol):
    """One model's."""

    alone: bool
    """Whether it has the two ways that are cheaper for one record."""

    blocks: bool
    """Whether :meth:`encode` may read files."""

    def encode(self, records: pa.Table) -> tuple[Any, int, Errors]:
        """Records as something that :meth:`request` takes, how many they are, and the errors of the others by row."""

    def request(self, encoded: Any) -> InferRequest:
        """What is asked."""

    def encode_alone(self, record: Mapping[str, Any]) -> Any:
        """As :meth:`encode` of one record, in plain values."""

    def decode_alone(self, arrays: Arrays) -> Answer:
        """As :meth:`decode` of one record, the row itself."""

    def decode(self, arrays: Arrays, encoded: Any, rows: int) -> pa.Table:
        """A response as ``tables.RESULT``, one row a record that was encoded."""


class RecordCodec:
    """Of a model that is served for records: its server encodes and decodes."""

    alone = True

    def __init__(self, card: ModelCard) -> None:
        self._card = card
        self.blocks = "uri" in inputs.KINDS[card.input]
        specs = (*record_tensors.output_specs(card), record_tensors.ERROR_SPEC)
        self._outputs = [RequestedOutput(spec.name) for spec in specs]

    def encode(self, records: pa.Table) -> tuple[Any, int, Errors]:
        """See :class:`Codec`."""
        tensors, errors = record_tensors.from_records(self._card, records)
        return tensors, records.num_rows - len(errors), errors

    def request(self, encoded: Any) -> InferRequest:
        """See :class:`Codec`."""
        return InferRequest(encoded, self._outputs)

    def decode(self, arrays: Arrays, encoded: Any, rows: int) -> pa.Table:
        """See :class:`Codec`.

        :raises ServiceRefusedError: these are no answers to records.
        """
        try:
            return record_tensors.to_results(self._card, arrays, rows)
        except _NO_ANSWERS as error:
            raise self._no_answers(error) from error

    def encode_alone(self, record: Mapping[str, Any]) -> Any:
        """The one record, for :meth:`request`.

        :raises RecordError: it cannot be sent.
        """
        return record_tensors.from_record(self._card, record)

    def decode_alone(self, arrays: Arrays) -> Answer:
        """A response to one record, as a row of ``tables.RESULT``."""
        try:
            return record_tensors.to_result(self._card, arrays)
        except _NO_ANSWERS as error:
            raise self._no_answers(error) from error

    def _no_answers(self, error: Exception) -> ServiceRefusedError:
        return ServiceRefusedError(
            f"the service of model {self._card.name!r} gave no answers to records: {error}; is it "
            "`airflow-agentic serve`? A foreign server's model needs a card with framework: open-inference"
        )


class TensorCodec:
    """Of a model with ``input: tensor``: its server gives the model the tensors as they are."""

    alone = False
    blocks = False

    def __init__(self, card: ModelCard, metadata: ModelMetadata, *, cache_dir: Path | None = None) -> None:
        def located(uri: str) -> Path:
            return resolve(uri, base=card.folder, sha256=card.pinned(uri), cache_dir=cache_dir)

        self._tensors = ServedTensors(card, metadata, unnamed="input")
        self._encode = open_encoder(card, located)
        self._decode = open_decoder(card, located)

    def encode(self, records: pa.Table) -> tuple[Any, int, Errors]:
        """See :class:`Codec`."""
        found = self._encode(records)
        return found, found.rows, found.errors

    def request(self, encoded: Any) -> InferRequest:
        """See :class:`Codec`."""
        return self._tensors.request(encoded.arrays)

    def decode(self, arrays: Arrays, encoded: Encoded, rows: int) -> pa.Table:
        """See :class:`Codec`."""
        return self._decode(arrays, encoded)

    def encode_alone(self, record: Mapping[str, Any]) -> Any:
        """It has none."""
        raise NotImplementedError

    def decode_alone(self, arrays: Arrays) -> Answer:
        """It has none."""
        raise NotImplementedError
