"""What the sessions share: naming outputs, fitting inputs to what a model declares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from airflow_agentic.exceptions import ModelLoadError
from airflow_agentic.openinference.datatypes import datatype_of
from airflow_agentic.openinference.tensors import TensorSpec

if TYPE_CHECKING:
    from airflow_agentic.runtime.base import Arrays
    from airflow_agentic.spec.model import ModelCard


def named(found: Any, numpy: Callable[[Any], npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """A framework's outputs by name; those of a sequence, and a single one, by position.

    What is not an array (a ``None``, a tuple of caches) is left out.
    """
    if isinstance(found, Mapping):
        pairs = [(str(key), value) for key, value in found.items()]
    elif isinstance(found, tuple | list):
        pairs = [(str(place), value) for place, value in enumerate(found)]
    else:
        pairs = [("0", found)]
    return {name: numpy(value) for name, value in pairs if hasattr(value, "shape")}


def by_input(card: ModelCard, given: Arrays, declared: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """``given`` under the model's own input names: the array without a name goes to the only input.

    :raises ModelLoadError: the model has several inputs and the card names none, or one it does not have.
    """
    if set(given) == {""}:
        if len(declared) == 1:
            return {declared[0]: given[""]}
        raise ModelLoadError(
            f"model {card.name!r} has the inputs {', '.join(declared)}; set runtime.input_name to one of them"
        )
    unknown = [name for name in given if name not in declared]
    if unknown:
        raise ModelLoadError(
            f"model {card.name!r} has no input {unknown[0]!r}, only {', '.join(declared)}; "
            f"fix {'runtime.text.inputs' if card.input == 'text' else 'runtime.input_name'}"
        )
    return dict(given)


def tensor_specs(declared: Iterable[tuple[str, Any, Iterable[Any]]]) -> tuple[TensorSpec, ...]:
    """Names, dtypes and shapes that a framework declares; none where one of them is nothing that the protocol has.

    So are a dtype without a datatype (bfloat16), what is no tensor, and a shape without a batch axis: it is not known.
    """
    try:
        found = tuple(
            TensorSpec(name, datatype_of(np.empty(0, dtype)), _shape(shape)) for name, dtype, shape in declared
        )
    except (TypeError, ValueError):
        return ()
    return found if all(one.shape for one in found) else ()


def _shape(declared: Iterable[Any]) -> tuple[int, ...]:
    """A framework's shape: what is no number (a name, ``None``) is any length, -1."""
    return tuple(length if isinstance(length, int) and length >= 0 else -1 for length in declared)


def fitted(array: npt.NDArray[Any], dtype: Any) -> npt.NDArray[Any]:
    """``array`` as the type a model declares (token ids are often int32 there); strings stay."""
    wanted = np.dtype(dtype)
    return array if array.dtype == wanted or wanted.kind in "OSU" else array.astype(wanted)
