"""A unit in a container: found by its reference, resumed, stopped, and how the command ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from builders import card, compiled
from executing import MOODS, World, records

from airflow_agentic.artifacts import Store
from airflow_agentic.container import command
from airflow_agentic.container.exits import Exit
from airflow_agentic.container.reference import UnitReference
from airflow_agentic.container.stop import Stop
from airflow_agentic.container.unit import run_unit
from airflow_agentic.exceptions import InputError, ModelUnavailableError, PlanMismatchError
from airflow_agentic.execution import Folder, Run, collect_unit
from airflow_agentic.execution.progress import read_progress
from airflow_agentic.plan.ir import Infer, Route

WORDS: dict[str, Any] = {
    "framework": "python",
    "handler": "airflow_agentic.contrib.rules:KeywordSentiment",
    "args": {"positive": ["good"], "negative": ["bad"]},
}


def routed(folder: Path, *, units: int = 1, **said: Any) -> tuple[Run, Infer, UnitReference]:
    """A run of 14 records in three shards, on disk, up to the model."""
    plan = compiled("b", card("b", classes=MOODS, **said), shard={"rows": 5}, parallelism=units)
    store = Store.open(str(folder)).child("default", "demo", "run")
    run = Folder(store, ["executing"]).start(plan, [records()], [])
    run.control(run.plan.of(Route)[0])
    node = run.plan.of(Infer)[0]
    return run, node, UnitReference(store=store.base, manifest=run.manifest, node=node.id, unit=0)


def test_a_unit_is_found_by_its_reference(tmp_path: Path) -> None:
    run, node, reference = routed(tmp_path)
    world = World()
    summary = run_unit(reference, Stop(), world.start)

    assert summary is not None
    assert (summary.model, summary.predictions, world.loads["b"]) == ("b", 10, 1)
    collected = collect_unit(run, node, run.units()[0])
    assert collected is not None
    assert asdict(collected) == asdict(summary)


def test_a_reference_is_what_its_arguments_say(tmp_path: Path) -> None:
    reference = UnitReference(store="file:///a b", manifest="k", node="main.b", unit=3, allowed_handlers=("one", "two"))

    assert reference.to_arguments() == [
        "--store=file:///a b",
        "--manifest=k",
        "--node=main.b",
        "--unit=3",
        "--allow=one",
        "--allow=two",
    ]


@pytest.mark.parametrize("unit", [-1, 2, 99])
def test_a_unit_that_is_not_there_is_refused(tmp_path: Path, unit: int) -> None:
    _, _, reference = routed(tmp_path, units=2)
    with pytest.raises(InputError, match=f"2 units, counted from 0, and none numbered {unit}"):
        UnitReference(**{**asdict(reference), "unit": unit}).open()


def test_another_kind_of_node_is_refused(tmp_path: Path) -> None:
    _, _, reference = routed(tmp_path)
    with pytest.raises(PlanMismatchError, match="of kind route"):
        UnitReference(**{**asdict(reference), "node": "route"}).open()


def test_a_unit_that_is_asked_to_stop_resumes_after_what_it_committed(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run, node, reference = routed(tmp_path)
    stop, world = Stop(grace=60), World()
    stop.listen()

    class Interrupted(World):
        """SIGTERM comes while the first batch is computed."""

        def enter(self, name: str) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            super().enter(name)

    try:
        with pytest.raises(ModelUnavailableError) as caught:
            run_unit(reference, stop, Interrupted().start)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert str(caught.value) == (
        "'b' lost unit 1 of 1 (shards 1 to 2, 6 of the records 'r5' to 'r13'; 1 of its shards stay committed): "
        "the container was asked to stop (SIGTERM)"
    )
    lost = read_progress(run.folder.store, node.id, 0)
    assert lost is not None
    assert (lost.state, lost.committed, lost.shards) == ("lost", 1, 3)
    summary = run_unit(reference, Stop(), world.start)
    assert summary is not None
    assert (summary.predictions, summary.resumed_shards) == (10, 1)
    done = read_progress(run.folder.store, node.id, 0)
    assert done is not None
    assert (done.state, done.committed, done.predictions) == ("done", 3, 10)


def test_a_stop_in_the_last_shard_changes_nothing(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    _, _, reference = routed(tmp_path)
    stop = Stop(grace=60)
    stop.listen()

    class Interrupted(World):
        """SIGTERM comes with the third shard."""

        def enter(self, name: str) -> None:
            if self.calls[name] == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            super().enter(name)

    try:
        summary = run_unit(reference, stop, Interrupted().start)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert summary is not None
    assert summary.predictions == 10


def container(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and log of the command, as a container runs it."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow_agentic.runtime", *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, [json.loads(line) for line in done.stderr.splitlines()]


@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_the_command_runs_a_unit(tmp_path: Path, isolation: str) -> None:
    run, node, reference = routed(tmp_path, runtime=WORDS, isolation=isolation)
    code, log = container("unit", *reference.to_arguments())

    assert code == Exit.DONE
    assert "model b 1 is loaded" in [line["event"] for line in log]
    summary = collect_unit(run, node, run.units()[0])
    assert summary is not None
    assert summary.predictions == 10


def test_the_command_says_why_it_failed(tmp_path: Path) -> None:
    _, _, reference = routed(tmp_path, runtime={**WORDS, "args": {"nonsense": 1}})
    code, log = container("unit", *reference.to_arguments())

    assert code == Exit.BAD_MODEL
    assert log[-1]["level"] == "error"
    assert log[-1]["event"].startswith("ModelLoadError: model 'b': ")


def test_code_that_is_not_allowed_is_not_run(tmp_path: Path) -> None:
    _, _, reference = routed(tmp_path, runtime={"framework": "python", "handler": "tiny:Model"})
    code, log = container("unit", *reference.to_arguments())

    assert code == Exit.BAD_CONFIGURATION
    assert log[-1]["event"].startswith("HandlerNotAllowedError: ")


def test_a_run_that_is_not_there_is_said(tmp_path: Path) -> None:
    code, log = container("unit", f"--store={tmp_path}", "--manifest=none", "--node=main.b", "--unit=0")

    assert code == Exit.BAD_CONFIGURATION
    assert log[-1]["event"].startswith("ArtifactError: ")


def test_an_unknown_command_shows_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.run(["prdict"])

    assert caught.value.code == 2
    assert "fetch" in capsys.readouterr().err
