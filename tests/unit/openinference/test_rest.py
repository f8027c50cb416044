"""Messages that are wrong, and what is said of them; what is right is in the property tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from airflow_agentic.exceptions import ProtocolError
from airflow_agentic.openinference.rest import (
    decode_request,
    decode_response,
    encode_json_request,
    encode_request,
    encode_response,
)
from airflow_agentic.openinference.tensors import InferRequest, InferResponse, RequestedOutput, Tensor

GOOD: dict[str, Any] = {"name": "x", "shape": [2], "datatype": "INT8", "data": [1, 2]}
DATATYPES = "BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, FP32, FP64, BYTES"
FLAT = "give the elements in one flat list"


def said(message: Any, length: int | None = None, tail: bytes = b"") -> str:
    text = message if isinstance(message, bytes) else orjson.dumps(message)
    with pytest.raises(ProtocolError) as caught:
        decode_request(text + tail, len(text) if tail and length is None else length)
    return str(caught.value)


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        (b"{", "the body is not JSON: unexpected end of data: line 1 column 2 (char 1)"),
        (b"[]", "the body: expected an object, found []"),
        ({}, "inputs: expected a list of one tensor or more, found nothing"),
        ({"inputs": []}, "inputs: expected a list of one tensor or more, found []"),
        ({"inputs": {"a": 1}}, "inputs: expected a list of one tensor or more, found {'a': 1}"),
        ({"inputs": ["x"]}, "inputs[0]: expected an object, found 'x'"),
        ({"inputs": [GOOD, GOOD]}, "inputs: the name 'x' stands twice; keep one of them"),
        ({"id": 7, "inputs": [GOOD]}, "id: expected a string, found 7"),
        ({"parameters": [], "inputs": [GOOD]}, "parameters: expected an object, found []"),
        (
            {"parameters": {"a": None}, "inputs": [GOOD]},
            "parameters.a: expected a string, a number or a boolean, found nothing",
        ),
        (
            {"parameters": {"binary_data_output": 1}, "inputs": [GOOD]},
            "parameters.binary_data_output: expected true or false, found 1",
        ),
        ({"outputs": {}, "inputs": [GOOD]}, "outputs: expected a list, found {}"),
        ({"outputs": "y", "inputs": [GOOD]}, "outputs: expected a list, found 'y'"),
        ({"outputs": [{}], "inputs": [GOOD]}, "outputs[0]: expected an object with a name, found {}"),
        (
            {"outputs": [{"name": "y"}] * 2, "inputs": [GOOD]},
            "outputs: the name 'y' stands twice; keep one of them",
        ),
        (
            {"outputs": [{"name": "y", "parameters": {"binary_data": "yes"}}], "inputs": [GOOD]},
            "outputs[0].parameters.binary_data: expected true or false, found 'yes'",
        ),
    ],
)
def test_a_wrong_message(message: Any, wanted: str) -> None:
    assert said(message) == wanted


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"name": ""}, ".name: expected a string, found ''"),
        ({"name": 5}, ".name: expected a string, found 5"),
        ({"datatype": "FP8"}, f".datatype: expected one of {DATATYPES}, found 'FP8'"),
        ({"datatype": ["FP32"]}, f".datatype: expected one of {DATATYPES}, found ['FP32']"),
        ({"shape": 2}, ".shape: expected a list of at most 32 lengths, found 2"),
        ({"shape": [1] * 33}, ".shape: expected a list of at most 32 lengths, found [1, 1, 1, 1, 1, 1, ...]"),
        ({"shape": [-1]}, ".shape: expected lengths of 0 or more, found -1"),
        ({"shape": [2.0]}, ".shape: expected lengths of 0 or more, found 2.0"),
        ({"shape": [True]}, ".shape: expected lengths of 0 or more, found True"),
        (
            {"shape": [0, 2**62, 2**62]},
            ".shape: [0, 4611686018427387904, 4611686018427387904] is longer than an array can be",
        ),
        ({"shape": [3]}, ".data: shape [3] has 3 elements, found 2"),
        ({"shape": [2**40, 2**40]}, f".data: shape [{2**40}, {2**40}] has {2**80} elements, found 2"),
        ({"data": None}, ".data: is missing; write a list, or parameters.binary_data_size"),
        ({"data": None, "parameters": {}}, ".data: is missing; write a list, or parameters.binary_data_size"),
        ({"data": "12"}, ".data: expected a list, found '12'"),
        ({"data": [1, "2"]}, ".data: expected INT8, found '2'"),
        ({"data": [1, 1.5]}, ".data: expected INT8, found 1.5"),
        ({"data": [1, True]}, ".data: expected INT8, found True"),
        ({"data": [1, None]}, ".data: expected INT8, found nothing"),
        ({"data": [1, [2]]}, ".data: expected INT8, found [2]"),
        ({"data": [1, 128]}, ".data: expected INT8, found a number that does not fit"),
        ({"data": [1, -1], "datatype": "UINT64"}, ".data: expected UINT64, found a number that does not fit"),
        ({"data": [1, 1e39], "datatype": "FP32"}, ".data: expected FP32, found a number that does not fit"),
        ({"data": [1, 7e4], "datatype": "FP16"}, ".data: expected FP16, found a number that does not fit"),
        ({"data": [1, 0], "datatype": "BOOL"}, ".data: expected BOOL, found 1"),
        ({"data": [True, 0.0], "datatype": "FP64"}, ".data: expected FP64, found True"),
        ({"data": ["a", 1], "datatype": "BYTES"}, ".data: expected BYTES as strings, found 1"),
        ({"data": ["a", None], "datatype": "BYTES"}, ".data: expected BYTES as strings, found nothing"),
        ({"data": [[1], [2]]}, ".data: expected INT8, found [1]"),
        ({"data": [[1, 2], [3]], "shape": [2, 2]}, f".data: is not nested as shape [2, 2] says; {FLAT}"),
        ({"data": [[1, 2], 3], "shape": [2, 2]}, f".data: is not nested as shape [2, 2] says; {FLAT}"),
        ({"data": [[1, 2]], "shape": [2, 1]}, f".data: is not nested as shape [2, 1] says; {FLAT}"),
        (
            {"parameters": {"binary_data_size": 2}},
            ": has data and parameters.binary_data_size; remove one of them",
        ),
        (
            {"data": None, "parameters": {"binary_data_size": "2"}},
            ".parameters.binary_data_size: expected a number of bytes, found '2'",
        ),
        (
            {"data": None, "parameters": {"binary_data_size": 2}},
            ".parameters.binary_data_size: 2 bytes, but 0 are left after the JSON; "
            "send them, and the header Inference-Header-Content-Length",
        ),
    ],
)
def test_a_wrong_tensor(change: dict[str, Any], wanted: str) -> None:
    assert said({"inputs": [GOOD | change]}) == f"inputs[0]{wanted}"


@pytest.mark.parametrize(
    ("change", "tail", "wanted"),
    [
        ({}, b"\1", ": 1 bytes of binary data, but 2 elements of INT8 are 2; fix shape, datatype or binary_data_size"),
        ({"datatype": "BOOL"}, b"\1\2", ": the binary data of BOOL has a byte that is neither 0 nor 1"),
        ({"datatype": "BYTES"}, b"\1\0\0\0a\1\0\0", ": the binary data ends before string 1 of 2"),
        ({"datatype": "BYTES"}, b"\1\0\0\0a\2\0\0\0b", ": string 1 of 2 is longer than the binary data"),
        ({"datatype": "BYTES"}, b"\0\0\0\0\xff\xff\xff\xff", ": string 1 of 2 is longer than the binary data"),
        ({"datatype": "BYTES"}, b"\0\0\0\0\0\0\0\0ab", ": 2 bytes are left after the last of 2 strings"),
        ({"datatype": "BYTES", "shape": [10**12]}, bytes(8), f": the binary data ends before string 2 of {10**12}"),
    ],
)
def test_wrong_binary_data(change: dict[str, Any], tail: bytes, wanted: str) -> None:
    tensor = {"name": "x", "shape": [2], "datatype": "INT8", "parameters": {"binary_data_size": len(tail)}} | change
    assert said({"inputs": [tensor]}, tail=tail) == f"inputs[0]{wanted}"


@pytest.mark.parametrize("length", [-1, 10**6])
def test_a_header_that_lies(length: int) -> None:
    body = orjson.dumps({"inputs": [GOOD]})
    assert said(body, length) == f"Inference-Header-Content-Length: {length}, but the body has {len(body)} bytes"


def test_bytes_after_the_last_tensor() -> None:
    wanted = "3 bytes follow the last tensor; set binary_data_size, or send none"
    assert said({"inputs": [GOOD]}, tail=b"abc") == wanted


def test_32_axes_and_none() -> None:
    one = {"name": "x", "shape": [1] * 32, "datatype": "FP64", "data": [0.1]}
    scalar = {"name": "y", "shape": [], "datatype": "FP64", "data": [0.1]}
    found = decode_request(orjson.dumps({"inputs": [one, scalar]})).inputs
    assert [tensor.array.shape for tensor in found] == [(1,) * 32, ()]


def test_whole_numbers_are_exact_at_their_limits() -> None:
    for datatype, limits in {"INT64": [-(2**63), 2**63 - 1], "UINT64": [0, 2**64 - 1], "UINT8": [0, 255]}.items():
        tensor = {"name": "x", "shape": [2], "datatype": datatype, "data": limits}
        assert decode_request(orjson.dumps({"inputs": [tensor]})).inputs[0].array.tolist() == limits


def test_what_is_wrong_is_shown_short() -> None:
    nested = b'{"inputs":[{"name":"x","shape":[1],"datatype":' + b"[" * 900 + b"]" * 900 + b"}]}"
    assert said(nested) == f"inputs[0].datatype: expected one of {DATATYPES}, found [[[[[[[...]]]]]]]"
    assert said({"inputs": [GOOD | {"data": "x" * 10**6}]}).endswith("xxx'")
    assert len(said({"inputs": [GOOD | {"data": "x" * 10**6}]})) < 120


def test_many_inputs_are_compared_quickly() -> None:
    inputs = [GOOD | {"name": str(number)} for number in range(50_000)]
    assert len(decode_request(orjson.dumps({"inputs": inputs})).inputs) == 50_000


# responses

NOT_FINITE = np.array([1.0, np.nan])
ASKED = InferRequest((), [RequestedOutput("raw", binary=True)])


def test_numbers_that_are_not_finite_have_no_json_form() -> None:
    wanted = (
        "'y' has numbers that are not finite (NaN or infinity) and so no JSON form; ask for it with binary_data: true"
    )
    with pytest.raises(ProtocolError) as caught:
        encode_response(InferResponse("m", [Tensor.of("y", NOT_FINITE)]), ASKED)
    assert str(caught.value) == wanted
    with pytest.raises(ProtocolError) as caught:
        encode_json_request(InferRequest([Tensor.of("y", NOT_FINITE)]))
    assert str(caught.value) == wanted


def test_a_binary_output_may_have_them_beside_a_text_that_says_null() -> None:
    outputs = [Tensor.of("raw", NOT_FINITE), Tensor.of("text", np.array(["null"]))]
    parts, length = encode_response(InferResponse("m", outputs), ASKED)
    found = decode_response(b"".join(parts), length).outputs
    assert np.array_equal(found[0].array, NOT_FINITE, equal_nan=True)
    assert found[1].array.tolist() == [b"null"]


def test_bytes_that_are_no_text_have_no_json_form() -> None:
    with pytest.raises(ProtocolError) as caught:
        encode_response(InferResponse("m", [Tensor.of("y", np.array([b"\xff"]))]), ASKED)
    assert str(caught.value) == (
        "'y' has bytes that are no UTF-8 and so no JSON form; ask for it with binary_data: true"
    )


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ({"model_name": "m"}, "outputs: expected a list of tensors, found nothing"),
        ({"model_name": 5, "outputs": []}, "model_name: expected a string, found 5"),
        ({"model_name": "m", "model_version": 1, "outputs": []}, "model_version: expected a string, found 1"),
        ({"model_name": "m", "outputs": [GOOD, GOOD]}, "outputs: the name 'x' stands twice; keep one of them"),
        ({"outputs": [GOOD | {"data": [0.5, 1]}]}, "outputs[0].data: expected INT8, found 0.5"),
    ],
)
def test_a_wrong_response(message: Any, wanted: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_response(orjson.dumps(message))
    assert str(caught.value) == wanted


def test_a_response_may_leave_out_what_is_optional() -> None:
    assert decode_response(b'{"outputs": []}') == InferResponse("", [])
    found = decode_response(
        b'{"model_name": "m", "model_version": null, "id": null, "parameters": null, "outputs": []}'
    )
    assert found == InferResponse("m", [])


def test_a_json_request_keeps_the_parameters_of_its_outputs() -> None:
    outputs = [RequestedOutput("y", True, {"binary_data": True, "top": 3}), RequestedOutput("z")]
    request = InferRequest([Tensor.of("x", np.zeros(1))], outputs)
    assert orjson.loads(encode_json_request(request))["outputs"] == [
        {"name": "y", "parameters": {"top": 3}},
        {"name": "z"},
    ]


def test_a_tensor_of_another_byte_order_or_layout_is_written_as_its_elements() -> None:
    array = np.arange(6, dtype=">i4").reshape(2, 3).T
    parts, length = encode_request(InferRequest([Tensor.of("x", array)]))
    assert decode_request(b"".join(parts), length).inputs[0].array.tolist() == array.tolist()
    assert orjson.loads(encode_json_request(InferRequest([Tensor.of("x", array)])))["inputs"][0]["data"] == [
        *(0, 3, 1, 4, 2, 5)
    ]
