"""The protocol's messages on HTTP: JSON, with arrays in it or, by the binary tensor extension, after it.

Four directions: a server decodes requests and encodes responses, a client the other way round. Whatever is wrong with a
message is a :class:`ProtocolError` that names the place, as ``inputs[0].shape``.

Choices where the specification is silent: ``FP16`` numbers are taken and given as JSON numbers, too. A number that is
not finite has no JSON form and is refused there; as binary it passes. ``data`` may be flat or nested as ``shape``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from airflow_agentic.exceptions import ProtocolError
from airflow_agentic.openinference.binary import from_raw, raw
from airflow_agentic.openinference.datatypes import DATATYPES, DTYPES
from airflow_agentic.openinference.tensors import (
    NO_PARAMETERS,
    InferRequest,
    InferResponse,
    RequestedOutput,
    Tensor,
    counted,
    distinct,
    shown,
)

HEADER_LENGTH: Final = "inference-header-content-length"
"""The header with the length of the JSON before binary tensors, in bytes."""

_NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY


_PYTHON: Final = {
    name: frozenset({bool} if dtype.kind == "b" else {int} if dtype.kind in "iu" else {int, float})
    for name, dtype in DTYPES.items()
}
_STRINGS: Final = frozenset({str})
_FORMATS: Final = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
"""Of :mod:`struct`."""


def decode_request(body: bytes, header_length: int | None = None) -> InferRequest:
    """A request as a client sent it.

    :param header_length: of the JSON, where binary tensors follow it.
    """
    document, rest = _document(body, header_length)
    given = document.get("inputs")
    if type(given) is not list or not given:
        raise ProtocolError(f"inputs: expected a list of one tensor or more, found {shown(given)}")
    inputs = [_tensor(one, "inputs", place, rest) for place, one in enumerate(given)]
    if len(inputs) > 1:
        distinct("inputs", [one.name for one in inputs])
    rest.end()
    if len(document) == 1:
        return InferRequest(inputs)
    outputs = document.get("outputs")
    parameters = _parameters(document, "")
    return InferRequest(
        inputs,
        () if outputs is None else _requested(outputs),
        _optional_text(document, "id"),
        parameters,
        _flag(parameters, "binary_data_output", "parameters") or False,
    )


def encode_response(response: InferResponse, request: InferRequest) -> tuple[list[bytes], int | None]:
    """A response to ``request``: the body's parts, and the length of the JSON where binary tensors follow it.

    :raises ProtocolError: an output has no JSON form; the request should ask for binary data.
    """
    document: dict[str, Any] = {"model_name": response.model_name}
    if response.model_version is not None:
        document["model_version"] = response.model_version
    if response.id is not None:
        document["id"] = response.id
    if response.parameters:
        document["parameters"] = dict(response.parameters)
    if request.binary or request.outputs:
        document["outputs"], parts = _outputs(response.outputs, request)
    else:
        document["outputs"], parts = [_with_data(tensor) for tensor in response.outputs], []
    text = orjson.dumps(document, option=_NUMPY)
    if b"null" in text:
        _refuse_infinite(
            [one for one, told in zip(response.outputs, document["outputs"], strict=True) if "data" in told]
        )
    return ([text], None) if not parts else ([text, *parts], len(text))


def _outputs(outputs: Sequence[Tensor], request: InferRequest) -> tuple[list[dict[str, Any]], list[bytes]]:
    """The tensors of a response, and the bytes of those that the request wants as binary data."""
    asked = {one.name: one.binary for one in request.outputs}
    tensors: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for tensor in outputs:
        own = asked.get(tensor.name)
        if request.binary if own is None else own:
            data = raw(tensor)
            parts.append(data)
            tensors.append(_head(tensor) | {"parameters": {**tensor.parameters, "binary_data_size": len(data)}})
        else:
            tensors.append(_with_data(tensor))
    return tensors, parts


def encode_request(request: InferRequest) -> tuple[list[bytes], int | None]:
    """A request as a client sends it, its arrays as binary data; the body's parts and the length of the JSON."""
    document: dict[str, Any] = {} if request.id is None else {"id": request.id}
    parts = [raw(tensor) for tensor in request.inputs]
    document["parameters"] = {**request.parameters, "binary_data_output": request.binary}
    document["inputs"] = [
        _head(tensor) | {"parameters": {**tensor.parameters, "binary_data_size": len(part)}}
        for tensor, part in zip(request.inputs, parts, strict=True)
    ]
    if request.outputs:
        document["outputs"] = [
            {"name": one.name, "parameters": dict(one.parameters) | _binary(one)} for one in request.outputs
        ]
    text = orjson.dumps(document)
    return [text, *parts], len(text)


def encode_json_request(request: InferRequest) -> bytes:
    """A request without the binary extension, for servers that do not know it.

    :raises ProtocolError: an array has no JSON form.
    """
    document: dict[str, Any] = {} if request.id is None else {"id": request.id}
    if request.parameters:
        document["parameters"] = dict(request.parameters)
    document["inputs"] = [_with_data(tensor) for tensor in request.inputs]
    if request.outputs:
        document["outputs"] = [_without_binary(one) for one in request.outputs]
    text = orjson.dumps(document, option=_NUMPY)
    if b"null" in text:
        _refuse_infinite(request.inputs)
    return text


