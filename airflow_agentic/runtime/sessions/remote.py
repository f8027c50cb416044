"""A model at any server of the Open Inference Protocol v2: its arrays travel there and back.

The first axis of every input and output is the batch. A server that declares one axis more than a record's array has,
of length 1 or free, as Triton does for strings ``[-1, 1]``, gets it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from airflow_agentic.exceptions import ModelLoadError, RecordError, ServiceRefusedError
from airflow_agentic.openinference.blocking import BlockingClient
from airflow_agentic.openinference.client import OF_THE_RECORDS
from airflow_agentic.openinference.datatypes import DTYPES
from airflow_agentic.openinference.tensors import InferRequest, RequestedOutput, Tensor, TensorSpec
from airflow_agentic.runtime.base import Signature
from airflow_agentic.runtime.sessions.arrays import by_input, fitted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from airflow_agentic.openinference.tensors import ModelMetadata
    from airflow_agentic.runtime.base import Arrays, Session
    from airflow_agentic.spec.model import ModelCard


class ServedTensors:
    """Encoded records as a request; arrays are cast to the types that the server declares, where it declares any.

    :param unnamed: what the only input is called at a server that does not say, and of a card that does not either.
    """

    def __init__(self, card: ModelCard, metadata: ModelMetadata, *, unnamed: str | None = None) -> None:
        self._card = card
        self._unnamed = unnamed
        self._inputs = {spec.name: spec for spec in metadata.inputs}
        wanted = card.runtime.output_name
        self._outputs = () if wanted is None else (RequestedOutput(wanted),)

    def request(self, inputs: Arrays) -> InferRequest:
        """What is asked.

        :raises ModelLoadError: the inputs' names are not the server's.
        """
        return InferRequest([self._tensor(name, array) for name, array in self._named(inputs).items()], self._outputs)

    def _named(self, inputs: Arrays) -> Arrays:
        if self._inputs:
            return by_input(self._card, inputs, list(self._inputs))
        if "" not in inputs:
            return inputs
        if self._unnamed is None:
            raise ModelLoadError(
                f"model {self._card.name!r}: its server does not say what the model's inputs are called; "
                "write runtime.input_name"
            )
        return {self._unnamed: inputs[""]}

    def _tensor(self, name: str, array: npt.NDArray[Any]) -> Tensor:
        spec = self._inputs.get(name)
        if spec is None:
            return Tensor.of(name, array)
        dtype = DTYPES.get(spec.datatype)
        return Tensor.of(name, _shaped(array if dtype is None else fitted(array, dtype), spec))


class RemoteSession:
    """A model at a server."""

    def __init__(self, card: ModelCard, client: BlockingClient, metadata: ModelMetadata) -> None:
        self._card = card
        self._client = client
        self._model = served_name(card)
        self.signature = Signature(metadata.inputs, metadata.outputs)
        self._tensors = ServedTensors(card, metadata)

    def run(self, inputs: Arrays) -> Arrays:
        """See :class:`~airflow_agentic.runtime.base.Session`.

        :raises RecordError: the server refuses what the records are.
        """
        asked = self._tensors.request(inputs)
        try:
            found = self._client.infer(self._model, asked, version=self._card.runtime.version)
        except ServiceRefusedError as error:
            if error.status in OF_THE_RECORDS:
                raise RecordError("model_error", str(error)) from error
            raise
        return {tensor.name: tensor.array for tensor in found.outputs}

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def served_name(card: ModelCard) -> str:
    """What the model is called at its server."""
    return card.runtime.model or card.name


def open_(card: ModelCard, path: Path | None, allowed_handlers: Sequence[str]) -> Session:
    """Connect to the card's server, and see that it has the model and the output that the card names."""
    if card.service is None:
        raise ModelLoadError(f"model {card.name!r}: framework open-inference needs service: {{url: …}}")
    client = BlockingClient(card.service)
    try:
        metadata = client.metadata(served_name(card), version=card.runtime.version)
        outputs = [spec.name for spec in metadata.outputs]
        wanted = card.runtime.output_name
        if wanted is not None and outputs and wanted not in outputs:
            raise ModelLoadError(
                f"model {card.name!r}: runtime.output_name {wanted!r} is not one of its outputs: {', '.join(outputs)}"
            )
        return RemoteSession(card, client, metadata)
    except BaseException:
        client.close()
        raise


def _shaped(array: npt.NDArray[Any], spec: TensorSpec) -> npt.NDArray[Any]:
    more = len(spec.shape) == array.ndim + 1 and spec.shape[-1] in {1, -1}
    return array.reshape(*array.shape, 1) if more else array
