"""Requests, responses and metadata of the protocol, whatever carried them.

What is made for every request is a named tuple: it costs a third of a frozen dataclass.
"""

from __future__ import annotations

import math
import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from airflow_agentic.exceptions import ProtocolError
from airflow_agentic.openinference.datatypes import DTYPES, datatype_of
from airflow_agentic.spec.model import Datatype

MAX_AXES: Final = 32
MAX_EMPTY: Final = 2**56
"""The most that the lengths of an array without elements may multiply to, those of 0 left out: NumPy's own bound."""

_SHORT: Final = reprlib.Repr()
"""Of a value that may be large, and nested deeper than Python's own ``repr`` goes."""
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60

NO_PARAMETERS: Final[Mapping[str, Any]] = MappingProxyType({})


class Tensor(NamedTuple):
    """A named array; ``BYTES`` are dtype ``object`` with elements of type ``bytes``."""

    name: str
    datatype: Datatype
    array: npt.NDArray[Any]
    parameters: Mapping[str, Any] = NO_PARAMETERS

    @classmethod
    def of(cls, name: str, array: npt.NDArray[Any]) -> Tensor:
        """A model's array, in the byte order of the wire and with strings as UTF-8.

        :raises ValueError: the protocol has no datatype for it.
        """
        datatype = datatype_of(array)
        if datatype == "BYTES":
            return cls(name, datatype, as_bytes(array))
        dtype = DTYPES[datatype]
        return cls(name, datatype, array if array.dtype == dtype else array.astype(dtype))


def as_bytes(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``array`` of strings, bytes or objects with elements of type ``bytes``."""
    found = np.empty(array.shape, object)
    found.ravel()[:] = [one if isinstance(one, bytes) else str(one).encode() for one in array.ravel().tolist()]
    return found


class RequestedOutput(NamedTuple):
    """An output that a request names."""

    name: str
    binary: bool | None = None
    """Its own ``binary_data``; ``None``: as the request's ``binary_data_output`` says."""
    parameters: Mapping[str, Any] = NO_PARAMETERS


class InferRequest(NamedTuple):
    """What a model is asked."""

    inputs: Sequence[Tensor]
    outputs: Sequence[RequestedOutput] = ()
    """None: all that the model gives."""
    id: str | None = None
    parameters: Mapping[str, Any] = NO_PARAMETERS
    binary: bool = False
    """``binary_data_output``: outputs as bytes after the JSON, unless one says otherwise."""

    @property
    def size(self) -> int:
        """Bytes of its arrays, for bounds of queues."""
        return sum(map(size_of, self.inputs))


def size_of(tensor: Tensor) -> int:
    """Bytes of its elements; of ``BYTES`` those of the strings and their pointers."""
    array = tensor.array
    if array.dtype.kind != "O":
        return array.nbytes
    return array.nbytes + sum(map(len, array.ravel().tolist()))


class InferResponse(NamedTuple):
    """What a model answered."""

    model_name: str
    outputs: Sequence[Tensor]
    model_version: str | None = None
    id: str | None = None
    parameters: Mapping[str, Any] = NO_PARAMETERS


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor as metadata describes it; -1 is any length."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """As in the protocol's metadata."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether an array of ``shape`` is one of these."""
        return len(shape) == len(self.shape) and all(
            own in {-1, given} for own, given in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a model says of itself. Without inputs (or outputs) they are not known before it is asked."""

    name: str
    versions: tuple[str, ...] = ()
    platform: str = ""
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As in the protocol."""
        return {
            "name": self.name,
            "versions": list(self.versions),
            "platform": self.platform,
            "inputs": [one.to_json() for one in self.inputs],
            "outputs": [one.to_json() for one in self.outputs],
            "properties": dict(self.properties),
        }


def elements(shape: Sequence[int]) -> int:
    """How many elements a tensor of ``shape`` has."""
    return math.prod(shape)


def counted(shape: Any, side: str, place: int) -> int:
    """How many elements a tensor of a message has.

    :param shape: as the message has it; nothing is taken for granted.
    :raises ProtocolError: it is no shape, or longer than an array can be.
    """
    count = 1
    if type(shape) is not list or len(shape) > MAX_AXES:
        raise ProtocolError(
            f"{side}[{place}].shape: expected a list of at most {MAX_AXES} lengths, found {shown(shape)}"
        )
    for length in shape:
        if type(length) is not int or length < 0:
            raise ProtocolError(f"{side}[{place}].shape: expected lengths of 0 or more, found {shown(length)}")
        count *= length
    if count == 0 and math.prod(filter(None, shape)) > MAX_EMPTY:
        raise ProtocolError(f"{side}[{place}].shape: {shown(shape)} is longer than an array can be")
    return count


def distinct(side: str, names: list[str]) -> None:
    """Refuse a list in which a name stands twice.

    :raises ProtocolError: with that name.
    """
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise ProtocolError(f"{side}: the name {twice!r} stands twice; keep one of them")


def shown(value: Any) -> str:
    """``value`` in a message, short."""
    if value is None:
        return "nothing"
    text = _SHORT.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
