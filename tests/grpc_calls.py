"""Calls of the Open Inference Protocol's gRPC service, from tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from airflow_agentic.openinference.binary import from_raw, raw
from airflow_agentic.openinference.datatypes import DTYPES
from airflow_agentic.openinference.grpc_messages import INFERENCE, SERVICE
from airflow_agentic.openinference.tensors import Tensor

FIELDS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Where the specification puts each datatype."""


def request(model: str, tensors: Sequence[Tensor], *, as_raw: bool = False, **fields: Any) -> Any:
    """A ``ModelInferRequest``."""
    message = INFERENCE["ModelInferRequest"](model_name=model, **fields)
    for tensor in tensors:
        one = message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.array.shape)
        if as_raw:
            message.raw_input_contents.append(raw(tensor))
        elif tensor.array.size:
            getattr(one.contents, FIELDS[tensor.datatype]).extend(tensor.array.ravel().tolist())
    return message


def tensors_of(response: Any) -> list[Tensor]:
    """The outputs of a ``ModelInferResponse``, in either form."""
    found = []
    for place, one in enumerate(response.outputs):
        shape = list(one.shape)
        if response.raw_output_contents:
            array = from_raw(memoryview(response.raw_output_contents[place]), one.datatype, shape, one.name)
        else:
            values = list(getattr(one.contents, FIELDS[one.datatype]))
            array = np.empty(len(values), DTYPES[one.datatype])
            array[:] = values
            array = array.reshape(shape)
        found.append(Tensor(one.name, one.datatype, array))
    return found


def call(channel: Any, method: str, message: Any = None, **options: Any) -> Any:
    """Call a method of the service; of a channel of ``grpc.aio`` it has to be awaited."""
    sent = INFERENCE[f"{method}Request"]() if message is None else message
    stub = channel.unary_unary(
        f"/{SERVICE}/{method}",
        request_serializer=lambda one: one if isinstance(one, bytes) else one.SerializeToString(),
        response_deserializer=INFERENCE[f"{method}Response"].FromString,
    )
    return stub(sent, timeout=options.pop("timeout", 20.0), **options)
