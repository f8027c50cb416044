"""From a card to a :class:`~airflow_agentic.runtime.base.Predictor` in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from airflow_agentic.exceptions import AgenticError, ModelLoadError, ModelMemoryError, ModelUnavailableError
from airflow_agentic.openinference.tensors import TensorSpec
from airflow_agentic.runtime.artifacts import resolve
from airflow_agentic.runtime.base import Signature
from airflow_agentic.runtime.decode import Decoder, open_decoder
from airflow_agentic.runtime.encode import Encoder, open_encoder
from airflow_agentic.runtime.handler import HandlerPredictor
from airflow_agentic.runtime.imports import check_card
from airflow_agentic.runtime.results import as_record_error, results, with_errors
from airflow_agentic.runtime.sessions import open_session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pyarrow as pa

    from airflow_agentic.runtime.base import Arrays, Session
    from airflow_agentic.spec.model import ModelCard, TensorForm

_HINTS: Final = {
    "torch": "a TorchScript file, a .pt2 program, or with runtime.class a state dict",
    "tensorflow": "a SavedModel folder or a .keras file",
    "onnx": "an ONNX file",
    "litert": "a .tflite file",
    "transformers": "a folder with config.json and model.safetensors",
    "python": "a handler",
    "open-inference": "a server of the Open Inference Protocol",
}


def open_predictor(
    card: ModelCard, *, allowed_handlers: Sequence[str] = (), cache_dir: Path | None = None, top_k: int | None = None
) -> CardPredictor:
    """The predictor of ``card``, not loaded yet.

    :param allowed_handlers: ``package``, ``package.module`` or ``package.module:Name`` the card's code may come from;
        this project's own is always allowed.
    :param cache_dir: where remote artifacts are kept; see :mod:`airflow_agentic.runtime.artifacts`.
    :param top_k: how many classes of an answer to give, in place of the card's.
    :raises HandlerNotAllowedError: the card names other code. Nothing is imported.
    """
    check_card(card, allowed_handlers)
    return CardPredictor(card, allowed_handlers=allowed_handlers, cache_dir=cache_dir, top_k=top_k)


class CardPredictor:
    """Encode → session → decode, or a handler; whatever goes wrong in loading is a :class:`ModelLoadError`."""

    def __init__(
        self, card: ModelCard, *, allowed_handlers: Sequence[str], cache_dir: Path | None, top_k: int | None
    ) -> None:
        self._card = card
        self._allowed = tuple(allowed_handlers)
        self._cache_dir = cache_dir
        self._top_k = top_k
        self._loaded: HandlerPredictor | ArrayPredictor | None = None

    def load(self) -> None:
        """See :class:`~airflow_agentic.runtime.base.Predictor`.

        :raises ArtifactError: a file the card names cannot be had.
        :raises ModelUnavailableError: there is not enough memory.
        """
        try:
            self._loaded = self._open()
        except AgenticError:
            raise
        except MemoryError as error:
            raise self._out_of_memory(error) from error
        except Exception as error:  # a framework raises whatever it likes
            runtime = self._card.runtime
            what = runtime.handler or runtime.artifact or (self._card.service and self._card.service.url)
            raise ModelLoadError(
                f"model {self._card.name!r}: {what!r} cannot be loaded by framework {runtime.framework}, which takes "
                f"{_HINTS[runtime.framework]}: {as_record_error(error)}"
            ) from error

    def predict(self, batch: pa.Table) -> pa.Table:
        """See :class:`~airflow_agentic.runtime.base.Predictor`."""
        if self._loaded is None:
            raise ModelUnavailableError(f"model {self._card.name!r} is not loaded; call load() first")
        try:
            return self._loaded.predict(batch)
        except MemoryError as error:
            raise self._out_of_memory(error) from error

    @property
    def takes_arrays(self) -> bool:
        """Whether :meth:`run` can be called: not of a handler that takes records."""
        return isinstance(self._loaded, ArrayPredictor)

    @property
    def signature(self) -> Signature:
        """The tensors of :meth:`run`: as the card says, else as the framework does."""
        stated = self._card.runtime.tensors
        if stated is None:
            return self._session.signature
        return Signature(*(tuple(_spec(one) for one in side) for side in (stated.inputs, stated.outputs)))

    def run(self, arrays: Arrays) -> Arrays:
        """Run the model on arrays that are encoded already, past the card's encoder and decoder.

        :raises ModelLoadError: it is a handler that takes records only, or gives what is no array.
        """
        try:
            found = self._session.run(arrays)
        except MemoryError as error:
            raise self._out_of_memory(error) from error
        for name, value in found.items():
            if not isinstance(value, np.ndarray):
                raise ModelLoadError(
                    f"model {self._card.name!r} gives {type(value).__name__} as output {name!r}, not an array; "
                    "set runtime.output_name to another one, or change the model"
                )
        return found

    @property
    def _session(self) -> Session:
        if isinstance(self._loaded, ArrayPredictor):
            return self._loaded.session
        raise ModelLoadError(
            f"model {self._card.name!r}: its handler takes records; to take tensors as they are, give it a "
            "run(arrays), names to arrays, batch axis first"
        )

    def close(self) -> None:
        """See :class:`~airflow_agentic.runtime.base.Predictor`."""
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.close()

    def _resolve(self, uri: str) -> Path:
        card = self._card
        return resolve(uri, base=card.folder, sha256=card.pinned(uri), cache_dir=self._cache_dir)

    def _out_of_memory(self, error: MemoryError) -> ModelMemoryError:
        said = f" ({error})" if str(error) else ""
        return ModelMemoryError(
            f"model {self._card.name!r} is out of memory{said}; lower batch.rows ({self._card.source.file})"
        )

    def _open(self) -> HandlerPredictor | ArrayPredictor:
        card, runtime = self._card, self._card.runtime
        if runtime.framework == "python":
            handler = HandlerPredictor(card, allowed_handlers=self._allowed, top_k=self._top_k)
            handler.load()
            return handler if handler.session is None else self._around(handler.session)
        path = None if runtime.artifact is None else self._resolve(runtime.artifact)
        session = open_session(card, path, allowed_handlers=self._allowed)
        return self._around(session, path if runtime.framework == "transformers" else None)

    def _around(self, session: Session, folder: Path | None = None) -> ArrayPredictor:
        encoder = open_encoder(self._card, self._resolve, folder)
        return ArrayPredictor(encoder, session, open_decoder(self._card, self._resolve, top_k=self._top_k))


class ArrayPredictor:
    """Encode → session → decode."""

    def __init__(self, encoder: Encoder, session: Session, decoder: Decoder) -> None:
        self._encoder = encoder
        self.session = session
        self._decoder = decoder

    def predict(self, batch: pa.Table) -> pa.Table:
        """See :class:`~airflow_agentic.runtime.base.Predictor`."""
        encoded = self._encoder(batch)
        answers = self._decoder(self.session.run(encoded.arrays), encoded) if encoded.rows else results(0)
        return with_errors(answers, encoded.errors, batch.num_rows)

    def close(self) -> None:
        """Free the session."""
        self.session.close()


def _spec(stated: TensorForm) -> TensorSpec:
    return TensorSpec(stated.name, stated.datatype, tuple(stated.shape))
