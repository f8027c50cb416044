"""Drives a server with KServe's client, unchanged: ``python kserve_script.py CHECK REST GRPC``."""

import asyncio
import sys

import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferOutput, InferRequest, InferResponse
from kserve.inference_client import RESTConfig

REST, GRPC = sys.argv[2], sys.argv[3]
BASE = f"http://{REST}"


def rest() -> InferenceRESTClient:
    return InferenceRESTClient(config=RESTConfig(protocol="v2", transport=httpx.AsyncHTTPTransport(), verbose=False))


def rows(binary: bool) -> list[InferInput]:
    found = []
    for name, values in (("a", [[1, 2], [4, 5]]), ("b", [[0, 1], [0, 2]])):
        one = InferInput(name, [2, 2], "FP32")
        one.set_data_from_numpy(np.array(values, np.float32), binary_data=binary)
        found.append(one)
    return found


def texts(binary: bool) -> InferInput:
    one = InferInput("text", [2], "BYTES")
    one.set_data_from_numpy(np.array([b"one", "é".encode()], object), binary_data=binary)
    return one


def output(response: InferResponse, name: str) -> InferOutput:
    return next(one for one in response.outputs if one.name == name)


async def check_rest_health() -> None:
    client = rest()
    assert await client.is_server_live(BASE)
    assert await client.is_server_ready(BASE)
    assert await client.is_model_ready(BASE, "sum")
    await client.close()


async def check_rest_infer() -> None:
    client = rest()
    for binary in (True, False):
        found = await client.infer(BASE, InferRequest("sum", rows(binary), request_id="7"), model_name="sum")
        assert output(found, "sum").as_numpy().tolist() == [13.0, 29.0]
        assert found.id == "7"
        found = await client.infer(BASE, InferRequest("label", [texts(binary)]), model_name="label")
        assert output(found, "length").as_numpy().tolist() == [3, 1]
    await client.close()


async def check_rest_half() -> None:
    client = rest()
    one = InferInput("x", [2], "FP16")
    one.set_data_from_numpy(np.array([0.5, 1.5], np.float16), binary_data=True)
    asked = InferRequest("echo", [one], parameters={"binary_data_output": True})
    found = await client.infer(BASE, asked, model_name="echo")
    assert output(found, "output").as_numpy().tolist() == [0.5, 1.5]
    await client.close()


async def check_grpc() -> None:
    client = InferenceGRPCClient(url=GRPC, verbose=False)
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("sum")
    for binary in (True, False):
        found = await client.infer(InferRequest("sum", rows(binary), request_id="7"), timeout=30)
        assert output(found, "sum").as_numpy().tolist() == [13.0, 29.0]
        found = await client.infer(InferRequest("label", [texts(binary)]))
        assert output(found, "length").as_numpy().tolist() == [3, 1]
    await client.close()


asyncio.run(globals()[f"check_{sys.argv[1]}"]())
