"""The protocol's datatypes and NumPy's.

Strings and raw bytes are ``BYTES``: arrays of dtype ``object`` whose elements are ``bytes``. On the wire all numbers
are little-endian, as in the protocol's binary tensor extension.
"""

from __future__ import annotations

from typing import Final, get_args

import numpy as np
import numpy.typing as npt

from airflow_agentic.spec.model import Datatype

DATATYPES: Final[tuple[Datatype, ...]] = get_args(Datatype)

DTYPES: Final[dict[str, np.dtype[np.generic]]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype("O"),
}
"""The dtype of each datatype's arrays."""

_DATATYPES: Final[dict[np.dtype[np.generic], Datatype]] = {dtype: name for name, dtype in DTYPES.items()}  # type: ignore[misc]  # the keys are Datatype


def datatype_of(array: npt.NDArray[np.generic]) -> Datatype:
    """The datatype of a model's array; every kind of string is ``BYTES``.

    :raises ValueError: the protocol has none for it (complex numbers, dates).
    """
    known = _DATATYPES.get(array.dtype)
    if known is not None:
        return known
    if array.dtype.kind in "SU":
        return "BYTES"
    native = _DATATYPES.get(array.dtype.newbyteorder("<"))
    if native is None:
        raise ValueError(f"an array of {array.dtype} has no datatype of the protocol: {', '.join(DATATYPES)}")
    return native
