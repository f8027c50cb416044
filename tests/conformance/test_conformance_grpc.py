"""Rules of the Open Inference Protocol v2 over gRPC, from its messages (``open_inference_grpc.proto``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from conformance_targets import TENSORS, VERSION, Target
from grpc_calls import call, request, tensors_of

from airflow_agentic.openinference.datatypes import DATATYPES, DTYPES
from airflow_agentic.openinference.grpc_messages import INFERENCE
from airflow_agentic.openinference.tensors import Tensor

A = Tensor("a", "FP32", np.array([[1, 2], [4, 5]], "<f4"))
B = Tensor("b", "FP32", np.array([[0, 1], [0, 2]], "<f4"))
TEXT = Tensor("text", "BYTES", np.array([b"one", "é".encode()], object))


@pytest.fixture
def channel(target: Target) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(target.grpc) as found:
        yield found


def values(datatype: str) -> Tensor:
    """The limits of a datatype."""
    dtype = DTYPES[datatype]
    if datatype == "BYTES":
        return Tensor("x", "BYTES", np.array([b"", "é😀".encode()], object))
    if datatype == "BOOL":
        return Tensor("x", "BOOL", np.array([True, False]))
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    return Tensor("x", datatype, np.array([limits.min, limits.max], dtype))  # type: ignore[arg-type]


def answered(channel: grpc.Channel, message: Any) -> dict[str, Tensor]:
    """The outputs by name; their contents are all typed, or all raw."""
    found = call(channel, "ModelInfer", message)
    if found.raw_output_contents:
        assert len(found.raw_output_contents) == len(found.outputs)
        assert not any(one.contents.ByteSize() for one in found.outputs)
    return {one.name: one for one in tensors_of(found)}


def refused(channel: grpc.Channel, message: Any, method: str = "ModelInfer") -> grpc.StatusCode:
    """The status of a call that must fail because of what it asks."""
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, method, message)
    code: grpc.StatusCode = caught.value.code()  # type: ignore[attr-defined]
    assert code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    assert caught.value.details()  # type: ignore[attr-defined]
    return code


# health and metadata


def test_grpc_health(channel: grpc.Channel) -> None:
    assert call(channel, "ServerLive").live
    assert call(channel, "ServerReady").ready


@pytest.mark.parametrize("version", ["", VERSION])
@pytest.mark.parametrize("model", TENSORS)
def test_grpc_model_ready(channel: grpc.Channel, model: str, version: str) -> None:
    assert call(channel, "ModelReady", INFERENCE["ModelReadyRequest"](name=model, version=version)).ready


def test_grpc_server_metadata(channel: grpc.Channel) -> None:
    found = call(channel, "ServerMetadata")
    assert found.name
    assert found.version


@pytest.mark.parametrize("version", ["", VERSION])
@pytest.mark.parametrize("model", TENSORS)
def test_grpc_model_metadata(channel: grpc.Channel, model: str, version: str) -> None:
    found = call(channel, "ModelMetadata", INFERENCE["ModelMetadataRequest"](name=model, version=version))
    assert found.name == model
    wanted = TENSORS[model] or {"inputs": [], "outputs": []}
    for side in ("inputs", "outputs"):
        told = [{"name": one.name, "datatype": one.datatype, "shape": list(one.shape)} for one in getattr(found, side)]
        assert told == wanted[side]


@pytest.mark.parametrize("method", ["ModelReady", "ModelMetadata"])
@pytest.mark.parametrize(("model", "version"), [("nobody", ""), ("sum", "9")])
def test_grpc_metadata_of_what_is_not_there(channel: grpc.Channel, method: str, model: str, version: str) -> None:
    refused(channel, INFERENCE[f"{method}Request"](name=model, version=version), method)


# inference


@pytest.mark.parametrize("as_raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize("datatype", DATATYPES)
def test_grpc_every_datatype(channel: grpc.Channel, datatype: str, as_raw: bool) -> None:
    given = values(datatype)
    if datatype == "FP16" and not as_raw:
        message = request("echo", [Tensor("x", "FP16", np.zeros(0, "<f2"))])
        message.inputs[0].shape[:] = [2]
        message.inputs[0].contents.fp32_contents.extend([1.0, 2.0])
        refused(channel, message)
        return
    found = answered(channel, request("echo", [given], as_raw=as_raw))["output"]
    assert found.datatype == datatype
    assert found.array.tolist() == given.array.tolist()


@pytest.mark.parametrize("as_raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (1,), (2, 2), (2, 1, 2)], ids=str)
def test_grpc_every_shape(channel: grpc.Channel, shape: tuple[int, ...], as_raw: bool) -> None:
    array = np.arange(np.prod(shape), dtype="<f8").reshape(shape)
    found = answered(channel, request("echo", [Tensor("x", "FP64", array)], as_raw=as_raw))["output"]
    assert found.array.shape == shape
    assert found.array.tolist() == array.tolist()


@pytest.mark.parametrize("as_raw", [True, False], ids=["raw", "typed"])
def test_grpc_two_inputs(channel: grpc.Channel, as_raw: bool) -> None:
    for order in ([A, B], [B, A]):
        assert answered(channel, request("sum", order, as_raw=as_raw))["sum"].array.tolist() == [13.0, 29.0]


@pytest.mark.parametrize("as_raw", [True, False], ids=["raw", "typed"])
def test_grpc_two_outputs(channel: grpc.Channel, as_raw: bool) -> None:
    found = answered(channel, request("label", [TEXT], as_raw=as_raw))
    assert found.keys() == {"label", "length"}
    assert found["label"].array.tolist() == [b"o", "é".encode()]
    assert found["length"].array.tolist() == [3, 1]


@pytest.mark.parametrize("name", ["label", "length"])
def test_grpc_only_the_outputs_that_are_asked(channel: grpc.Channel, name: str) -> None:
    message = request("label", [TEXT])
    message.outputs.add(name=name)
    assert answered(channel, message).keys() == {name}


@pytest.mark.parametrize("identity", ["42", "4 é"])
def test_grpc_what_a_response_says_of_the_request(channel: grpc.Channel, identity: str) -> None:
    found = call(channel, "ModelInfer", request("sum", [A, B], id=identity, model_version=VERSION))
    assert (found.model_name, found.model_version, found.id) == ("sum", VERSION, identity)


def test_grpc_parameters_may_be_anywhere(channel: grpc.Channel) -> None:
    message = request("sum", [A, B])
    message.outputs.add(name="sum")
    for owner in (message, message.inputs[0], message.outputs[0]):
        for field, value in (("bool_param", True), ("int64_param", -1), ("string_param", "a"), ("double_param", 0.5)):
            setattr(owner.parameters[f"own_{field}"], field, value)
    assert answered(channel, message)["sum"].array.tolist() == [13.0, 29.0]


# errors


def wrong_requests() -> dict[str, Any]:
    """Requests that no server can answer as they stand."""
    found = {name: request("sum", [A, B]) for name in ("datatype", "field", "few", "negative", "output")}
    found["datatype"].inputs[0].datatype = "FP8"
    found["field"].inputs[0].contents.int_contents.extend([1, 2, 4, 5])
    found["field"].inputs[0].contents.ClearField("fp32_contents")
    found["few"].inputs[0].contents.fp32_contents.pop()
    found["negative"].inputs[0].shape[:] = [-2, -2]
    found["output"].outputs.add(name="total")
    found["model"], found["version"] = request("nobody", [A]), request("sum", [A, B], model_version="9")
    found["no inputs"], found["input missing"] = request("sum", []), request("sum", [A])
    found["raw and typed"] = request("sum", [A, B])
    found["raw and typed"].raw_input_contents.extend([A.array.tobytes(), B.array.tobytes()])
    for name, contents in (("raw too few", [16]), ("raw too many", [16, 16, 16]), ("raw cut", [16, 12])):
        found[name] = request("sum", [A, B], as_raw=True)
        found[name].raw_input_contents[:] = map(bytes, contents)
    return found


WRONG = wrong_requests()


@pytest.mark.parametrize("wrong", WRONG)
def test_grpc_a_wrong_request(channel: grpc.Channel, wrong: str) -> None:
    refused(channel, WRONG[wrong])


def test_grpc_a_number_that_does_not_fit(channel: grpc.Channel) -> None:
    message = request("echo", [Tensor("x", "INT32", np.array([128, 0], "<i4"))])
    message.inputs[0].datatype = "INT8"
    refused(channel, message)


def test_grpc_the_server_lives_after_all_that(channel: grpc.Channel) -> None:
    assert answered(channel, request("sum", [A, B]))["sum"].array.tolist() == [13.0, 29.0]
