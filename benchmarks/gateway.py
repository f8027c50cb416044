"""The gateway: what ``POST /predict`` adds to a model's answer, and what becomes of twice the load that it can bear.

*Added*: one client asks for one text after the other, each of the model server itself and then of the gateway, whose
workflow has the same model at the same server; the median of the differences. Floor: the model server alone. Servers
have one core, the client one.

*Overload*: a cascade over three models, all in one model server. First the rate that 32 connections in a closed loop
reach, and the latency at a tenth of it; then for five minutes twice that rate, in an open loop with constant arrivals:
latency counts from the time at which a request was to be sent. Requests bring a deadline, as clients do.
"""

from __future__ import annotations

import http.client
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import orjson

from benchmarks.base import ROOT, Result
from benchmarks.http_load import Load, load
from benchmarks.servers import CORES, free_port, memory, ours, server
from benchmarks.serving import TEXTS

TURNS: Final = 10
OVERLOAD_SECONDS: Final = 300.0
DEADLINE_MS: Final = 2000
TOGETHER: Final = 32
"""Requests at once by which the capacity is measured."""
CONNECTIONS: Final = 256
WORKFLOWS: Final = {
    "one": "routes: [{use: minilm-torch}]",
    "cascade": "routes: [{use: {cascade: [vader, words-keras, minilm-torch]}, accept: prediction.score >= 0.8}]",
}


def run() -> list[Result]:
    """Milliseconds that are added; quantiles, losses and memory under twice the load."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        return [_added(folder), *_overload(folder)]


@contextmanager
def served(folder: Path, name: str, models: list[str]) -> Iterator[tuple[str, str, int]]:
    """A model server and a gateway before it: their addresses, and the gateway's process id."""
    port, door = free_port(), free_port()
    project = _project(folder / name, name, port)
    models_url, url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{door}"
    with server(ours(ROOT / "dags", port, *models), f"{models_url}/v2/health/ready"):
        command = [*ours(project, door)[:3], "gateway", f"--project={project}", f"--port={door}"]
        with server(command, f"{url}/health/ready") as process:
            yield models_url, url, process.pid


def _project(folder: Path, name: str, port: int) -> Path:
    (folder / "workflows").mkdir(parents=True)
    (folder / "models").symlink_to(ROOT / "dags" / "models")
    (folder / "workflows" / f"{name}.yaml").write_text(
        f"apiVersion: airflow-agentic/v1\nkind: Workflow\nname: {name}\n{WORKFLOWS[name]}\n"
        f"runner: service\nservice: {{url: 'http://127.0.0.1:{port}', concurrency: 256}}\n"
    )
    return folder


def _added(folder: Path) -> Result:
    tensors = [
        orjson.dumps({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]})
        for text in TEXTS
    ]
    requests = [orjson.dumps({"task": "text-analysis", "input": text}) for text in TEXTS]
    pairs: list[tuple[float, float]] = []
    with served(folder, "one", ["minilm-torch"]) as (models, url, _), on_core(CORES[1]):
        alone = http.client.HTTPConnection(urlsplit(models).netloc)
        door = http.client.HTTPConnection(urlsplit(url).netloc)
        with closing(alone), closing(door):
            for turn in range(TURNS + 1):
                for tensor, request in zip(tensors, requests, strict=True):
                    pair = _ask(alone, "/v2/models/minilm-torch/infer", tensor), _ask(door, "/predict", request)
                    if turn:  # the first is for warming up
                        pairs.append(pair)
    added = statistics.median(after - before for before, after in pairs)
    return Result(
        name="what POST /predict adds to a MiniLM answer, median",
        value=round(added, 2),
        unit="ms",
        floor=round(statistics.median(before for before, _ in pairs), 2),
        goal="≤ 1.5 ms over a direct call of the model server",
        met=added <= 1.5,
        note=f"{len(pairs)} pairs; through the gateway {statistics.median(after for _, after in pairs):.2f} ms",
    )


def _ask(connection: http.client.HTTPConnection, path: str, body: bytes) -> float:
    """Milliseconds of one request."""
    began = time.perf_counter()
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    said = response.read()
    if response.status != 200:
        raise RuntimeError(f"{path} answered {response.status}: {said!r}")
    return (time.perf_counter() - began) * 1000.0


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """This process runs on one core meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _overload(folder: Path) -> list[Result]:
    requests = [orjson.dumps({"task": "text-analysis", "input": text}) for text in TEXTS]
    headers = {"X-Request-Timeout-Ms": str(DEADLINE_MS)}
    with served(folder, "cascade", ["vader", "words-keras", "minilm-torch"]) as (_, url, pid):

        def ask(seconds: float, *, connections: int = CONNECTIONS, rate: float = 0.0) -> Load:
            return load(
                f"{url}/predict",
                requests,
                folder=folder,
                connections=connections,
                seconds=seconds,
                rate=rate,
                headers=headers,
                core=CORES[1],
            )

        ask(10.0, connections=TOGETHER)
        full = ask(20.0, connections=TOGETHER)
        capacity = full.rate
        calm = ask(30.0, rate=capacity / 10)
        before = memory(pid)
        busy = ask(OVERLOAD_SECONDS, rate=2 * capacity)
        after = memory(pid)
    refused = {status: count for status, count in busy.statuses.items() if status in {"429", "503"}}
    other = {status: count for status, count in busy.statuses.items() if status not in {"200", "429", "503"} and count}
    asked = sum(busy.statuses.values())
    most = (
        f"capacity {capacity:.0f}/s, which takes {full.p50:.0f} ms with {TOGETHER} at once and {calm.p50:.0f} ms alone"
    )
    said = f"{most}; of {asked:,} requests {busy.good:,} answered, {sum(refused.values()):,} refused"
    return [
        Result(
            name="a cascade over three models at twice its capacity for 5 min: 99th percentile of what is accepted",
            value=round(busy.p99, 1),
            unit="ms",
            floor=round(calm.p99, 1),
            ratio=round(busy.p99 / calm.p99, 2),
            goal="≤ 3× unloaded; the rest 429 or 503, none lost",
            met=busy.p99 <= 3 * calm.p99 and not other,
            note=f"{said}; others: {other or 'none'}",
        ),
        Result(
            name="the gateway's memory over these 5 min",
            value=round((after - before) / 1e6, 1),
            unit="MB more",
            goal="flat",
            met=after - before <= 20e6,
            note=f"resident {before / 1e6:.0f} → {after / 1e6:.0f} MB",
        ),
    ]
