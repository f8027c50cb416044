"""ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from airflow_agentic.exceptions import MissingExtraError, ModelLoadError, RecordError
from airflow_agentic.runtime.base import Signature
from airflow_agentic.runtime.sessions.arrays import by_input, fitted, tensor_specs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from airflow_agentic.openinference.tensors import TensorSpec
    from airflow_agentic.runtime.base import Arrays, Session
    from airflow_agentic.spec.model import ModelCard

_TYPES: Final = {"float": "float32", "double": "float64", "string": "object"}
_ERRORS_ONLY: Final = 3


class OnnxSession:
    """An ``InferenceSession``; arrays are cast to the types the graph declares."""

    def __init__(self, card: ModelCard, session: Any) -> None:
        self._card = card
        self._session: Any = session
        self._types = {entry.name: _dtype(entry.type) for entry in session.get_inputs()}
        self.signature = Signature(_specs(session.get_inputs()), _specs(session.get_outputs()))
        wanted = card.runtime.output_name
        outputs = [entry.name for entry in session.get_outputs()]
        if wanted is not None and wanted not in outputs:
            raise ModelLoadError(
                f"model {card.name!r}: runtime.output_name {wanted!r} is not one of its outputs: {', '.join(outputs)}"
            )
        self._outputs = outputs if wanted is None else [wanted]

    def run(self, inputs: Arrays) -> Arrays:
        """See :class:`~airflow_agentic.runtime.base.Session`."""
        given = by_input(self._card, inputs, list(self._types))
        feed = {name: _fed(name, array, self._types[name]) for name, array in given.items()}
        return dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))

    def close(self) -> None:
        """Free the session."""
        self._session = None


def open_(card: ModelCard, path: Path, allowed_handlers: Sequence[str]) -> Session:
    """Load ``path``: a ``.onnx`` file, or a folder with exactly one (beside its external data)."""
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("onnxruntime", "onnx") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = card.runtime.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    session = onnxruntime.InferenceSession(str(_file(card, path)), options, providers=_providers(onnxruntime, card))
    return OnnxSession(card, session)


def _file(card: ModelCard, path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.onnx"))
    if len(found) != 1:
        raise ModelLoadError(
            f"model {card.name!r}: the folder {card.runtime.artifact!r} has {len(found)} .onnx files; "
            "name the one to load"
        )
    return found[0]


def _providers(onnxruntime: Any, card: ModelCard) -> list[str]:
    if not card.resources.gpu:
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise ModelLoadError(
            f"model {card.name!r}: resources.gpu is {card.resources.gpu} and this onnxruntime has no CUDA; "
            "install onnxruntime-gpu, or remove resources.gpu"
        )
    return ["CUDAExecutionProvider", "CPUExecutionProvider"]


def _specs(entries: Sequence[Any]) -> tuple[TensorSpec, ...]:
    return tensor_specs((entry.name, _dtype(entry.type), entry.shape) for entry in entries)


def _fed(name: str, array: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    """``array`` as the graph takes it; of ``bytes`` it would take what Python prints."""
    if dtype != "object" or array.dtype.kind != "O":
        return fitted(array, dtype)
    found = np.empty(array.shape, object)
    try:
        found.ravel()[:] = [one.decode() if isinstance(one, bytes) else one for one in array.ravel().tolist()]
    except UnicodeDecodeError as problem:
        raise RecordError("wrong_input", f"input {name!r} has a text that is no UTF-8: {problem}") from None
    return found


def _dtype(declared: str) -> str:
    """``tensor(float)`` as NumPy's ``float32``."""
    name = declared.removeprefix("tensor(").removesuffix(")")
    return _TYPES.get(name, name)
