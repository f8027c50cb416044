"""LiteRT (TensorFlow Lite)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from airflow_agentic.exceptions import MissingExtraError, ModelLoadError
from airflow_agentic.runtime.base import UNKNOWN
from airflow_agentic.runtime.sessions.arrays import by_input

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_agentic.runtime.base import Arrays, Session
    from airflow_agentic.spec.model import ModelCard

_LIMITS: Final = {"uint8": (0, 255), "int8": (-128, 127), "int16": (-32768, 32767)}

Details = Mapping[str, Any]


class LiteRTSession:
    """An interpreter. A model with a free batch axis is resized to the batch; one with a fixed axis gets row by row.

    Integer models: floats are quantised on the way in (``uint8`` pixels go in as they are), outputs become floats.
    """

    signature = UNKNOWN

    def __init__(self, card: ModelCard, interpreter: Any) -> None:
        self._card = card
        self._interpreter: Any = interpreter
        self._inputs, self._outputs = _details(interpreter)
        self._free = all(_axes(detail)[:1] == [-1] for detail in self._inputs.values())
        self._shapes: dict[str, tuple[int, ...]] = {}

    def run(self, inputs: Arrays) -> Arrays:
        """See :class:`~airflow_agentic.runtime.base.Session`."""
        given = by_input(self._card, inputs, list(self._inputs))
        given = {name: _quantised(array, self._inputs[name]) for name, array in given.items()}
        if self._free:
            return self._invoke(given)
        rows = len(next(iter(given.values())))
        parts = [self._invoke({name: array[row : row + 1] for name, array in given.items()}) for row in range(rows)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}

    def close(self) -> None:
        """Free the interpreter."""
        self._interpreter = None

    def _invoke(self, given: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        shapes = {name: array.shape for name, array in given.items()}
        if shapes != self._shapes:
            for name, shape in shapes.items():
                self._interpreter.resize_tensor_input(self._inputs[name]["index"], shape)
            self._interpreter.allocate_tensors()
            self._shapes = shapes
        for name, array in given.items():
            self._interpreter.set_tensor(self._inputs[name]["index"], array)
        self._interpreter.invoke()
        return {
            name: _floats(self._interpreter.get_tensor(detail["index"]), detail)
            for name, detail in self._outputs.items()
        }


def open_(card: ModelCard, path: Path, allowed_handlers: Sequence[str]) -> Session:
    """Load the ``.tflite`` file at ``path``."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise MissingExtraError("ai-edge-litert", "litert") from None
    if card.resources.gpu:
        raise ModelLoadError(f"model {card.name!r}: litert runs on CPUs here; remove resources.gpu")
    return LiteRTSession(card, Interpreter(model_path=str(path), num_threads=card.runtime.threads))


def _details(interpreter: Any) -> tuple[dict[str, Details], dict[str, Details]]:
    """Inputs and outputs by name: those of the signature where there is one, else the tensors'."""
    signatures = interpreter.get_signature_list()
    if signatures:
        runner = interpreter.get_signature_runner("serving_default" if "serving_default" in signatures else None)
        return dict(runner.get_input_details()), dict(runner.get_output_details())
    return (
        {detail["name"]: detail for detail in interpreter.get_input_details()},
        {detail["name"]: detail for detail in interpreter.get_output_details()},
    )


def _axes(detail: Details) -> list[int]:
    """The declared shape; -1 is free."""
    declared = detail.get("shape_signature")
    return [int(axis) for axis in (declared if declared is not None and len(declared) else detail["shape"])]


def _quantised(array: npt.NDArray[Any], detail: Details) -> npt.NDArray[Any]:
    wanted = np.dtype(detail["dtype"])
    scale, zero = detail["quantization"]
    if array.dtype.kind == "f" and wanted.kind in "iu" and scale:
        lowest, highest = _LIMITS[wanted.name]
        quantised: npt.NDArray[Any] = np.clip(np.round(array / scale) + zero, lowest, highest).astype(wanted)
        return quantised
    return np.ascontiguousarray(array, dtype=wanted)


def _floats(array: npt.NDArray[Any], detail: Details) -> npt.NDArray[Any]:
    scale, zero = detail["quantization"]
    if array.dtype.kind in "iu" and scale:
        return (array.astype(np.float32) - np.float32(zero)) * np.float32(scale)
    return array
