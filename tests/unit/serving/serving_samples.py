"""Fakes of the model server: a model, a clock, a client of the ASGI interface."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from builders import card

from airflow_agentic.openinference.tensors import InferRequest, RequestedOutput, Tensor, TensorSpec
from airflow_agentic.serving.batching import Bounds
from airflow_agentic.serving.repository import Repository
from airflow_agentic.spec import ModelCard

Headers = dict[str, str]


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class FakeProcess:
    """As far as a served model looks at its process."""

    def __init__(self) -> None:
        self.running = True
        self.busy = False
        self.killed = False

    def kill(self) -> None:
        self.killed = True
        self.running = False


class FakeLoaded:
    """A model that doubles ``x``; ``run`` may be replaced."""

    inputs = (TensorSpec("x", "FP32", (-1, 2)),)
    optional: tuple[TensorSpec, ...] = ()
    outputs = (TensorSpec("y", "FP32", (-1, 2)), TensorSpec("size", "INT64", (-1,)))
    hidden = frozenset({"error"})

    def __init__(self, work: Callable[[Any], Any] | None = None, *, process: bool = False) -> None:
        self.process: Any = FakeProcess() if process else None
        self.closed = False
        self.threads: set[str] = set()
        self._work = work or doubled

    def run(self, given: Any) -> Any:
        self.threads.add(threading.current_thread().name)
        return self._work(given)

    def refuse(self, answered: Any, asked: Sequence[RequestedOutput]) -> None:
        del answered, asked

    def close(self) -> None:
        self.closed = True


def doubled(given: Any) -> Any:
    x = given["x"]
    nothing = np.full(len(x), b"", object)
    return {"y": x * 2.0, "size": np.full(len(x), len(x), np.int64), "error": nothing}


def arrays(*rows: Sequence[float]) -> dict[str, Any]:
    return {"x": np.array(rows, np.float32)}


def request(*rows: Sequence[float], outputs: Iterable[str] = ()) -> InferRequest:
    array = np.array(rows, np.float32).reshape(len(rows), 2)
    return InferRequest([Tensor("x", "FP32", array)], [RequestedOutput(one) for one in outputs])


def body(*rows: Sequence[float], **changes: Any) -> bytes:
    """A request in JSON."""
    flat = [number for row in rows for number in row]
    tensor = {"name": "x", "datatype": "FP32", "shape": [len(rows), 2], "data": flat}
    return json.dumps({"inputs": [tensor], **changes}).encode()


@dataclass
class Answer:
    """What the application sent."""

    status: int
    headers: Headers
    body: bytes
    parts: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        assert set(self.json) == {"error"}
        return str(self.json["error"])


@dataclass
class Client:
    """Asks an ASGI application; ``gone`` is a client that went away after its request."""

    app: Any
    waiting: list[asyncio.Future[Any]] = field(default_factory=list)

    async def ask(
        self,
        path: str,
        content: bytes | Sequence[bytes] = b"",
        *,
        method: str = "POST",
        headers: Headers | None = None,
        gone: bool = False,
    ) -> Answer | None:
        chunks = [content] if isinstance(content, bytes) else list(content)
        messages: list[Any] = [
            {"type": "http.request", "body": chunk, "more_body": place < len(chunks) - 1}
            for place, chunk in enumerate(chunks)
        ]
        if gone:
            messages.append({"type": "http.disconnect"})
        sent: list[Any] = []

        async def receive() -> Any:
            if messages:
                return messages.pop(0)
            return await asyncio.get_running_loop().create_future()

        async def send(message: Any) -> None:
            sent.append(message)

        pairs = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        await self.app(
            {
                "type": "http",
                "asgi": {"version": "3.0"},
                "http_version": "1.1",
                "method": method,
                "path": path,
                "raw_path": path.encode(),
                "root_path": "",
                "scheme": "http",
                "query_string": b"",
                "headers": pairs,
                "client": ("127.0.0.1", 1),
                "server": ("127.0.0.1", 8080),
            },
            receive,
            send,
        )
        if not sent:
            return None
        start, *rest = sent
        found = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], found, b"".join(one.get("body", b"") for one in rest), len(rest))

    async def infer(self, content: bytes | Sequence[bytes], name: str = "fake", **named: Any) -> Answer:
        answer = await self.ask(f"/v2/models/{name}/infer", content, **named)
        assert answer is not None
        return answer

    async def get(self, path: str) -> Answer:
        answer = await self.ask(path, method="GET")
        assert answer is not None
        return answer


def process_card(name: str = "fake", **said: Any) -> ModelCard:
    return card(name, isolation="process", **said)


class Cards:
    """The cards of a folder that changes, and the models that are loaded for them."""

    def __init__(self, *cards: ModelCard) -> None:
        self.cards = list(cards)
        self.models: dict[tuple[str, str], FakeLoaded] = {}
        self.broken: dict[tuple[str, str], Exception] = {}
        self.error: Exception | None = None

    def read(self) -> list[ModelCard]:
        if self.error is not None:
            raise self.error
        return list(self.cards)

    def load(self, card: ModelCard) -> FakeLoaded:
        key = (card.name, card.version)
        if key in self.broken:
            raise self.broken[key]
        return self.models.setdefault(key, FakeLoaded(process=card.isolation == "process"))

    def repository(self, bounds: Bounds = Bounds()) -> Repository:  # noqa: B008  # a constant
        return Repository(self.read, self.load, bounds)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as an error."""
    return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
