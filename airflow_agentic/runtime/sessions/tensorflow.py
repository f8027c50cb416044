"""TensorFlow: SavedModel folders and ``.keras`` files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_agentic.exceptions import MissingExtraError, ModelLoadError
from airflow_agentic.runtime.base import UNKNOWN, Signature
from airflow_agentic.runtime.sessions.arrays import by_input, fitted, named, tensor_specs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from airflow_agentic.openinference.tensors import TensorSpec
    from airflow_agentic.runtime.base import Arrays, Session
    from airflow_agentic.spec.model import ModelCard


class SignatureSession:
    """A SavedModel's ``serving_default``: inputs and outputs have names and types."""

    def __init__(self, tf: Any, card: ModelCard, model: Any, signature: Any) -> None:
        self._tf = tf
        self._card = card
        self._model = model  # the signature alone does not keep its variables
        self._signature: Any = signature
        self._inputs = signature.structured_input_signature[1]
        self.signature = Signature(_specs(self._inputs), _specs(signature.structured_outputs))

    def run(self, inputs: Arrays) -> Arrays:
        """See :class:`~airflow_agentic.runtime.base.Session`."""
        given = by_input(self._card, inputs, list(self._inputs))
        tensors = {
            name: self._tf.constant(fitted(array, self._inputs[name].dtype.as_numpy_dtype))
            for name, array in given.items()
        }
        return named(self._signature(**tensors), _numpy)

    def close(self) -> None:
        """Free the model; TensorFlow keeps most of its memory until the process ends."""
        self._model = self._signature = None


class CallSession:
    """A function of tensors: a SavedModel without a signature, or a Keras model."""

    signature = UNKNOWN

    def __init__(self, tf: Any, call: Callable[..., Any]) -> None:
        self._tf = tf
        self._call: Any = call

    def run(self, inputs: Arrays) -> Arrays:
        """See :class:`~airflow_agentic.runtime.base.Session`."""
        tensors = {name: self._tf.constant(array) for name, array in inputs.items()}
        found = self._call(tensors[""] if set(tensors) == {""} else tensors)
        return named(found, _numpy)

    def close(self) -> None:
        """Free the model; TensorFlow keeps most of its memory until the process ends."""
        self._call = None


def open_(card: ModelCard, path: Path, allowed_handlers: Sequence[str]) -> Session:
    """Load ``path``: a folder as a SavedModel, ``.keras`` as a Keras file (no Lambda layers, no optimizer)."""
    tf = _import(card)
    if path.is_dir():
        model = tf.saved_model.load(str(path))
        signature = model.signatures.get("serving_default")
        if signature is not None:
            return SignatureSession(tf, card, model, signature)
        if not callable(model):
            raise ModelLoadError(
                f"model {card.name!r}: the SavedModel {card.runtime.artifact!r} has no signature 'serving_default' and "
                "cannot be called; save it with a signature"
            )
        return CallSession(tf, model)
    if path.suffix != ".keras":
        raise ModelLoadError(
            f"model {card.name!r}: {card.runtime.artifact!r} is neither a SavedModel folder nor a .keras file; "
            "save it as one of them"
        )
    import keras

    loaded = keras.models.load_model(path, compile=False, safe_mode=True)
    return CallSession(tf, tf.function(lambda tensors: loaded(tensors, training=False), reduce_retracing=True))


def _specs(declared: Any) -> tuple[TensorSpec, ...]:
    """What a signature declares, by the order of names."""
    return tensor_specs((name, declared[name].dtype.as_numpy_dtype, declared[name].shape) for name in sorted(declared))


def _import(card: ModelCard) -> Any:
    try:
        import tensorflow as tf
    except ImportError:
        raise MissingExtraError("tensorflow", "tensorflow") from None
    try:
        tf.config.threading.set_intra_op_parallelism_threads(card.runtime.threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        pass  # TensorFlow runs already in this process (an inline card), and takes no new number
    if card.resources.gpu and not tf.config.list_physical_devices("GPU"):
        raise ModelLoadError(
            f"model {card.name!r}: resources.gpu is {card.resources.gpu} and TensorFlow sees no GPU here; "
            "run it where one is, or remove resources.gpu"
        )
    return tf


def _numpy(tensor: Any) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = tensor.numpy()
    return array
