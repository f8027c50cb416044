"""The strikes: SIGKILL to a process of the kind that is asked for, SIGSTOP to what becomes a zombie."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from scripts.airflow_server import AirflowServerError, NoAnswerError
from scripts.faults.victims import Work, Zombie, at_work

if TYPE_CHECKING:
    import random

    from scripts.airflow_parts import AirflowParts
    from scripts.faults.workload import Workload
    from scripts.processes import Process

MODEL: Final = "model"
SCHEDULER: Final = "scheduler"
KINDS: Final = ("task", "supervisor", SCHEDULER, MODEL)
"""What is killed on Airflow."""
ZOMBIE: Final = "zombie"
FROZEN: Final = 4
"""Zombies asleep at once."""
WITHOUT_MODEL: Final = 0.05
"""How often a task without a model is made a zombie when it is looked at: one with a model has more to write late."""
ANSWERED: Final = 0.8
"""How often a model that has answered is preferred to one that is being loaded."""
AGAIN: Final = 0.5
"""How often the model that a coordinator starts in place of a killed one is killed, too: it tries no third."""
AGAIN_SECONDS: Final = 8.0
"""So long it is waited for."""
MOMENT: Final[dict[str, float]] = {"task": 1.5, "supervisor": 1.5, MODEL: 1.0, SCHEDULER: 2.0, ZOMBIE: 0.5}
"""A kill follows within so many seconds after its victim was found."""
POLL_SECONDS: Final = 0.05
SLEEP: Final = 90.0
"""A zombie that Airflow has not given up after so long is woken, and does not count."""

Place = tuple[str, str, str, int]
"""Dag, run, Airflow task and map index."""


@dataclass
class Strikes:
    """Strikes at what runs on ``server``; ``chance`` draws victims and moments.

    :param runs: Dag and run of what is under way; it may change.
    """

    server: AirflowParts
    workload: Workload
    chance: random.Random
    runs: Collection[tuple[str, str]]
    counts: Counter[str] = field(default_factory=Counter)
    """By kind."""
    struck: Counter[str] = field(default_factory=Counter)
    """By Airflow task."""
    asleep: list[Zombie] = field(default_factory=list)
    restarts: int = 0

    def __post_init__(self) -> None:
        self._woken: list[Zombie] = []
        self._models: list[tuple[int, float]] = []

    def strike(self, kind: str) -> bool:
        """Strike once; returns whether there was a victim."""
        if kind == SCHEDULER:
            return self._kill_scheduler()
        works = at_work(self.server)
        if kind == MODEL:
            return self._kill_model(works)
        if not works:
            return False
        work = self.chance.choice(works)
        if kind == ZOMBIE:
            return self._stop(work)
        self._wait(kind)
        task = self._task_of(work)
        if self.server.supervisors().get(work.instance) is None:
            return False  # an idle worker holds the lock of LocalExecutor's queue: no other would get a task any more
        return self._kill(kind, work.task if kind == "task" else work.supervisor, task)

    def restart(self) -> None:
        """Start the scheduler anew.

        A worker that is killed while it takes a task or reports one leaves the lock of LocalExecutor's queue held.
        """
        self.server.kill_scheduler()
        self.server.start_scheduler()
        self.restarts += 1
        print(f"restart {self.restarts}: no Airflow task runs", file=sys.stderr, flush=True)

    def strike_again(self) -> bool:
        """Kill also the model that takes the place of the one killed last, if its task asks it again."""
        work, task = self._last
        if not task.partition(".")[0].endswith("-compact") or self.chance.random() > AGAIN:
            return False
        before = {model.pid for model in work.models}
        until = time.monotonic() + AGAIN_SECONDS
        while work.task.alive and time.monotonic() < until:
            now = (model for each in at_work(self.server) if each.task.pid == work.task.pid for model in each.models)
            for model in now:
                if model.pid not in before:
                    self._wait(MODEL)
                    return self._kill(MODEL, model, task)
            time.sleep(POLL_SECONDS)
        return False

    def watch(self) -> int:
        """Wake the zombies whose time has come; returns how many came to nothing, as Airflow did not give them up.

        :raises NoAnswerError: Airflow is busy: call again.
        """
        failed = 0
        for zombie in list(self.asleep):
            if zombie.retried is None:
                dag_id, run_id, task_id, map_index = zombie.place
                tasks = self.server.tasks(dag_id, run_id)
                now = [each for each in tasks if (each["task_id"], each["map_index"]) == (task_id, map_index)]
                zombie.see(now[0] if now else None)
            given_up = zombie.retried is None and time.monotonic() > zombie.stopped + SLEEP
            if zombie.wake(at_once=given_up):
                self.asleep.remove(zombie)
                if given_up:
                    failed += 1
                else:
                    self._woken.append(zombie)
                    self._note(ZOMBIE, f"{zombie.place[0]}.{zombie.place[2]}")
        return failed

    def end(self) -> None:
        """Wake all that still sleep."""
        while self.asleep:
            self.asleep.pop().wake(at_once=True)

    @property
    def models_at_work(self) -> int:
        """Models that had answered records when they were killed; the others were being loaded."""
        calls = self.workload.called()
        return sum(pid in calls and min(calls[pid]) < when for pid, when in self._models)

    @property
    def late_answers(self) -> int:
        """Zombies whose model went on answering after they woke up."""
        calls = self.workload.called()
        return sum(
            any(when > zombie.woken_at for model in zombie.work.models for when in calls.get(model.pid, ()))
            for zombie in self._woken
        )

    def _kill_scheduler(self) -> bool:
        """Only one that has got going: its workers wait for tasks, or have some."""
        scheduler = self.server.scheduler
        if scheduler is None or not any(each.session == scheduler.pid for each in self.server.workers()):
            return False
        self._wait(SCHEDULER)
        busy = len(self.server.supervisors())
        self.server.kill_scheduler()
        self._note(SCHEDULER, f"scheduler with {busy} tasks")
        self._wait(SCHEDULER)
        self.server.start_scheduler()
        return True

    def _kill_model(self, works: list[Work]) -> bool:
        models = [(work, model) for work in works for model in work.models]
        called = self.workload.called()
        answered = [each for each in models if each[1].pid in called]
        if answered and self.chance.random() < ANSWERED:
            models = answered
        if not models:
            return False
        work, model = self.chance.choice(models)
        self._wait(MODEL)
        task = self._task_of(work)
        self._last = (work, task)
        return self._kill(MODEL, model, task)

    def _kill(self, kind: str, victim: Process, task: str) -> bool:
        if not victim.send(signal.SIGKILL):
            return False
        if kind == MODEL:
            self._models.append((victim.pid, time.time()))
        self._note(kind, task)
        return True

    def _stop(self, work: Work) -> bool:
        """Stop a task instance; not one that has just ended, or whose model has."""
        if len(self.asleep) >= FROZEN or (not work.models and self.chance.random() > WITHOUT_MODEL):
            return False
        self._wait(ZOMBIE)
        if not all(each.alive for each in (work.task, *work.models)):
            return False
        linger = (self.chance.uniform(0, 3), self.chance.choice((0.0, self.chance.uniform(2, 6))))
        zombie = Zombie.stop(work, linger)
        place = self._places().get(work.instance)
        if place is None:
            zombie.wake(at_once=True)
            return False
        zombie.place = place
        self.asleep.append(zombie)
        return True

    def _wait(self, kind: str) -> None:
        time.sleep(self.chance.uniform(0, MOMENT[kind]))

    def _task_of(self, work: Work) -> str:
        try:
            place = self._places().get(work.instance)
        except AirflowServerError:
            place = None
        return f"{place[0]}.{place[2]}" if place else "?"

    def _places(self) -> dict[str, Place]:
        """Where each task instance of the runs under way stands, by its id."""
        found: dict[str, Place] = {}
        with suppress(NoAnswerError):
            for dag_id, run_id in self.runs:
                for each in self.server.tasks(dag_id, run_id):
                    found[each["id"]] = (dag_id, run_id, each["task_id"], int(each["map_index"]))
        return found

    def _note(self, kind: str, where: str) -> None:
        self.counts[kind] += 1
        self.struck[where] += 1
        print(f"{kind} {self.counts[kind]}: {where}", file=sys.stderr, flush=True)
