"""A warm model: loaded once, for one unit after the other, and for no other model. Every process here is real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
from builders import card, card_data, compiled
from executing import World as Answers
from executing import records

from airflow_agentic.artifacts import Store
from airflow_agentic.container.exits import Exit, LastWords
from airflow_agentic.container.reference import UnitReference
from airflow_agentic.execution import Folder, Run, infer_unit
from airflow_agentic.plan.ir import Gate, Infer, Route

WORDS: Final[dict[str, Any]] = {
    "framework": "python",
    "handler": "airflow_agentic.contrib.rules:KeywordSentiment",
    "args": {"positive": ["text"], "negative": ["bad"]},
}
WAITING: Final = """
import os, signal
from pathlib import Path

class Model:
    def __init__(self, folder):
        self.folder = Path(folder)

    def predict(self, batch):
        (self.folder / "begun").write_text(str(os.getpid()))  # a pipe: whoever reads it knows that we are here
        (self.folder / "go").read_text()
        return ["positive"] * batch.num_rows
"""


class World:
    """A folder with a card, a run up to its models, and the processes that a test starts."""

    def __init__(self, folder: Path, processes: ExitStack) -> None:
        self.folder = folder
        self.socket = folder / "warm.sock"
        self._processes = processes

    def card(self, **said: Any) -> dict[str, Any]:
        return {"runtime": WORDS, **said}

    def run(self, use: Any = "b", *, name: str = "run", units: int = 1, **said: Any) -> tuple[Run, list[UnitReference]]:
        """A run of 14 records in three shards, up to its models, and the units of the model ``b``."""
        models = [card(one, folder=self.folder, **self.card(**said)) for one in ("b", "c", "d")]
        plan = compiled(use, *models, shard={"rows": 5}, parallelism=units)
        store = Store.open(str(self.folder)).child("default", "demo", name)
        run = Folder(store, ["executing"]).start(plan, [records()], [])
        run.control(run.plan.of(Route)[0])
        (node,) = [one for one in run.plan.of(Infer) if one.model == "b"]
        return run, [
            UnitReference(store=store.base, manifest=run.manifest, node=node.id, unit=number) for number in range(units)
        ]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "airflow_agentic.runtime", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(self.folder), *sys.path])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._processes.enter_context(process)
        self._processes.callback(process.kill)
        return process

    def warm(self, *arguments: str, **said: Any) -> subprocess.Popen[str]:
        """A warm model that is loaded."""
        path = self.folder / "b.yaml"
        stated = {"apiVersion": "airflow-agentic/v1", "kind": "Model", **card_data("b", **self.card(**said))}
        path.write_text(json.dumps(stated))
        process = self.start("warm", f"--card={path}", f"--socket={self.socket}", *arguments)
        assert process.stderr is not None
        log: list[str] = []
        while "ready for units" not in log:
            line = process.stderr.readline()
            assert line, f"it ended with {process.wait()}: {log}"
            log.append(json.loads(line)["event"])
        assert [event for event in log if "was loaded" in event] == ["model b 1 was loaded"]
        return process

    def unit(self, reference: UnitReference, *arguments: str) -> subprocess.Popen[str]:
        """A client that hands a unit over."""
        return self.start("unit", *reference.to_arguments(), f"--socket={self.socket}", *arguments)

    def ready(self) -> int:
        return self.start("ready", f"--socket={self.socket}").wait()


class Waiting(World):
    """Its model says when it has begun a batch, and ends it when it may."""

    def __init__(self, folder: Path, processes: ExitStack) -> None:
        super().__init__(folder, processes)
        (folder / "waiting.py").write_text(WAITING)
        for name in ("begun", "go"):
            os.mkfifo(folder / name)

    def card(self, **said: Any) -> dict[str, Any]:
        runtime = {"framework": "python", "handler": "waiting:Model", "args": {"folder": str(self.folder)}}
        return {"runtime": runtime, **said}

    def begun(self) -> int:
        """Wait until a batch has begun; the process that works on it."""
        return int((self.folder / "begun").read_text())

    def go(self) -> None:
        (self.folder / "go").write_text("on")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as processes:
        yield World(tmp_path, processes)


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Waiting]:
    with ExitStack() as processes:
        yield Waiting(tmp_path, processes)


def ended(client: subprocess.Popen[str]) -> tuple[int, LastWords | None, list[str]]:
    """Exit code, last words and log of a client."""
    said, log = client.communicate()
    return client.returncode, LastWords.parse(said), [json.loads(line)["event"] for line in log.splitlines()]


def answers(run: Run) -> pa.Table:
    """What is committed, without how long it took."""
    (node,) = [one for one in run.plan.of(Infer) if one.model == "b"]
    tables = [run.markers.read(run.committed(node, shard)) for shard in run.shards]
    return pa.concat_tables(tables).drop_columns(["latency_ms"])


def committed(run: Run) -> int:
    """How many shards are."""
    fresh = run.folder.open(run.manifest)
    (node,) = [one for one in fresh.plan.of(Infer) if one.model == "b"]
    return sum(fresh.marker(node.id, shard) is not None for shard in fresh.shards)


def test_a_second_unit_loads_nothing_and_both_answer_as_a_container_of_its_own(world: World) -> None:
    warm_run, (first, second) = world.run(units=2)
    cold_run, (alone,) = world.run(name="cold")
    server = world.warm()
    cold = world.start("unit", *alone.to_arguments())
    clients = [world.unit(first), world.unit(second)]
    told = [ended(client) for client in clients]

    assert [(code, words) for code, words, _ in told] == [(Exit.DONE, None)] * 2
    assert [[event for event in log if event.startswith("shard ")] for _, _, log in told] == [
        ["shard 0: predictions: 4, errors: 0"],
        ["shard 1: predictions: 3, errors: 0", "shard 2: predictions: 3, errors: 0"],
    ]
    assert cold.wait() == Exit.DONE
    assert answers(warm_run).equals(answers(cold_run))
    server.terminate()
    assert server.wait() == Exit.DONE
    assert server.stderr is not None
    assert "was loaded" not in server.stderr.read()


def test_it_is_not_ready_before_it_is_loaded_and_then_replaces_a_dead_socket(world: World) -> None:
    assert world.ready() == Exit.RETRY
    killed = world.warm()
    killed.kill()
    killed.wait()
    assert world.socket.is_socket()
    assert world.ready() == Exit.RETRY
    server = world.warm()
    assert world.ready() == Exit.DONE

    server.terminate()
    assert server.wait() == Exit.DONE
    assert not world.socket.exists()


def test_a_living_socket_is_not_taken_away(world: World) -> None:
    world.warm()
    second = world.start("warm", f"--card={world.folder / 'b.yaml'}", f"--socket={world.socket}")

    assert second.wait() == Exit.RETRY
    assert second.stderr is not None
    assert f"OSError: another process answers at {world.socket}" in second.stderr.read()
    assert world.ready() == Exit.DONE


def test_where_nobody_answers_the_client_says_so(world: World) -> None:
    _, (reference,) = world.run()
    code, words, log = ended(world.unit(reference))

    assert code == Exit.RETRY
    assert words is not None
    assert words.message == (
        f"no warm model answers at {world.socket} (No such file or directory): it is being loaded, "
        "or its container ended"
    )
    assert log == [f"ModelUnavailableError: {words.message}"]


def test_a_model_that_was_killed_is_started_anew(world: World) -> None:
    run, (reference,) = world.run(isolation="process")
    server = world.warm(isolation="process")
    (child,) = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    code, _, log = ended(world.unit(reference))

    assert code == Exit.DONE
    assert "the process of model b died and is started anew" in log
    assert len(answers(run)) == 10


@pytest.mark.parametrize(
    ("other", "shown"),
    [
        ({"version": "2"}, "version 2"),
        ({"runtime": {**WORDS, "args": {"positive": ["a"], "negative": []}}}, "version 1"),
    ],
)
def test_a_unit_of_another_model_is_refused(world: World, other: dict[str, Any], shown: str) -> None:
    run, (reference,) = world.run(**other)
    world.warm()
    code, words, log = ended(world.unit(reference))

    assert code == Exit.BAD_CONFIGURATION
    assert words is not None
    assert words.error == "PlanMismatchError"
    assert words.message.startswith("model 'b' version 1 (digest ")
    assert f") is loaded here, and the run froze model 'b' {shown} (digest " in words.message
    assert words.message.endswith(
        "): roll the warm pods, so that they load the run's card and files, or clear the whole run, so that it "
        "freezes theirs"
    )
    assert log[-1] == f"PlanMismatchError: {words.message}"
    assert committed(run) == 0


def test_all_scores_are_given_where_they_are_averaged(world: World) -> None:
    average = {"ensemble": ["b", "c"], "aggregate": "mean"}
    one: dict[str, Any] = {"output": {"classes": ["negative", "positive"], "top_k": 1}}
    warm_run, (reference,) = world.run(average, **one)
    cold_run, (alone,) = world.run(average, name="cold", **one)
    plain_run, (plain,) = world.run(name="plain", **one)
    world.warm(**one)
    cold = world.start("unit", *alone.to_arguments())
    code, _, log = ended(world.unit(reference))

    assert code == Exit.DONE
    assert "model b is loaded anew: scores of up to 100000 classes are wanted" in log
    assert cold.wait() == Exit.DONE
    assert answers(warm_run).equals(answers(cold_run))
    assert {len(scores) for scores in answers(warm_run).column("scores").to_pylist()} == {2}
    assert ended(world.unit(plain))[0] == Exit.DONE
    assert {len(scores) for scores in answers(plain_run).column("scores").to_pylist()} == {1}


def test_only_what_the_warm_process_allows_is_run(waiting: Waiting) -> None:
    waiting.run()
    refused = waiting.folder / "b.yaml"
    stated = {"apiVersion": "airflow-agentic/v1", "kind": "Model", **card_data("b", **waiting.card())}
    refused.write_text(json.dumps(stated))

    assert waiting.start("warm", f"--card={refused}", f"--socket={waiting.socket}").wait() == Exit.BAD_CONFIGURATION


def test_a_client_allows_nothing(world: World) -> None:
    own = {"ensemble": ["c", "d"], "aggregate": {"handler": "executing:longest"}}
    run, (reference,) = world.run({"chain": [own, {"use": "b", "input": "prediction.label"}]})
    for node in run.plan.nodes[2:]:
        if isinstance(node, Gate):
            run.control(node)
        elif isinstance(node, Infer) and node.model != "b":
            infer_unit(run, node, run.units()[0], Answers().start)
    world.warm()
    code, words, _ = ended(world.unit(reference, "--allow=executing"))

    assert code == Exit.BAD_CONFIGURATION
    assert words is not None
    assert words.error == "HandlerNotAllowedError"
    assert world.start("unit", *reference.to_arguments(), "--allow=executing").wait() == Exit.DONE


@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_it_is_ready_while_a_unit_runs_and_others_wait(waiting: Waiting, isolation: str) -> None:
    run, references = waiting.run(units=3, isolation=isolation)
    server = waiting.warm("--allow=waiting", isolation=isolation)
    running = waiting.unit(references[0])
    pid = waiting.begun()
    assert (pid == server.pid) == (isolation == "inline")
    others = [waiting.unit(reference) for reference in references[1:]]
    assert waiting.ready() == Exit.DONE
    assert [client.poll() for client in (running, *others)] == [None] * 3
    waiting.go()
    assert ended(running)[0] == Exit.DONE
    for _ in others:
        waiting.begun()
        waiting.go()

    assert [ended(client)[0] for client in others] == [Exit.DONE] * 2
    assert committed(run) == 3


Ending = Callable[[subprocess.Popen[str], subprocess.Popen[str]], None]


def test_sigterm_ends_it_after_the_shard_in_hand(waiting: Waiting) -> None:
    run, (reference,) = waiting.run()
    _, (later,) = waiting.run(name="later")
    server = waiting.warm("--allow=waiting")
    client = waiting.unit(reference)
    waiting.begun()
    other = waiting.unit(later)
    assert waiting.ready() == Exit.DONE
    server.terminate()
    waiting.go()
    code, words, _ = ended(client)

    assert code == Exit.RETRY
    assert words is not None
    assert words.message == (
        "'b' lost unit 1 of 1 (shards 1 to 2, 6 of the records 'r5' to 'r13'; 1 of its shards stay committed): "
        "the container was asked to stop (SIGTERM)"
    )
    assert ended(other)[0] == Exit.RETRY
    assert server.wait() == Exit.DONE
    assert committed(run) == 1


def test_a_batch_that_takes_too_long_is_cut_off_and_told(waiting: Waiting) -> None:
    run, (reference,) = waiting.run(isolation="process")
    server = waiting.warm("--allow=waiting", "--grace=0.1", isolation="process")
    client = waiting.unit(reference)
    waiting.begun()
    server.terminate()
    code, words, _ = ended(client)

    assert code == Exit.RETRY
    assert words is not None
    assert words.message.endswith("the process of model 'b' was stopped by its caller")
    assert server.wait() == Exit.DONE
    assert committed(run) == 0


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_a_client_that_goes_stops_its_unit_after_the_shard_in_hand(waiting: Waiting, end: str) -> None:
    run, (reference,) = waiting.run()
    server = waiting.warm("--allow=waiting")
    client = waiting.unit(reference)
    waiting.begun()
    getattr(client, end)()
    if end == "kill":
        client.wait()
    waiting.go()
    if end == "terminate":
        code, words, _ = ended(client)
        assert code == Exit.RETRY
        assert words is not None
        assert words.message.startswith("'b' lost unit 1 of 1 (shards 1 to 2, 6 of the records ")
    assert server.stderr is not None
    lost = next(line for line in server.stderr if "lost unit" in line)
    assert "whoever handed it over is gone, or was asked to stop (SIGTERM)" in json.loads(lost)["event"]
    assert waiting.ready() == Exit.DONE
    assert committed(run) == 1


@pytest.mark.parametrize("attached", [True, False])
def test_who_is_attached_stops_its_unit_by_letting_go(waiting: Waiting, attached: bool) -> None:
    run, (reference,) = waiting.run()
    waiting.warm("--allow=waiting")
    client = waiting.unit(reference, *(["--attached"] if attached else []))
    waiting.begun()
    assert client.stdin is not None
    client.stdin.write("is not read")
    client.stdin.close()
    client.stdin = None
    if attached:
        waiting.go()
    else:
        for shard in range(3):
            waiting.go()
            if shard < 2:
                waiting.begun()
    code, words, _ = ended(client)

    assert (code, words is None) == ((Exit.RETRY, False) if attached else (Exit.DONE, True))
    assert committed(run) == (1 if attached else 3)


def test_a_client_waits_no_longer_than_its_grace(waiting: Waiting) -> None:
    _, (reference,) = waiting.run()
    waiting.warm("--allow=waiting")
    client = waiting.unit(reference, "--grace=0.05")
    waiting.begun()
    client.terminate()
    code, words, _ = ended(client)

    assert code == Exit.RETRY
    assert words is not None
    assert words.message == ("the container was asked to stop (SIGTERM); the shard in hand took longer than 0.05 s")


def test_a_server_that_dies_is_told(waiting: Waiting) -> None:
    _, (reference,) = waiting.run()
    server = waiting.warm("--allow=waiting")
    client = waiting.unit(reference)
    waiting.begun()
    server.kill()
    code, words, _ = ended(client)

    assert code == Exit.RETRY
    assert words is not None
    assert words.message == "the warm model ended before the unit did; what it committed stays"


@pytest.mark.parametrize("command", ["unit", "ready"])
def test_a_client_is_small(command: str, tmp_path: Path) -> None:
    arguments = {
        "unit": ["unit", "--store=s", "--manifest=m", "--node=n", "--unit=0", f"--socket={tmp_path / 'none'}"],
        "ready": ["ready", f"--socket={tmp_path / 'none'}"],
    }[command]
    code = (
        "import sys\n"
        "from airflow_agentic.runtime.__main__ import main\n"
        f"code = main({arguments!r})\n"
        "large = ['numpy', 'pyarrow', 'pydantic', 'airflow_agentic.execution', 'airflow_agentic.spec']\n"
        "print(code, [name for name in large if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout.splitlines()[-1] == f"{Exit.RETRY.value} []"
