"""Drives a server with tritonclient, unchanged: ``python triton_script.py CHECK REST GRPC``; fails where it differs."""

import asyncio
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.grpc.aio as over_grpc_aio
import tritonclient.http as over_http
import tritonclient.http.aio as over_http_aio
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

REST, GRPC = sys.argv[2], sys.argv[3]
NUMBERS = ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64")
TEXTS = np.array([b"one", "é".encode(), b""], object)


def tensor(module: Any, name: str, array: Any, datatype: str, **options: Any) -> Any:
    found = module.InferInput(name, list(array.shape), datatype)
    found.set_data_from_numpy(array, **options)
    return found


def values(datatype: str) -> Any:
    return np.array([[0, 1, 1]]).astype(triton_to_np_dtype(datatype))


def rows(module: Any, **options: Any) -> list[Any]:
    a, b = np.array([[1, 2], [4, 5]], np.float32), np.array([[0, 1], [0, 2]], np.float32)
    return [tensor(module, "a", a, "FP32", **options), tensor(module, "b", b, "FP32", **options)]


def check_http_health() -> None:
    with over_http.InferenceServerClient(REST) as client:
        health(client)
        assert client.get_server_metadata()["extensions"]
        assert client.get_model_metadata("sum", "3")["inputs"][0] == {"name": "a", "datatype": "FP32", "shape": [-1, 2]}
        assert {one["name"] for one in client.get_model_repository_index()} == {"echo", "sum", "label"}


def check_grpc_health() -> None:
    with over_grpc.InferenceServerClient(GRPC) as client:
        health(client)
        assert client.get_server_metadata().name
        found = client.get_model_metadata("sum", "3", as_json=True)
        assert found["inputs"][0] == {"name": "a", "datatype": "FP32", "shape": ["-1", "2"]}


