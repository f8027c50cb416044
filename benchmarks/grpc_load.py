"""A closed loop over gRPC: ``ModelInfer`` with one FP32 tensor in raw contents, 32 calls at once over one connection.

The request is made once and sent as bytes; answers are counted, not read. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Final

import grpc
import numpy as np

from airflow_agentic.openinference.grpc_messages import INFERENCE

METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
LARGEST: Final = 64 * 2**20


async def main(address: str, shape: tuple[int, ...], seconds: float, at_once: int = 32) -> None:
    """Ask the model ``sum`` at ``address`` for ``seconds``."""
    message = INFERENCE["ModelInferRequest"](model_name="sum")
    message.inputs.add(name="x", datatype="FP32", shape=shape)
    message.raw_input_contents.append(np.random.default_rng(0).random(shape, np.float32).tobytes())
    request = message.SerializeToString()
    count = 0
    options = [("grpc.max_send_message_length", LARGEST), ("grpc.max_receive_message_length", LARGEST)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        call = channel.unary_unary(METHOD)
        await call(request)
        began = time.perf_counter()

        async def ask() -> None:
            nonlocal count
            while time.perf_counter() - began < seconds:
                await call(request)
                count += 1

        await asyncio.gather(*(ask() for _ in range(at_once)))
        print(json.dumps({"rate": count / (time.perf_counter() - began)}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], tuple(map(int, sys.argv[2].split(","))), float(sys.argv[3])))
