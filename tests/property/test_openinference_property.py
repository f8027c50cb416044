"""The protocol's messages: written and read they are the same, and no bytes are more than a ProtocolError."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from copy import deepcopy
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openinference_strategies import requests, responses, same_tensors

from airflow_agentic.exceptions import ProtocolError
from airflow_agentic.openinference.rest import (
    decode_request,
    decode_response,
    encode_json_request,
    encode_request,
    encode_response,
)
from airflow_agentic.openinference.tensors import InferRequest, InferResponse, RequestedOutput, Tensor


def without_flags(parameters: Any) -> dict[str, Any]:
    return {key: value for key, value in parameters.items() if key not in {"binary_data", "binary_data_output"}}


def same_request(found: InferRequest, wanted: InferRequest) -> None:
    same_tensors(found.inputs, wanted.inputs)
    assert (found.id, found.binary) == (wanted.id, wanted.binary)
    assert without_flags(found.parameters) == dict(wanted.parameters)
    assert [(one.name, one.binary, without_flags(one.parameters)) for one in found.outputs] == [
        (one.name, one.binary, dict(one.parameters)) for one in wanted.outputs
    ]


@given(requests(text=False))
def test_a_binary_request_is_read_as_it_was(request: InferRequest) -> None:
    parts, length = encode_request(request)
    same_request(decode_request(b"".join(parts), length), request)


@given(requests(text=True))
def test_a_json_request_is_read_as_it_was(request: InferRequest) -> None:
    same_request(decode_request(encode_json_request(request)), request)


@given(requests(text=True))
def test_nested_data_are_read_as_flat(request: InferRequest) -> None:
    document = orjson.loads(encode_json_request(request))
    for tensor, one in zip(request.inputs, document["inputs"], strict=True):
        if tensor.datatype != "BYTES" and tensor.array.ndim:
            one["data"] = tensor.array.tolist()
    same_request(decode_request(orjson.dumps(document)), request)


@given(responses(text=False), st.data())
def test_a_response_is_read_as_it_was(response: InferResponse, data: st.DataObject) -> None:
    outputs = [RequestedOutput(one.name, data.draw(st.booleans())) for one in response.outputs]
    asked = InferRequest((), outputs, binary=data.draw(st.booleans()))
    try:
        parts, length = encode_response(response, asked)
    except ProtocolError:
        written = [tensor for tensor, one in zip(response.outputs, outputs, strict=True) if not one.binary]
        assert any(no_json(tensor) for tensor in written)
        return
    found = decode_response(b"".join(parts), length)
    same_tensors(found.outputs, response.outputs)
    assert (found.model_name, found.model_version, found.id, dict(found.parameters)) == (
        response.model_name,
        response.model_version,
        response.id,
        dict(response.parameters),
    )


def no_json(tensor: Tensor) -> bool:
    """Whether JSON cannot say it."""
    if tensor.datatype == "BYTES":
        with suppress(UnicodeDecodeError):
            return not all(one.decode().encode() == one for one in tensor.array.ravel())
        return True
    return not np.isfinite(tensor.array).all()


WILD = [
    None, True, -1, 0, 1, 2**31, 2**63, 2**64 - 1, 1e308, -0.5, 1.5, "", "a", "1", "é\0", [], {}, [[]], [[[1]]], [None],
    {"a": {}}, [2**62, 2**62], [0, 2**62, 2**62], [1] * 33, [0] * 32, [10**9], {"binary_data_size": 10**9}, "BYTES",
    "FP64", "BOOL", "INT8", ["x" * 1000, 1], [1, "x"], [True, 2], [[1], [1, 2]], [[1, 2], 3], {"binary_data_size": 0},
    {"binary_data": 1},
]  # fmt: skip


@st.composite
def changed(draw: Any) -> tuple[bytes, int | None]:
    """A message in which a few things are not as they should be."""
    parts, _ = encode_request(draw(requests(text=False)))
    document, tail = orjson.loads(parts[0]), b"".join(parts[1:])
    for _ in range(draw(st.integers(0, 3))):
        places = [(parent, key) for parent in holders(document) for key in keys(parent)]
        parent, key = draw(st.sampled_from(places))
        if draw(st.booleans()) or isinstance(parent, list):
            parent[key] = deepcopy(draw(st.sampled_from(WILD) | st.integers(-(2**63), 2**64 - 1)))
        else:
            del parent[key]
        if not isinstance(document, dict) or not document:
            break
    text = orjson.dumps(document)
    tail = draw(st.sampled_from([tail, tail[:-1], tail + b"\0", b"", b"\xff" * 12]) | st.binary(max_size=40))
    header = draw(st.sampled_from([len(text), len(text), None, len(text) + 1, -1, 2**70, 0]))
    return text + tail, header


def holders(value: Any) -> list[Any]:
    """``value`` and all below it that holds something."""
    below = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return ([value] if below else []) + [found for one in below for found in holders(one)]


def keys(parent: Any) -> list[Any]:
    return list(parent) if isinstance(parent, dict) else list(range(len(parent)))


@given(changed())
@settings(max_examples=400)
def test_a_changed_request_is_a_request_or_a_protocol_error(message: tuple[bytes, int | None]) -> None:
    with suppress(ProtocolError):
        for tensor in decode_request(*message).inputs:
            assert tensor.array.size <= len(message[0])


@given(st.binary(max_size=64), st.none() | st.integers(-1, 70))
@example(b"[" * 900 + b"]" * 900, None)
@example(b'{"inputs":' + b"[" * 900 + b"]" * 900 + b"}", None)
def test_any_bytes_are_a_protocol_error(body: bytes, length: int | None) -> None:
    for decode in (decode_request, decode_response):
        with pytest.raises(ProtocolError):
            decode(body, length)


@pytest.mark.parametrize("datatype", ["BYTES", "FP32", "BOOL"])
@pytest.mark.parametrize("shape", [[10**9], [0, 2**62, 2**62], [2**31, 2**31, 2**31], [2**63, 2**63] * 16])
@pytest.mark.parametrize("parameters", [{}, {"binary_data_size": 8}])
def test_a_huge_shape_takes_no_memory(datatype: str, shape: list[int], parameters: dict[str, int]) -> None:
    tensor = {"name": "x", "datatype": datatype, "shape": shape, "parameters": parameters}
    text = orjson.dumps({"inputs": [tensor | ({} if parameters else {"data": []})]})
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            decode_request(text + bytes(8 if parameters else 0), len(text))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
