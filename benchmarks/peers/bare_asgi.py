"""The floor: a bare ASGI function with orjson that does the same sums, on the same HTTP server, set up the same."""

from __future__ import annotations

import struct
import sys
from typing import Any

import numpy as np
import orjson
import uvicorn


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer the sum of the one tensor's numbers, JSON or binary."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            break
    length = dict(scope["headers"]).get(b"inference-header-content-length")
    if length is None:
        tensor = orjson.loads(body)["inputs"][0]
        array = np.array(tensor["data"], np.float32)
    else:
        tensor = orjson.loads(body[: int(length)])["inputs"][0]
        array = np.frombuffer(body, np.float32, offset=int(length))
    total = array.reshape(tensor["shape"][0], -1).sum(axis=1)
    head = {"name": "sum", "shape": [len(total)], "datatype": "FP32"}
    if length is None:
        text = orjson.dumps({"model_name": "sum", "outputs": [{**head, "data": total.tolist()}]})
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(text))]
    else:
        text = orjson.dumps(
            {"model_name": "sum", "outputs": [{**head, "parameters": {"binary_data_size": 4 * len(total)}}]}
        )
        headers = [(b"inference-header-content-length", b"%d" % len(text))]
        text += struct.pack(f"<{len(total)}f", *total)
        headers.append((b"content-length", b"%d" % len(text)))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        lifespan="off",
    )
