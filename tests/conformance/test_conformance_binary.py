"""Rules of the binary tensor data extension, over servers that say that they have it (``binary_tensor_data``)."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

import pytest
from conformance_targets import Answer, Target

FORMATS = {
    "BOOL": ("?", [True, False]),
    "UINT8": ("B", [0, 255]),
    "UINT16": ("H", [0, 2**16 - 1]),
    "UINT32": ("I", [0, 2**32 - 1]),
    "UINT64": ("Q", [0, 2**64 - 1]),
    "INT8": ("b", [-128, 127]),
    "INT16": ("h", [-(2**15), 2**15 - 1]),
    "INT32": ("i", [-(2**31), 2**31 - 1]),
    "INT64": ("q", [-(2**63), 2**63 - 1]),
    "FP16": ("e", [0.5, float("inf")]),
    "FP32": ("f", [-1.5, float("inf")]),
    "FP64": ("d", [0.1, float("-inf")]),
}
STRINGS = [b"", "é😀".encode(), b"\0\xff\x80"]
ASK = {"binary_data_output": True}


@pytest.fixture
def binary(target: Target) -> Target:
    """A server that has the extension."""
    if "binary_tensor_data" not in target.extensions:
        pytest.skip(f"{target.name} does not say that it has binary_tensor_data")
    return target


def packed(values: Sequence[Any], datatype: str) -> bytes:
    """Elements as the extension has them."""
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(one)) + one for one in values)
    return struct.pack(f"<{len(values)}{FORMATS[datatype][0]}", *values)


def described(name: str, datatype: str, shape: list[int], data: bytes) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": len(data)}}


def infer(target: Target, model: str, document: Any, *data: bytes, length: int | None = None) -> Answer:
    text = json.dumps(document).encode()
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(text) if length is None else length),
    }
    return target.ask("POST", f"/v2/models/{model}/infer", text + b"".join(data), headers)


def parts(answer: Answer) -> dict[str, bytes | list[Any]]:
    """The outputs by name: their bytes, or their JSON data."""
    assert answer.status == 200, answer
    length = int(answer.headers.get("inference-header-content-length", len(answer.body)))
    document, tail = json.loads(answer.body[:length]), answer.body[length:]
    found: dict[str, bytes | list[Any]] = {}
    for one in document["outputs"]:
        size = one.get("parameters", {}).get("binary_data_size")
        if size is None:
            found[one["name"]] = one["data"]
        else:
            assert "data" not in one
            found[one["name"]], tail = tail[:size], tail[size:]
    assert tail == b""
    return found


@pytest.mark.parametrize("datatype", [*FORMATS, "BYTES"])
def test_every_datatype_there_and_back(binary: Target, datatype: str) -> None:
    data = packed(STRINGS if datatype == "BYTES" else FORMATS[datatype][1], datatype)
    shape = [3] if datatype == "BYTES" else [2]
    answer = infer(binary, "echo", {"parameters": ASK, "inputs": [described("x", datatype, shape, data)]}, data)
    assert parts(answer) == {"output": data}
    assert answer.headers["content-type"] == "application/octet-stream"
    assert int(answer.headers["content-length"]) == len(answer.body)


def test_answers_are_json_unless_asked(binary: Target) -> None:
    data = packed([1, 2], "INT32")
    answer = infer(binary, "echo", {"inputs": [described("x", "INT32", [2], data)]}, data)
    assert answer.json["outputs"][0]["data"] == [1, 2]
    assert "inference-header-content-length" not in answer.headers


def test_a_json_request_may_ask_for_binary_answers(binary: Target) -> None:
    given = {"name": "x", "shape": [1, 2], "datatype": "INT16", "data": [1, 2]}
    answer = binary.infer("echo", {"parameters": ASK, "inputs": [given]})
    assert parts(answer) == {"output": b"\1\0\2\0"}


def test_an_output_may_say_it_for_itself(binary: Target) -> None:
    text = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["abc"]}
    asked = [{"name": "length", "parameters": {"binary_data": True}}, {"name": "label"}]
    assert parts(binary.infer("label", {"inputs": [text], "outputs": asked})) == {
        "length": struct.pack("<q", 3),
        "label": ["a"],
    }
    asked = [{"name": "length", "parameters": {"binary_data": False}}, {"name": "label"}]
    found = parts(binary.infer("label", {"parameters": ASK, "inputs": [text], "outputs": asked}))
    assert found == {"length": [3], "label": packed([b"a"], "BYTES")}


@pytest.mark.parametrize("first", ["a", "b"])
def test_binary_tensors_follow_in_the_order_of_inputs(binary: Target, first: str) -> None:
    values = {"a": packed([1, 2], "FP32"), "b": packed([0, 1], "FP32")}
    names = [first, "b" if first == "a" else "a"]
    inputs = [described(name, "FP32", [1, 2], values[name]) for name in names]
    assert parts(infer(binary, "sum", {"inputs": inputs}, *(values[name] for name in names))) == {"sum": [13.0]}


def test_json_and_binary_inputs_may_be_mixed(binary: Target) -> None:
    plain = {"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    data = packed([0, 1], "FP32")
    answer = infer(binary, "sum", {"inputs": [plain, described("b", "FP32", [1, 2], data)]}, data)
    assert parts(answer) == {"sum": [13.0]}


def test_an_empty_tensor(binary: Target) -> None:
    document = {"parameters": ASK, "inputs": [described("x", "FP32", [0, 4], b"")]}
    assert parts(infer(binary, "echo", document)) == {"output": b""}


GOOD = described("x", "INT32", [2], bytes(8))


@pytest.mark.parametrize(
    ("given", "data", "length"),
    [
        (GOOD, bytes(8), 10**6),
        (GOOD, bytes(8), 5),
        (GOOD, bytes(7), None),
        (GOOD, bytes(9), None),
        (GOOD | {"shape": [3]}, bytes(8), None),
        (GOOD | {"parameters": {"binary_data_size": 4}}, bytes(8), None),
        (GOOD | {"data": [1, 2]}, bytes(8), None),
        (GOOD | {"datatype": "BYTES"}, b"\1\0\0\0\x09\0\0\0", None),
        (GOOD | {"datatype": "BYTES", "shape": [2**40]}, bytes(8), None),
    ],
    ids=["longer", "shorter", "cut", "rest", "shape", "size", "data, too", "string's length", "huge shape"],
)
def test_lengths_that_lie(binary: Target, given: dict[str, Any], data: bytes, length: int | None) -> None:
    answer = infer(binary, "echo", {"inputs": [given]}, data, length=length)
    assert answer.status == 400
    assert answer.json["error"]


def test_binary_data_without_the_header(binary: Target) -> None:
    answer = binary.ask("POST", "/v2/models/echo/infer", json.dumps({"inputs": [GOOD]}).encode() + bytes(8))
    assert answer.status == 400
    assert answer.json["error"]


def test_numbers_that_json_cannot_say(binary: Target) -> None:
    """An error that says so, and no JSON that others cannot read."""
    data = packed([float("nan"), 1.0], "FP32")
    answer = infer(binary, "echo", {"inputs": [described("x", "FP32", [2], data)]}, data)
    assert answer.status == 400
    assert "binary_data" in answer.json["error"]
