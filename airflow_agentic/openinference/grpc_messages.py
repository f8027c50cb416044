"""The protocol's messages on gRPC, as Protocol Buffers.

Their fields are those of ``open_inference_grpc.proto``. They are described here and made at import: code that a
compiler generates is bound to the major version of the ``protobuf`` that it was made with, and Airflow's constraints
say which one that is. The descriptors are in a pool of their own: other packages describe a package ``inference``, too
(clients of Triton, KServe, MLServer), and may be in this process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE: Final = "inference.GRPCInferenceService"

_TENSOR: Final = "1 name string, 2 datatype string, 3 shape int64*, 4 parameters InferParameter%, 5 contents Contents"
_METADATA: Final = "4 inputs ModelMetadataResponse.TensorMetadata*, 5 outputs ModelMetadataResponse.TensorMetadata*"

_INFERENCE: Final = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "1 live bool",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "1 ready bool",
    "ModelReadyRequest": "1 name string, 2 version string",
    "ModelReadyResponse": "1 ready bool",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "1 name string, 2 version string, 3 extensions string*",
    "ModelMetadataRequest": "1 name string, 2 version string",
    "ModelMetadataResponse": (
        f"1 name string, 2 versions string*, 3 platform string, {_METADATA}, 6 properties string%"
    ),
    "ModelMetadataResponse.TensorMetadata": "1 name string, 2 datatype string, 3 shape int64*",
    "ModelInferRequest": (
        "1 model_name string, 2 model_version string, 3 id string, 4 parameters InferParameter%, "
        "5 inputs ModelInferRequest.InferInputTensor*, 6 outputs ModelInferRequest.InferRequestedOutputTensor*, "
        "7 raw_input_contents bytes*"
    ),
    "ModelInferRequest.InferInputTensor": _TENSOR.replace("Contents", "InferTensorContents"),
    "ModelInferRequest.InferRequestedOutputTensor": "1 name string, 2 parameters InferParameter%",
    "ModelInferResponse": (
        "1 model_name string, 2 model_version string, 3 id string, 4 parameters InferParameter%, "
        "5 outputs ModelInferResponse.InferOutputTensor*, 6 raw_output_contents bytes*"
    ),
    "ModelInferResponse.InferOutputTensor": _TENSOR.replace("Contents", "InferTensorContents"),
    "InferParameter": (
        "1 bool_param bool|, 2 int64_param int64|, 3 string_param string|, 4 double_param double|, "
        "5 uint64_param uint64|"
    ),
    "InferTensorContents": (
        "1 bool_contents bool*, 2 int_contents int32*, 3 int64_contents int64*, 4 uint_contents uint32*, "
        "5 uint64_contents uint64*, 6 fp32_contents float*, 7 fp64_contents double*, 8 bytes_contents bytes*"
    ),
}
"""Number, name and type of each field. ``*``: repeated; ``%``: a map from strings; ``|``: one of them is set."""

_RPC: Final = {
    "Status": "1 code int32, 2 message string, 3 details Any*",
    "Any": "1 type_url string, 2 value bytes",
    "RetryInfo": "1 retry_delay Duration",
    "Duration": "1 seconds int64, 2 nanos int32",
}
"""What tells a client when to ask again: ``google.rpc.Status`` with a ``RetryInfo``, as gRPC's richer error model."""

_Field = descriptor_pb2.FieldDescriptorProto


def _messages(package: str, described: Mapping[str, str]) -> dict[str, Any]:
    """The classes of all messages of ``described``, by name."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    made: dict[str, Any] = {}
    for name, fields in described.items():
        outer, _, own = name.rpartition(".")
        made[name] = (made[outer].nested_type if outer else file.message_type).add(name=own or name)
        for field in filter(None, fields.split(", ")):
            _add(made[name], f".{package}.", name, *field.split(" "))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in described
    }


def _add(message: Any, package: str, owner: str, number: str, name: str, kind: str) -> None:
    """Add a field as it is described above."""
    type_ = kind.rstrip("*%|")
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if kind.endswith("*"):
        field.label = _Field.LABEL_REPEATED
    if kind.endswith("|"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if kind.endswith("%"):
        entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        _add(entry, package, "", "1", "key", "string")
        _add(entry, package, "", "2", "value", type_)
        field.label = _Field.LABEL_REPEATED
        type_ = f"{owner}.{entry.name}"
    if type_[0].isupper():
        field.type = _Field.TYPE_MESSAGE
        field.type_name = package + type_
    else:
        field.type = _Field.Type.Value(f"TYPE_{type_.upper()}")


INFERENCE: Final = _messages("inference", _INFERENCE)
"""The protocol's messages by name; one that stands in another has its name before its own."""
RPC: Final = _messages("google.rpc", _RPC)
