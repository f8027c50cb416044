"""Arrays as an Arrow table, for the pipe between a model process and its parent: one row, one column an array.

A column is the array's bytes; its field's metadata says datatype and shape. What is read is a view of the message.
"""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np
import pyarrow as pa

from airflow_agentic.openinference.binary import from_raw, raw
from airflow_agentic.openinference.tensors import Tensor
from airflow_agentic.runtime.base import Arrays

_FORM: Final = b"tensor"
_OFFSETS: Final = np.dtype("<i8")


def to_table(arrays: Arrays) -> pa.Table:
    """``arrays`` as a table; strings become ``bytes``.

    :raises ValueError: an array has no datatype of the protocol.
    """
    fields, columns = [], []
    for name, array in arrays.items():
        tensor = Tensor.of(name, array)
        form = json.dumps([tensor.datatype, *tensor.array.shape]).encode()
        fields.append(pa.field(name, pa.large_binary(), metadata={_FORM: form}))
        columns.append(_one(pa.py_buffer(_bytes(tensor))))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def from_table(table: pa.Table) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays that :func:`to_table` was given."""
    found = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        datatype, *shape = json.loads(field.metadata[_FORM])
        found[field.name] = from_raw(memoryview(column[0].as_buffer()), datatype, shape, field.name)
    return found


def _bytes(tensor: Tensor) -> Any:
    """What holds the elements: the array itself where it is one piece."""
    if tensor.datatype == "BYTES":
        return raw(tensor)
    return np.ascontiguousarray(tensor.array).reshape(-1).view(np.uint8)


def _one(data: pa.Buffer) -> pa.LargeBinaryArray:
    offsets = pa.py_buffer(np.array([0, data.size], _OFFSETS))
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, offsets, data])
