"""Messages of gRPC as requests, and responses as messages; what is wrong is said with its place."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from grpc_calls import request, tensors_of
from hypothesis import given
from hypothesis import strategies as st
from openinference_strategies import same_tensors, tensors

from airflow_agentic.exceptions import ProtocolError
from airflow_agentic.openinference.datatypes import DATATYPES
from airflow_agentic.openinference.grpc import decode_request, encode_metadata, encode_response
from airflow_agentic.openinference.grpc_messages import INFERENCE
from airflow_agentic.openinference.tensors import InferRequest, InferResponse, ModelMetadata, Tensor, TensorSpec

LISTED = ", ".join(DATATYPES)


def distinct(one: st.SearchStrategy[Tensor]) -> st.SearchStrategy[list[Tensor]]:
    plain = one.map(lambda tensor: tensor._replace(parameters={}))
    return st.lists(plain, min_size=1, max_size=3, unique_by=lambda tensor: tensor.name)


typed = distinct(tensors(text=False).filter(lambda tensor: tensor.datatype != "FP16"))


def sent(message: Any) -> InferRequest:
    """``message`` as the other end reads it."""
    return decode_request(type(message).FromString(message.SerializeToString()))


@given(distinct(tensors(text=False)))
def test_raw_tensors_are_read_as_they_were(given_tensors: list[Tensor]) -> None:
    found = sent(request("m", given_tensors, as_raw=True))
    assert found.binary
    same_tensors(found.inputs, given_tensors)


@given(typed)
def test_typed_tensors_are_read_as_they_were(given_tensors: list[Tensor]) -> None:
    found = sent(request("m", given_tensors))
    assert not found.binary
    same_tensors(found.inputs, given_tensors)


@given(distinct(tensors(text=False)), st.booleans())
def test_a_response_is_read_as_it_was(given_tensors: list[Tensor], as_raw: bool) -> None:
    message = encode_response(InferResponse("m", given_tensors), InferRequest((), binary=as_raw))
    half = any(tensor.datatype == "FP16" for tensor in given_tensors)
    assert bool(message.raw_output_contents) == (as_raw or half)
    same_tensors(tensors_of(type(message).FromString(message.SerializeToString())), given_tensors)


def test_what_stands_around_the_tensors() -> None:
    message = request("m", [Tensor("x", "INT8", np.zeros(1, np.int8))], id="7", model_version="2")
    for name, field, value in (
        ("b", "bool_param", False),
        ("i", "int64_param", -(2**63)),
        ("s", "string_param", ""),
        ("d", "double_param", 0.5),
        ("u", "uint64_param", 2**64 - 1),
    ):
        setattr(message.parameters[name], field, value)
    message.inputs[0].parameters["p"].bool_param = True
    message.outputs.add(name="y").parameters["classification"].int64_param = 3
    found = sent(message)
    assert found.id == "7"
    assert found.parameters == {"b": False, "i": -(2**63), "s": "", "d": 0.5, "u": 2**64 - 1}
    assert found.inputs[0].parameters == {"p": True}
    assert [(one.name, one.binary, one.parameters) for one in found.outputs] == [("y", None, {"classification": 3})]
    assert sent(request("m", [Tensor("x", "INT8", np.zeros(1, np.int8))])).id is None


def test_what_stands_around_a_response() -> None:
    output = Tensor("y", "BOOL", np.array([True]), {"p": 1})
    answered = InferResponse("m", [output], "3", "7", {"a": True, "b": 2, "c": 0.5, "d": "e"})
    found = encode_response(answered, InferRequest(()))
    assert (found.model_name, found.model_version, found.id) == ("m", "3", "7")
    kinds = {name: value.WhichOneof("parameter_choice") for name, value in found.parameters.items()}
    assert kinds == {"a": "bool_param", "b": "int64_param", "c": "double_param", "d": "string_param"}
    assert found.outputs[0].parameters["p"].int64_param == 1


def message_of(change: Any) -> Any:
    message = request("m", [Tensor(name, "INT8", np.zeros(2, np.int8)) for name in "xy"])
    change(message)
    return message


def as_raw(*contents: bytes) -> Any:
    def change(message: Any) -> None:
        for one in message.inputs:
            one.ClearField("contents")
        message.raw_input_contents.extend(contents)

    return change


def setting(place: int, **fields: Any) -> Any:
    def change(message: Any) -> None:
        for name, value in fields.items():
            if isinstance(value, list):
                getattr(message.inputs[place], name)[:] = value
            else:
                setattr(message.inputs[place], name, value)

    return change


def holding(field: str, values: list[Any], datatype: str | None = None) -> Any:
    def change(message: Any) -> None:
        one = message.inputs[0]
        one.contents.Clear()
        getattr(one.contents, field).extend(values)
        one.datatype = datatype or one.datatype

    return change


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda m: m.ClearField("inputs"), "inputs: expected one tensor or more, found none"),
        (setting(1, name=""), "inputs[1].name: expected a string, found ''"),
        (setting(1, name="x"), "inputs: the name 'x' stands twice; keep one of them"),
        (setting(0, datatype="BF16"), f"inputs[0].datatype: expected one of {LISTED}, found 'BF16'"),
        (setting(0, shape=[-1]), "inputs[0].shape: expected lengths of 0 or more, found -1"),
        (
            setting(0, shape=[1] * 33),
            "inputs[0].shape: expected a list of at most 32 lengths, found [1, 1, 1, 1, 1, 1, ...]",
        ),
        (
            setting(0, shape=[0, 2**62, 2**62]),
            "inputs[0].shape: [0, 4611686018427387904, 4611686018427387904] is longer than an array can be",
        ),
        (setting(0, shape=[3]), "inputs[0].contents.int_contents: the shape has 3 elements, found 2"),
        (
            holding("int64_contents", [1, 2]),
            "inputs[0].contents: INT8 is in int_contents, found int64_contents",
        ),
        (
            holding("int_contents", [1, 128]),
            "inputs[0].contents.int_contents: a number does not fit INT8 (-128 to 127)",
        ),
        (
            holding("uint_contents", [1, 2**16], "UINT16"),
            "inputs[0].contents.uint_contents: a number does not fit UINT16 (0 to 65535)",
        ),
        (
            holding("fp32_contents", [1, 2], "FP16"),
            "inputs[0].contents: FP16 has no typed form; send all inputs in raw_input_contents",
        ),
        (as_raw(b"ab"), "raw_input_contents: 1 contents for 2 inputs; give one each, or none"),
        (
            lambda m: m.raw_input_contents.extend([b"ab", b"cd"]),
            "inputs[0].contents: must be empty where raw_input_contents are given",
        ),
        (
            as_raw(b"ab", b"c"),
            "raw_input_contents[1]: 1 bytes of binary data, but 2 elements of INT8 are 2; "
            "fix shape, datatype or binary_data_size",
        ),
        (lambda m: m.outputs.add(), "outputs[0].name: expected a string, found ''"),
        (
            lambda m: m.outputs.extend([type(m).InferRequestedOutputTensor(name="z")] * 2),
            "outputs: the name 'z' stands twice; keep one of them",
        ),
        (
            lambda m: m.parameters["a"].Clear(),
            "parameters.a: expected a string, a number or a boolean, found nothing",
        ),
        (
            lambda m: m.inputs[1].parameters["a"].Clear(),
            "inputs[1].parameters.a: expected a string, a number or a boolean, found nothing",
        ),
    ],
)
def test_a_wrong_message(change: Any, wanted: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        sent(message_of(change))
    assert str(caught.value) == wanted


def test_an_empty_tensor_needs_no_contents() -> None:
    message = request("m", [Tensor("x", "FP32", np.zeros((0, 3), "<f4"))])
    assert not message.inputs[0].HasField("contents")
    assert sent(message).inputs[0].array.shape == (0, 3)


def test_contents_may_be_set_and_empty_beside_raw_ones() -> None:
    message = message_of(as_raw(b"ab", b"cd"))
    message.inputs[0].contents.SetInParent()
    assert sent(message).inputs[1].array.tolist() == [99, 100]


@given(st.binary(max_size=80), typed, st.integers(0, 200), st.integers(0, 255))
def test_any_bytes_are_a_request_or_a_protocol_error(wild: bytes, given_tensors: Any, place: int, byte: int) -> None:
    whole = bytearray(request("m", given_tensors).SerializeToString())
    whole[place % len(whole)] = byte
    for content in (wild, bytes(whole)):
        with suppress(ProtocolError, DecodeError):
            message = INFERENCE["ModelInferRequest"].FromString(content)
            assert sum(one.array.size for one in decode_request(message).inputs) <= len(content)


def test_metadata() -> None:
    spec = TensorSpec("x", "FP32", (-1, 4))
    found = encode_metadata(ModelMetadata("m", ("1", "2"), "onnx", (spec,), (spec, spec), {"a": "b"}))
    assert (found.name, list(found.versions), found.platform, dict(found.properties)) == (
        *("m", ["1", "2"], "onnx"),
        {"a": "b"},
    )
    assert [(one.name, one.datatype, list(one.shape)) for one in found.inputs] == [("x", "FP32", [-1, 4])]
    assert len(found.outputs) == 2


def test_the_messages_are_those_on_the_wire() -> None:
    """Written by hand from the published file: tag, length, value."""
    message = INFERENCE["ModelInferRequest"].FromString(
        b"\x0a\x01m\x12\x012\x1a\x017"  # model_name, model_version, id
        b"\x22\x07\x0a\x01p\x12\x02\x10\x05"  # parameters {p: int64 5}
        b"\x2a\x13\x0a\x01x\x12\x05INT32\x1a\x01\x02\x2a\x04\x12\x02\x01\x02"  # an input with int_contents
        b"\x32\x03\x0a\x01y"  # a requested output
    )
    assert (message.model_name, message.model_version, message.id) == ("m", "2", "7")
    assert message.parameters["p"].int64_param == 5
    assert list(message.inputs[0].contents.int_contents) == [1, 2]
    assert list(message.inputs[0].shape) == [2]
    assert message.outputs[0].name == "y"