def decode_response(body: bytes, header_length: int | None = None) -> InferResponse:
    """A response as a server sent it."""
    document, rest = _document(body, header_length)
    given = document.get("outputs")
    if not isinstance(given, list):
        raise ProtocolError(f"outputs: expected a list of tensors, found {shown(given)}")
    outputs = [_tensor(one, "outputs", place, rest) for place, one in enumerate(given)]
    distinct("outputs", [one.name for one in outputs])
    rest.end()
    return InferResponse(
        _optional_text(document, "model_name") or "",
        outputs,
        _optional_text(document, "model_version"),
        _optional_text(document, "id"),
        _parameters(document, ""),
    )


class _Rest:
    """A message beside its document: the binary tensors after the JSON, which are taken from front to back."""

    __slots__ = ("_data", "_place", "booleans")

    def __init__(self, data: memoryview, booleans: bool) -> None:
        self.booleans = booleans
        """Whether the JSON may hold booleans."""
        self._data = data
        self._place = 0

    def take(self, count: int, where: str) -> memoryview:
        left = len(self._data) - self._place
        if count > left:
            raise ProtocolError(
                f"{where}.parameters.binary_data_size: {count} bytes, but {left} are left after the JSON; "
                "send them, and the header Inference-Header-Content-Length"
            )
        self._place += count
        return self._data[self._place - count : self._place]

    def end(self) -> None:
        left = len(self._data) - self._place
        if left:
            raise ProtocolError(f"{left} bytes follow the last tensor; set binary_data_size, or send none")


_NOTHING: Final = memoryview(b"")


def _document(body: bytes, header_length: int | None) -> tuple[dict[str, Any], _Rest]:
    text, data = body, _NOTHING
    if header_length is not None:
        if not 0 <= header_length <= len(body):
            raise ProtocolError(f"Inference-Header-Content-Length: {header_length}, but the body has {len(body)} bytes")
        text, data = body[:header_length], memoryview(body)[header_length:]
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(f"the body is not JSON: {error}") from None
    if type(document) is not dict:
        raise ProtocolError(f"the body: expected an object, found {shown(document)}")
    # looking for one letter is ten times as fast as for a word, and a plain request has none of these
    booleans = (b"r" in text and b"true" in text) or (b"l" in text and b"false" in text)
    return document, _Rest(data, booleans)


def _optional_text(document: Mapping[str, Any], key: str) -> str | None:
    given = document.get(key)
    if given is not None and not isinstance(given, str):
        raise ProtocolError(f"{key}: expected a string, found {shown(given)}")
    return given


def _tensor(given: Any, side: str, place: int, rest: _Rest) -> Tensor:
    if type(given) is not dict:
        raise ProtocolError(f"{side}[{place}]: expected an object, found {shown(given)}")
    name = given.get("name")
    datatype: Any = given.get("datatype")
    shape: Any = given.get("shape")
    if type(name) is not str or not name:
        raise ProtocolError(f"{side}[{place}].name: expected a string, found {shown(name)}")
    if datatype not in DATATYPES:
        raise ProtocolError(
            f"{side}[{place}].datatype: expected one of {', '.join(DATATYPES)}, found {shown(datatype)}"
        )
    count = counted(shape, side, place)
    data = given.get("data")
    if "parameters" not in given:
        if data is None:
            raise ProtocolError(f"{side}[{place}].data: is missing; write a list, or parameters.binary_data_size")
        return Tensor(name, datatype, _array(data, datatype, shape, count, side, place, rest.booleans))
    where = f"{side}[{place}]"
    parameters = _parameters(given, f"{where}.")
    size = parameters.get("binary_data_size")
    if size is None:
        if data is None:
            raise ProtocolError(f"{where}.data: is missing; write a list, or parameters.binary_data_size")
        return Tensor(name, datatype, _array(data, datatype, shape, count, side, place, rest.booleans), parameters)
    if data is not None:
        raise ProtocolError(f"{where}: has data and parameters.binary_data_size; remove one of them")
    if type(size) is not int or size < 0:
        raise ProtocolError(f"{where}.parameters.binary_data_size: expected a number of bytes, found {shown(size)}")
    others = {key: value for key, value in parameters.items() if key != "binary_data_size"}
    return Tensor(name, datatype, from_raw(rest.take(size, where), datatype, shape, where), others)


def _array(
    data: Any, datatype: str, shape: list[int], count: int, side: str, place: int, booleans: bool
) -> npt.NDArray[Any]:
    if type(data) is not list:
        raise ProtocolError(f"{side}[{place}].data: expected a list, found {shown(data)}")
    flat = data
    if data and type(data[0]) is list:
        flat = _flat(data, shape, f"{side}[{place}].data")
    if len(flat) != count:
        raise ProtocolError(
            f"{side}[{place}].data: shape {shown(shape)} has {shown(count)} elements, found {len(flat)}"
        )
    if datatype == "BYTES":
        return _texts(flat, f"{side}[{place}].data").reshape(shape)
    return _numbers(flat, datatype, side, place, booleans).reshape(shape)


