"""The contract of everything that runs a model.

Two seams, smallest first:

* a :class:`Session` is a framework's loaded model: named NumPy arrays in, named NumPy arrays out;
* a :class:`Predictor` is what the rest of the project sees: a table of records in, a table of results out.

For cards of the common tasks a predictor is composed: *encode* (records → arrays) → session → *decode* (arrays →
results). A handler class is a predictor of its own.

This package runs in model pods and child processes: it must never import Airflow, and imports a framework only when a
card asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from airflow_agentic.openinference.tensors import TensorSpec

if TYPE_CHECKING:
    import pyarrow as pa

Arrays = Mapping[str, npt.NDArray[np.generic]]


@runtime_checkable
class Predictor(Protocol):
    """A model that answers records.

    ``load`` is called once before the first ``predict``, in the process that predicts; ``close`` once, last.
    """

    def load(self) -> None:
        """Load the model.

        :raises ModelLoadError: it cannot be loaded; says which key of the card to change.
        :raises MissingExtraError: the framework is not installed.
        :raises ArtifactError: a file the card names cannot be had, or is not the pinned one.
        :raises HandlerNotAllowedError: the card names code that is not allowed.
        """
        ...

    def predict(self, batch: pa.Table) -> pa.Table:
        """Answer a batch.

        :param batch: columns of ``tables.RECORD`` and the workflow's feature columns; 1 row or more.
        :returns: ``tables.RESULT``, one row per row of ``batch``, in order; labels are the label space's, after the
            card's ``label_map``. A record that cannot be answered is a row
            with an ``error``; raising fails the whole batch, which is then tried record by record.
        """
        ...

    def close(self) -> None:
        """Free what ``load`` took."""
        ...


class Signature(NamedTuple):
    """What a session takes and gives; ``()`` where the framework does not tell."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()


UNKNOWN: Final = Signature()


class Session(Protocol):
    """A loaded model of one framework."""

    @property
    def signature(self) -> Signature:
        """What :meth:`run` takes and gives."""
        ...

    def run(self, inputs: Arrays) -> Arrays:
        """Run the model.

        :param inputs: the encoded batch; a single array has the name ``""`` where the card names no input.
        :returns: the model's outputs by name, batch axis first; unnamed outputs are ``"0"``, ``"1"``…, in order.
        """
        ...

    def close(self) -> None:
        """Free the model."""
        ...