def health(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("sum")
    assert client.is_model_ready("sum", "3")


def check_http_datatypes() -> None:
    with over_http.InferenceServerClient(REST) as client:
        for datatype in NUMBERS:
            for binary_in in (True, False):
                for binary_out in (True, False):
                    if datatype == "FP16" and not (binary_in and binary_out):
                        continue  # the client itself refuses it
                    given = tensor(over_http, "x", values(datatype), datatype, binary_data=binary_in)
                    asked = [over_http.InferRequestedOutput("output", binary_data=binary_out)]
                    found = client.infer("echo", [given], outputs=asked).as_numpy("output")
                    assert found.dtype == values(datatype).dtype, datatype
                    assert np.array_equal(found, values(datatype)), datatype


def check_http_strings() -> None:
    with over_http.InferenceServerClient(REST) as client:
        for binary_in in (True, False):
            for binary_out in (True, False):
                given = tensor(over_http, "text", TEXTS, "BYTES", binary_data=binary_in)
                asked = [over_http.InferRequestedOutput(name, binary_data=binary_out) for name in ("label", "length")]
                found = client.infer("label", [given], outputs=asked)
                labels = [one if isinstance(one, bytes) else one.encode() for one in found.as_numpy("label")]
                assert labels == [b"o", "é".encode(), b"-"]
                assert found.as_numpy("length").tolist() == [3, 1, 0]


def check_http_outputs() -> None:
    with over_http.InferenceServerClient(REST) as client:
        given = [tensor(over_http, "text", TEXTS, "BYTES")]
        found = client.infer("label", given, outputs=[over_http.InferRequestedOutput("length")], request_id="7")
        assert [one["name"] for one in found.get_response()["outputs"]] == ["length"]
        assert found.get_response()["id"] == "7"
        everything = client.infer("label", given, model_version="3")
        assert {one["name"] for one in everything.get_response()["outputs"]} == {"label", "length"}


def check_http_compression() -> None:
    array = np.tile(np.arange(64, dtype=np.float32), (64, 1))
    with over_http.InferenceServerClient(REST) as client:
        for sent in (None, "gzip", "deflate"):
            for wanted in (None, "gzip", "deflate"):
                for binary in (True, False):
                    found = client.infer(
                        "echo",
                        [tensor(over_http, "x", array, "FP32", binary_data=binary)],
                        outputs=[over_http.InferRequestedOutput("output", binary_data=binary)],
                        request_compression_algorithm=sent,
                        response_compression_algorithm=wanted,
                    )
                    assert np.array_equal(found.as_numpy("output"), array), (sent, wanted, binary)


def check_http_errors() -> None:
    with over_http.InferenceServerClient(REST) as client:
        refused(lambda: client.infer("nobody", rows(over_http)), "404", "no model is called 'nobody' here")
        refused(lambda: client.infer("sum", rows(over_http)[:1]), "400", "'b' is missing")


def refused(ask: Callable[[], object], status: str, words: str) -> None:
    found = None
    try:
        ask()
    except InferenceServerException as error:
        found = error
    assert found is not None
    assert status in str(found.status()), found.status()
    assert words in found.message(), found.message()


def check_http_async() -> None:
    with over_http.InferenceServerClient(REST, concurrency=4) as client:
        under_way = [client.async_infer("sum", rows(over_http)) for _ in range(8)]
        for one in under_way:
            assert one.get_result().as_numpy("sum").tolist() == [13.0, 29.0]

    async def ask() -> None:
        async with over_http_aio.InferenceServerClient(REST) as client:
            answers = await asyncio.gather(*(client.infer("sum", rows(over_http_aio)) for _ in range(8)))
            assert all(one.as_numpy("sum").tolist() == [13.0, 29.0] for one in answers)

    asyncio.run(ask())


def check_grpc_datatypes() -> None:
    with over_grpc.InferenceServerClient(GRPC) as client:
        for datatype in NUMBERS:
            found = client.infer("echo", [tensor(over_grpc, "x", values(datatype), datatype)]).as_numpy("output")
            assert found.dtype == values(datatype).dtype, datatype
            assert np.array_equal(found, values(datatype)), datatype
        found = client.infer("label", [tensor(over_grpc, "text", TEXTS, "BYTES")])
        assert found.as_numpy("label").tolist() == [b"o", "é".encode(), b"-"]


def check_grpc_outputs() -> None:
    with over_grpc.InferenceServerClient(GRPC) as client:
        found = client.infer(
            "label",
            [tensor(over_grpc, "text", TEXTS, "BYTES")],
            outputs=[over_grpc.InferRequestedOutput("length")],
            request_id="7",
            model_version="3",
            parameters={"own": 1},
            compression_algorithm="gzip",
        )
        assert found.as_numpy("label") is None
        assert found.as_numpy("length").tolist() == [3, 1, 0]
        assert found.get_response().id == "7"


def check_grpc_messages() -> None:
    """Our descriptions are those that the client's code was generated from."""
    ours = runpy.run_path(str(Path(__file__).parents[2] / "airflow_agentic" / "openinference" / "grpc_messages.py"))
    for name, message in ours["INFERENCE"].items():
        outer, *inner = name.split(".")
        theirs = service_pb2.DESCRIPTOR.message_types_by_name[outer]
        for part in inner:
            theirs = theirs.nested_types_by_name[part]
        only = fields(message.DESCRIPTOR) ^ fields(theirs)
        assert {one[0] for one in only} <= {"properties"}, (name, only)  # Triton has none in its metadata


def fields(descriptor: Any) -> set[tuple[str, int, int, int]]:
    return {(one.name, one.number, one.type, one.is_repeated) for one in descriptor.fields}


def check_grpc_errors() -> None:
    with over_grpc.InferenceServerClient(GRPC) as client:
        refused(lambda: client.infer("nobody", rows(over_grpc)), "NOT_FOUND", "no model is called 'nobody' here")
        refused(lambda: client.infer("sum", rows(over_grpc)[:1]), "INVALID_ARGUMENT", "'b' is missing")


def check_grpc_deadline() -> None:
    with over_grpc.InferenceServerClient(GRPC) as client:
        # so much cannot be sent in the time, however late gRPC looks at its clock
        large = tensor(over_grpc, "x", np.zeros((1, 8 * 2**20), np.float32), "FP32")
        refused(lambda: client.infer("echo", [large], client_timeout=1e-5), "DEADLINE_EXCEEDED", "Deadline")
        assert client.infer("sum", rows(over_grpc), client_timeout=30).as_numpy("sum").tolist() == [13.0, 29.0]


def check_grpc_async() -> None:
    async def ask() -> None:
        async with over_grpc_aio.InferenceServerClient(GRPC) as client:
            answers = await asyncio.gather(*(client.infer("sum", rows(over_grpc_aio)) for _ in range(8)))
            assert all(one.as_numpy("sum").tolist() == [13.0, 29.0] for one in answers)

    asyncio.run(ask())


globals()[f"check_{sys.argv[1]}"]()
