"""The protocol's requests, responses and metadata as its messages on gRPC.

Tensors are in typed ``contents`` or, all of them, in ``raw_input_contents`` and ``raw_output_contents``, row-major and
little-endian.

Choices where the specification is silent: beside raw contents typed ones may be there, if they are empty. A response is
raw where its request was, and where one of its outputs is ``FP16``, which has no typed form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from airflow_agentic.exceptions import ProtocolError
from airflow_agentic.openinference.binary import from_raw, raw
from airflow_agentic.openinference.datatypes import DATATYPES, DTYPES
from airflow_agentic.openinference.grpc_messages import INFERENCE
from airflow_agentic.openinference.tensors import (
    NO_PARAMETERS,
    InferRequest,
    InferResponse,
    ModelMetadata,
    RequestedOutput,
    Tensor,
    counted,
    distinct,
    shown,
)

Message = Any
"""A Protocol Buffers message; its fields have no types that a checker knows."""

_CONTENTS: Final = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_NARROW: Final = frozenset({"UINT8", "UINT16", "INT8", "INT16"})
"""Those that travel in wider numbers."""


def decode_request(message: Message) -> InferRequest:
    """A ``ModelInferRequest`` as a request; whose model it asks is not in it.

    :raises ProtocolError: with the place, as ``inputs[0].shape``.
    """
    if not message.inputs:
        raise ProtocolError("inputs: expected one tensor or more, found none")
    inputs = _raw_inputs(message) if message.raw_input_contents else _typed_inputs(message)
    distinct("inputs", [one.name for one in inputs])
    outputs = []
    for place, one in enumerate(message.outputs):
        if not one.name:
            raise ProtocolError(f"outputs[{place}].name: expected a string, found ''")
        outputs.append(RequestedOutput(one.name, None, _parameters(one, f"outputs[{place}].")))
    distinct("outputs", [one.name for one in outputs])
    return InferRequest(
        inputs, outputs, message.id or None, _parameters(message, ""), binary=bool(message.raw_input_contents)
    )


def encode_response(response: InferResponse, request: InferRequest) -> Message:
    """The ``ModelInferResponse`` to ``request``."""
    message = INFERENCE["ModelInferResponse"](
        model_name=response.model_name, model_version=response.model_version or "", id=response.id or ""
    )
    _set_parameters(message, response.parameters)
    as_raw = request.binary or any(tensor.datatype == "FP16" for tensor in response.outputs)
    for tensor in response.outputs:
        output = message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.array.shape)
        _set_parameters(output, tensor.parameters)
        if as_raw:
            message.raw_output_contents.append(raw(tensor))
        else:
            getattr(output.contents, _CONTENTS[tensor.datatype]).extend(tensor.array.ravel().tolist())
    return message


def encode_metadata(metadata: ModelMetadata) -> Message:
    """The ``ModelMetadataResponse`` of ``metadata``."""
    message = INFERENCE["ModelMetadataResponse"](
        name=metadata.name, versions=metadata.versions, platform=metadata.platform, properties=metadata.properties
    )
    for specs, given in ((metadata.inputs, message.inputs), (metadata.outputs, message.outputs)):
        for one in specs:
            given.add(name=one.name, datatype=one.datatype, shape=one.shape)
    return message


def _raw_inputs(message: Message) -> list[Tensor]:
    contents = message.raw_input_contents
    if len(contents) != len(message.inputs):
        raise ProtocolError(
            f"raw_input_contents: {len(contents)} contents for {len(message.inputs)} inputs; give one each, or none"
        )
    inputs = []
    for place, (tensor, content) in enumerate(zip(message.inputs, contents, strict=True)):
        datatype, shape, _ = _described(tensor, place)
        if tensor.contents.ByteSize():
            raise ProtocolError(f"inputs[{place}].contents: must be empty where raw_input_contents are given")
        array = from_raw(memoryview(content), datatype, shape, f"raw_input_contents[{place}]")
        inputs.append(Tensor(tensor.name, datatype, array, _parameters(tensor, f"inputs[{place}].")))
    return inputs


def _typed_inputs(message: Message) -> list[Tensor]:
    inputs = []
    for place, tensor in enumerate(message.inputs):
        datatype, shape, count = _described(tensor, place)
        array = _array(tensor.contents, datatype, count, f"inputs[{place}].contents").reshape(shape)
        inputs.append(Tensor(tensor.name, datatype, array, _parameters(tensor, f"inputs[{place}].")))
    return inputs


def _described(tensor: Message, place: int) -> tuple[Any, list[int], int]:
    if not tensor.name:
        raise ProtocolError(f"inputs[{place}].name: expected a string, found ''")
    if tensor.datatype not in DTYPES:
        raise ProtocolError(
            f"inputs[{place}].datatype: expected one of {', '.join(DATATYPES)}, found {shown(tensor.datatype)}"
        )
    shape = list(tensor.shape)
    return tensor.datatype, shape, counted(shape, "inputs", place)


def _array(contents: Message, datatype: str, count: int, where: str) -> npt.NDArray[Any]:
    wanted = _CONTENTS.get(datatype)
    if wanted is None:
        raise ProtocolError(f"{where}: {datatype} has no typed form; send all inputs in raw_input_contents")
    other = next((field.name for field, _ in contents.ListFields() if field.name != wanted), None)
    if other is not None:
        raise ProtocolError(f"{where}: {datatype} is in {wanted}, found {other}")
    values = list(getattr(contents, wanted))
    if len(values) != count:
        raise ProtocolError(f"{where}.{wanted}: the shape has {shown(count)} elements, found {len(values)}")
    if datatype == "BYTES":
        found = np.empty(count, object)
        found[:] = values
        return found
    if datatype in _NARROW and values:
        limits = np.iinfo(str(DTYPES[datatype]))
        if min(values) < limits.min or max(values) > limits.max:
            raise ProtocolError(f"{where}.{wanted}: a number does not fit {datatype} ({limits.min} to {limits.max})")
    return np.array(values, DTYPES[datatype])


def _parameters(owner: Message, where: str) -> Mapping[str, Any]:
    given = owner.parameters
    if not given:
        return NO_PARAMETERS
    found = {}
    for name, value in given.items():
        kind = value.WhichOneof("parameter_choice")
        if kind is None:
            raise ProtocolError(f"{where}parameters.{name}: expected a string, a number or a boolean, found nothing")
        found[name] = getattr(value, kind)
    return found


def _set_parameters(owner: Message, parameters: Mapping[str, Any]) -> None:
    for name, value in parameters.items():
        kind = {bool: "bool_param", int: "int64_param", float: "double_param"}.get(type(value), "string_param")
        setattr(owner.parameters[name], kind, value)
