"""Our model server against MLServer, the KServe SDK and LitServe, and against a floor.

One model: the sum of each row's numbers, in the server's own process. The floor is a bare ASGI function with orjson
that does the same sums, on the same HTTP server set up the same (``benchmarks/peers/bare_asgi.py``). Peers come from
PyPI, each in an environment of its own, with their own defaults but for logs; LitServe always uses a second process.
Server and client have one core each; 32 connections; all take turns, and rates are medians of the turns.

The image travels as binary data to us. MLServer's REST takes none: it is asked once by REST with JSON (over two
connections: more time out), once by gRPC with raw contents.

*MiniLM in its own process*: 32 clients that ask for one text each, against a loop over the same texts in batches of 32
in one process, on the same core.

*Idle connections*: the server's memory before and after 1,000 connections have each asked once and stay open.
"""

from __future__ import annotations

import math
import resource
import socket
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import numpy as np
import orjson

from benchmarks.base import ROOT, Result, in_python
from benchmarks.http_load import Load, load
from benchmarks.servers import CORES, free_port, memory, ours, server, sum_project, version
from scripts.peers import KSERVE, MLSERVER, python_with

TURNS: Final = 5
SECONDS: Final = 4.0
CONNECTIONS: Final = 32
IDLE: Final = 1000
PEERS: Final = {
    "mlserver": (MLSERVER,),
    "kserve": (KSERVE,),
    "litserve": ("litserve==0.2.19", "numpy", "orjson"),
}
TEXTS: Final = [
    f"{start} {end}"
    for start in ("I think", "They say", "We saw", "So it is:")
    for end in (
        "this film was wonderful.",
        "the food was cold and late.",
        "nothing here works as it should.",
        "it was a very good day for all of us.",
        "the service was slow.",
        "he would come again at once.",
        "the price is too high for what it is.",
        "a quiet place to work and read.",
    )
]
IMAGE: Final = (1, 3, 224, 224)


