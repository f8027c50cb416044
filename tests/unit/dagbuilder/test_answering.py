"""A run that one Airflow task answers: what waits for the last try, and what is left out after a stop."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from builders import compiled
from executing import CARDS, World, records, started

from airflow_agentic.coordinator import ModelPool
from airflow_agentic.exceptions import ModelUnavailableError
from airflow_agentic.operators.answering import Answering
from airflow_agentic.operators.model import ModelOperator
from airflow_agentic.operators.workflow import WorkflowOperator

if TYPE_CHECKING:
    from airflow_agentic.execution import Run

VOTE = {"ensemble": ["a", "b", "c"], "aggregate": "mean", "quorum": 1}


def context(tries: int, max_tries: int = 2) -> Any:
    return {"ti": SimpleNamespace(try_number=tries, max_tries=max_tries)}


def run_of(world: World, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("airflow_agentic.coordinator.ModelPool", lambda **_: ModelPool(starter=world.start))
    return started(compiled(VOTE, *CARDS, shard={"rows": 4}), records(8))


def committed(run: Run) -> list[bool]:
    return [run.answered(shard) is not None for shard in run.shards]


def test_only_airflows_last_try_commits_without_a_lost_model(monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(World(lost=frozenset({"a"})), monkeypatch)
    for tries in (1, 2):
        with pytest.raises(ModelUnavailableError, match=r"^a model was unavailable in 2 of 2 shards "):
            Answering().answer(run, context(tries), [])
        assert committed(run) == [False, False]
    Answering().answer(run, context(3), [])
    assert committed(run) == [True, True]


@pytest.mark.parametrize("tries", [1, 3])
def test_nothing_is_committed_after_a_stop(monkeypatch: pytest.MonkeyPatch, tries: int) -> None:
    asked = Answering()

    class Stopping(World):
        def enter(self, name: str) -> None:
            if self.calls[name]:
                asked.stop()
            super().enter(name)

    run = run_of(Stopping(), monkeypatch)
    with pytest.raises(ModelUnavailableError, match=r"^stopped before shard 1 was committed; a retry resumes$"):
        asked.answer(run, context(tries), [])
    assert committed(run) == [True, False]


def test_airflows_sigterm_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[Answering] = []
    monkeypatch.setattr(Answering, "stop", lambda self: stopped.append(self))
    plan = compiled(VOTE, *CARDS)
    WorkflowOperator(task_id="workflow", plan=plan, input=None, base=".").on_kill()
    ModelOperator(task_id="model", model="a", records=["x"]).on_kill()
    assert len(stopped) == 2
