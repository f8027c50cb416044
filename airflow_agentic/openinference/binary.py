"""A tensor's elements as the binary tensor extension and gRPC's raw contents have them: row-major, little-endian.

Each element of ``BYTES`` stands after its length, four bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from airflow_agentic.exceptions import ProtocolError
from airflow_agentic.openinference.datatypes import DTYPES
from airflow_agentic.openinference.tensors import Tensor, elements
from airflow_agentic.spec.model import Datatype

_LENGTH: Final = struct.Struct("<I")


def raw(tensor: Tensor) -> bytes:
    """The elements of ``tensor`` as the binary extension has them, row-major."""
    if tensor.datatype != "BYTES":
        return tensor.array.tobytes()
    return b"".join(part for one in tensor.array.ravel().tolist() for part in (_LENGTH.pack(len(one)), one))


def from_raw(data: memoryview, datatype: Datatype, shape: Sequence[int], where: str) -> npt.NDArray[Any]:
    """The array of a tensor's binary elements; numbers are a view of ``data``.

    :param where: the tensor's place, for messages.
    """
    count = elements(shape)
    if datatype == "BYTES":
        strings = list(_strings(data, count, where))  # first: a wrong shape must not take memory
        found = np.empty(count, object)
        found[:] = strings
        return found.reshape(shape)
    dtype = DTYPES[datatype]
    if count * dtype.itemsize != len(data):
        raise ProtocolError(
            f"{where}: {len(data)} bytes of binary data, but {count} elements of {datatype} are "
            f"{count * dtype.itemsize}; fix shape, datatype or binary_data_size"
        )
    array = np.frombuffer(data, dtype)
    if datatype == "BOOL" and (array.view(np.uint8) > 1).any():
        raise ProtocolError(f"{where}: the binary data of BOOL has a byte that is neither 0 nor 1")
    return array.reshape(shape)


def _strings(data: memoryview, count: int, where: str) -> Iterator[bytes]:
    start = 0
    for place in range(count):
        begin = start + _LENGTH.size
        if begin > len(data):
            raise ProtocolError(f"{where}: the binary data ends before string {place} of {count}")
        start = begin + _LENGTH.unpack_from(data, begin - _LENGTH.size)[0]
        if start > len(data):
            raise ProtocolError(f"{where}: string {place} of {count} is longer than the binary data")
        yield bytes(data[begin:start])
    if start != len(data):
        raise ProtocolError(f"{where}: {len(data) - start} bytes are left after the last of {count} strings")