def run() -> list[Result]:
    """Requests a second of each server; items a second of MiniLM; bytes of idle connections."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        project = sum_project(folder / "project")
        return [*_sums(project, folder), *_minilm(folder), _idle(project)]


def _sums(project: Path, folder: Path) -> list[Result]:
    pythons = {name: python_with(*packages) for name, packages in PEERS.items()}
    urls: dict[str, str] = {}
    with ExitStack() as stack:
        for name in ("ours", "floor", *pythons):
            port = free_port()
            urls[name] = f"http://127.0.0.1:{port}/v2/models/sum/infer"
            if name == "ours":
                command, ready = ours(project, port), f"http://127.0.0.1:{port}/v2/health/ready"
            else:
                python = str(pythons.get(name, sys.executable))
                module = "bare_asgi" if name == "floor" else f"{name}_sum"
                command, ready = (
                    [python, "-m", f"benchmarks.peers.{module}", str(port)],
                    f"http://127.0.0.1:{port}/docs",
                )
            stack.enter_context(server(command, ready))
        json_rates = _rates(urls, _numbers(), {}, folder)
        binary_rates = _binary_rates(urls, folder)
    versions = ", ".join(f"{name} {version(python, name)}" for name, python in pythons.items())
    return [*_json_results(json_rates, versions), *_binary_results(binary_rates)]


def _binary_rates(urls: dict[str, str], folder: Path) -> dict[str, list[float]]:
    body, headers = _image()
    found: dict[str, list[float]] = {"ours": [], "floor": [], "rest": [], "grpc": []}
    text = _image_as_json()
    address = "127.0.0.1:" + str(int(urlsplit(urls["mlserver"]).port or 0) + 1)
    shape = ",".join(map(str, IMAGE))
    for turn in range(TURNS + 1):
        rates = {name: _load(urls[name], body, headers, folder).rate for name in ("ours", "floor")}
        rates["rest"] = _load(urls["mlserver"], text, {}, folder, connections=2).rate
        rates["grpc"] = in_python("benchmarks.grpc_load", address, shape, str(SECONDS), core=CORES[1])["rate"]
        if turn:
            for name, rate in rates.items():
                found[name].append(rate)
    return found


def _rates(urls: dict[str, str], body: bytes, headers: dict[str, str], folder: Path) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in urls}
    for turn in range(TURNS + 1):
        for name, url in urls.items():
            answer = _load(url, body, headers, folder)
            if turn:  # the first is for warming up
                found[name].append(answer.rate)
    return found


def _load(
    url: str,
    body: bytes | Sequence[bytes],
    headers: dict[str, str],
    folder: Path,
    *,
    seconds: float = SECONDS,
    connections: int = CONNECTIONS,
) -> Load:
    found = load(url, body, folder=folder, connections=connections, seconds=seconds, headers=headers, core=CORES[1])
    bad = {status: count for status, count in found.statuses.items() if status != "200" and count}
    if bad or not found.good:
        raise RuntimeError(f"{url} answered {found.statuses}")
    return found


def _json_results(rates: dict[str, list[float]], versions: str) -> list[Result]:
    middle = {name: statistics.median(turns) for name, turns in rates.items()}
    mine = middle["ours"]
    of_floor = statistics.median(a / b for a, b in zip(rates["ours"], rates["floor"], strict=True))
    said = ", ".join(f"{name} {middle[name]:,.0f}" for name in middle if name != "ours")
    name = "Open Inference REST, 64 floats as JSON, 32 connections"
    return [
        Result(
            name=f"{name}, against peers",
            value=round(mine),
            unit="requests/s",
            floor=round(middle["mlserver"]),
            ratio=round(mine / middle["mlserver"], 2),
            goal="≥ 8× MLServer, above all three",
            met=mine >= 8 * middle["mlserver"] and all(mine > middle[peer] for peer in PEERS),
            note=f"{said}; {versions}",
        ),
        Result(
            name=f"{name}, against a bare ASGI function",
            value=round(mine),
            unit="requests/s",
            floor=round(middle["floor"]),
            ratio=round(of_floor, 3),
            goal="≥ 0.85×",
            met=of_floor >= 0.85,
            note=f"median of {TURNS} pairs of turns",
        ),
    ]


def _binary_results(rates: dict[str, list[float]]) -> list[Result]:
    middle = {name: statistics.median(turns) for name, turns in rates.items()}
    forms = {"rest": "REST, where it takes JSON only", "grpc": "gRPC with raw contents"}
    return [
        Result(
            name=f"the same, 1×3×224×224 FP32, binary, against MLServer by {form}",
            value=round(middle["ours"]),
            unit="requests/s",
            floor=round(middle[name], 1),
            ratio=round(middle["ours"] / middle[name], 2),
            goal="≥ 5× MLServer",
            met=middle["ours"] >= 5 * middle[name],
            note=f"the bare ASGI function: {middle['floor']:,.0f}",
        )
        for name, form in forms.items()
    ]


def _numbers() -> bytes:
    data = [round(number / 7, 6) for number in range(64)]
    return orjson.dumps({"inputs": [{"name": "x", "shape": [1, 64], "datatype": "FP32", "data": data}]})


def _image() -> tuple[bytes, dict[str, str]]:
    pixels = np.random.default_rng(0).random(IMAGE, np.float32).tobytes()
    parameters = {"binary_data_size": len(pixels)}
    tensor = {"name": "x", "shape": list(IMAGE), "datatype": "FP32", "parameters": parameters}
    head = orjson.dumps({"inputs": [tensor]})
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    return head + pixels, headers


def _image_as_json() -> bytes:
    pixels = np.random.default_rng(0).random(math.prod(IMAGE), np.float32)
    tensor = {"name": "x", "shape": list(IMAGE), "datatype": "FP32", "data": pixels}
    return orjson.dumps({"inputs": [tensor]}, option=orjson.OPT_SERIALIZE_NUMPY)


def _minilm(folder: Path) -> list[Result]:
    bodies = [
        orjson.dumps({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]})
        for text in TEXTS
    ]
    ratios, rates, floors = [], [], []
    port = free_port()
    url = f"http://127.0.0.1:{port}/v2/models/minilm-torch/infer"
    with server(ours(ROOT / "dags", port, "minilm-torch"), f"http://127.0.0.1:{port}/v2/health/ready"):
        _load(url, bodies, {}, folder)
        for _ in range(TURNS):
            floor = in_python("benchmarks.minilm_loop", str(CORES[0]))["rate"]
            rate = _load(url, bodies, {}, folder, seconds=10.0).rate
            floors.append(floor)
            rates.append(rate)
            ratios.append(rate / floor)
    ratio = statistics.median(ratios)
    return [
        Result(
            name="MiniLM in its own process, 32 concurrent single requests",
            value=round(statistics.median(rates), 1),
            unit="items/s",
            floor=round(statistics.median(floors), 1),
            ratio=round(ratio, 3),
            goal="≥ 0.9× a raw loop over batches of 32",
            met=ratio >= 0.9,
            note=f"{len(TEXTS)} texts, 1 thread, {TURNS} turns",
        )
    ]


def _idle(project: Path) -> Result:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    port = free_port()
    with server(ours(project, port), f"http://127.0.0.1:{port}/v2/health/ready") as process:
        request = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
        before = memory(process.pid)
        opened = []
        for _ in range(IDLE):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(request)
            connection.recv(4096)
            opened.append(connection)
        after = memory(process.pid)
        for connection in opened:
            connection.close()
    more = (after - before) / 1e6
    return Result(
        name=f"{IDLE:,} idle keep-alive connections",
        value=round(more, 1),
        unit="MB more",
        goal="≤ 60 MB more",
        met=more <= 60,
        note=f"resident memory {before / 1e6:.0f} → {after / 1e6:.0f} MB",
    )
