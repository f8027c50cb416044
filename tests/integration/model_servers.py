"""Model servers as processes, and clients that load them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

HERE: Final = Path(__file__).resolve().parent
CARDS: Final[dict[str, dict[str, Any]]] = {
    "quick": {"isolation": "inline", "runtime": {"handler": "served_models:label"}},
    "apart": {"runtime": {"handler": "served_models:label"}, "batch": {"timeout": "2s"}},
    "double": {
        "task": "regression",
        "input": "tensor",
        "output": {"fields": {"double": "array"}},
        "isolation": "inline",
        "runtime": {
            "handler": "served_models:Double",
            "tensors": {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]},
        },
    },
}
TEXT: Final = b'{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a good day"]}]}'


def asked(text: str) -> bytes:
    """A request with one text."""
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
    return json.dumps({"inputs": [tensor]}).encode()


def write_card(project: Path, name: str, **changes: Any) -> None:
    """Write a card at once, as who deploys one should."""
    card = {
        "apiVersion": "airflow-agentic/v1",
        "kind": "Model",
        "name": name,
        "version": "1",
        "task": "text-analysis",
        "input": "text",
        "output": {"classes": ["good", "bad"]},
        **CARDS[name],
        **changes,
    }
    card["runtime"] = {"framework": "python", **card["runtime"]}
    folder = project / "models"
    folder.mkdir(parents=True, exist_ok=True)
    (project / "workflows").mkdir(exist_ok=True)
    part = folder / f".{name}.part"
    part.write_text(yaml.safe_dump(card))
    part.rename(folder / f"{name}.yaml")


@dataclass
class Server:
    """A running ``airflow-agentic serve``."""

    process: subprocess.Popen[str]
    url: str
    log: Path

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def children(self) -> list[int]:
        """Its direct child processes."""
        return children(self.process.pid)

    def stop(self, seconds: float = 60.0) -> int:
        """SIGTERM, and its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def memory(self) -> int:
        """Resident bytes of it alone."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def children(pid: int) -> list[int]:
    """The direct child processes of ``pid``."""
    text = "".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(word) for word in text.split()]


def command(project: Path, names: Sequence[str], *options: str) -> list[str]:
    """``airflow-agentic serve``."""
    return [
        str(Path(sys.executable).parent / "airflow-agentic"),
        "serve",
        *names,
        "--project",
        str(project),
        "--allow-handler",
        "served_models",
        *options,
    ]


def environment() -> dict[str, str]:
    """Of the server: its models are on the import path."""
    return {**os.environ, "PYTHONPATH": str(HERE)}


@contextmanager
def serving(project: Path, *names: str, options: Sequence[str] = ("--drain", "0.5")) -> Iterator[Server]:
    """A server of the cards ``names``, which answer once it is given; it is killed at the end if it still runs."""
    for name in names:
        if not (project / "models" / f"{name}.yaml").exists():
            write_card(project, name)
    log = project / f"log-{len(list(project.glob('log-*')))}"
    with log.open("w") as errors:
        process = subprocess.Popen(
            command(project, names, "--port", "0", *options),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(),
            cwd=project,
        )
    assert process.stdout is not None
    try:
        greeting = process.stdout.readline()
        assert ": at http://" in greeting, log.read_text()
        yield Server(process, greeting.strip().rpartition(" ")[2], log)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
        process.stdout.close()


@dataclass
class Load:
    """Clients that ask without a pause, and go to the next server where one takes no connections any more."""

    urls: list[str]
    answered: list[int] = field(default_factory=list)
    """By server."""
    failed: list[str] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.answered = [0] * len(self.urls)
        self._stop = False
        self._progress = asyncio.Condition()

    async def run(self, path: str, clients: int = 8, content: bytes = TEXT) -> None:
        """Ask until :meth:`stop`."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(self._client(session, path, content) for _ in range(clients)))

    async def _client(self, session: aiohttp.ClientSession, path: str, content: bytes) -> None:
        place = 0
        while not self._stop:
            try:
                async with session.post(self.urls[place] + path, data=content) as response:
                    found = await response.read()
            except aiohttp.ClientConnectorError:
                if place + 1 == len(self.urls):
                    self.failed.append("no server takes connections")
                    return
                place += 1
                continue
            except aiohttp.ClientError as error:
                self.failed.append(repr(error))
                continue
            if response.status != 200:
                self.failed.append(f"{response.status} {found!r}")
            else:
                self.versions.add(json.loads(found)["model_version"])
                self.answered[place] += 1
            async with self._progress:
                self._progress.notify_all()

    async def until(self, reached: Callable[[], bool], seconds: float = 60.0) -> None:
        """Go on asking until ``reached``, which is looked at after each answer."""
        async with asyncio.timeout(seconds), self._progress:
            await self._progress.wait_for(reached)

    def stop(self) -> None:
        """Let each client end with its present request."""
        self._stop = True


async def until_ready(url: str, model: str, seconds: float = 60.0) -> None:
    """Ask whether a model is ready until it is."""
    async with asyncio.timeout(seconds), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{url}/v2/models/{model}/ready") as response:
                if response.status == 200:
                    return