def _flat(data: list[Any], shape: list[int], where: str) -> list[Any]:
    """The elements of nested lists; the lengths of the lists are those of ``shape``."""
    flat = [data]
    for length in shape:
        if not all(type(one) is list and len(one) == length for one in flat):
            raise ProtocolError(
                f"{where}: is not nested as shape {shown(shape)} says; give the elements in one flat list"
            )
        flat = list(chain.from_iterable(flat))
    return flat


def _numbers(flat: list[Any], datatype: str, side: str, place: int, booleans: bool) -> npt.NDArray[Any]:
    """An array of the tensor's dtype; nothing is lost but a float's precision.

    ``struct`` takes no text for numbers, no fraction for an integer, and nothing that is out of range, in a quarter of
    the time that NumPy and a look at each element take. It takes booleans for numbers.
    """
    wanted = _PYTHON[datatype]
    try:
        if (booleans or datatype == "BOOL") and not wanted.issuperset(map(type, flat)):
            raise struct.error
        data = bytearray(DTYPES[datatype].itemsize * len(flat))
        struct.pack_into(f"<{len(flat)}{_FORMATS[datatype]}", data, 0, *flat)
    except (struct.error, OverflowError):
        wrong = next((one for one in flat if type(one) not in wanted), None)
        found = "a number that does not fit" if wrong is None and None not in flat else shown(wrong)
        raise ProtocolError(f"{side}[{place}].data: expected {datatype}, found {found}") from None
    return np.frombuffer(data, DTYPES[datatype])


def _texts(flat: list[Any], where: str) -> npt.NDArray[Any]:
    if not _STRINGS.issuperset(map(type, flat)):
        wrong = next(one for one in flat if type(one) is not str)
        raise ProtocolError(f"{where}: expected BYTES as strings, found {shown(wrong)}")
    found = np.empty(len(flat), object)
    found[:] = [text.encode() for text in flat]
    return found


def _parameters(given: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    parameters = given.get("parameters")
    if parameters is None:
        return NO_PARAMETERS
    if type(parameters) is not dict:
        raise ProtocolError(f"{where}parameters: expected an object, found {shown(parameters)}")
    for key, value in parameters.items():
        if not isinstance(value, str | int | float):
            raise ProtocolError(
                f"{where}parameters.{key}: expected a string, a number or a boolean, found {shown(value)}"
            )
    return parameters


def _requested(given: Any) -> list[RequestedOutput]:
    if type(given) is not list:
        raise ProtocolError(f"outputs: expected a list, found {shown(given)}")
    outputs = []
    for place, one in enumerate(given):
        name = one.get("name") if type(one) is dict else None
        if type(name) is not str or not name:
            raise ProtocolError(f"outputs[{place}]: expected an object with a name, found {shown(one)}")
        parameters = _parameters(one, f"outputs[{place}].")
        flag = _flag(parameters, "binary_data", f"outputs[{place}].parameters")
        outputs.append(RequestedOutput(name, flag, parameters))
    distinct("outputs", [one.name for one in outputs])
    return outputs


def _flag(parameters: Mapping[str, Any], key: str, where: str) -> bool | None:
    value = parameters.get(key)
    if value is not None and not isinstance(value, bool):
        raise ProtocolError(f"{where}.{key}: expected true or false, found {shown(value)}")
    return value


def _head(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "shape": tensor.array.shape, "datatype": tensor.datatype}


def _with_data(tensor: Tensor) -> dict[str, Any]:
    array = tensor.array
    head: dict[str, Any] = {"name": tensor.name, "shape": array.shape, "datatype": tensor.datatype}
    if tensor.parameters:
        head["parameters"] = dict(tensor.parameters)
    if tensor.datatype != "BYTES":
        head["data"] = array if array.ndim == 1 and array.flags.c_contiguous else array.flatten()
        return head
    try:
        head["data"] = [one.decode() for one in tensor.array.ravel().tolist()]
    except UnicodeDecodeError:
        raise ProtocolError(
            f"{tensor.name!r} has bytes that are no UTF-8 and so no JSON form; ask for it with binary_data: true"
        ) from None
    return head


def _without_binary(output: RequestedOutput) -> dict[str, Any]:
    rest = {key: value for key, value in output.parameters.items() if key != "binary_data"}
    return {"name": output.name, "parameters": rest} if rest else {"name": output.name}


def _binary(output: RequestedOutput) -> dict[str, bool]:
    return {} if output.binary is None else {"binary_data": output.binary}


def _refuse_infinite(tensors: Sequence[Tensor]) -> None:
    for tensor in tensors:
        if tensor.array.dtype.kind == "f" and not np.isfinite(tensor.array).all():
            raise ProtocolError(
                f"{tensor.name!r} has numbers that are not finite (NaN or infinity) and so no JSON form; "
                "ask for it with binary_data: true"
            )
