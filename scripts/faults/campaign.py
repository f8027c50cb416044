"""The campaign on Airflow: several Dag runs under way at once, a kill every few seconds."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from airflow_agentic.artifacts import Store
from scripts.airflow_demo import read_answers
from scripts.airflow_server import FINISHED, AirflowServerError, NoAnswerError
from scripts.faults.judge import Verdict, judge_answers, judge_markers, unanswered
from scripts.faults.victims import Work, Zombie, at_work
from scripts.faults.workload import WORKFLOWS, Workload

if TYPE_CHECKING:
    import random

    from scripts.airflow_parts import AirflowParts

KINDS: Final = ("task", "supervisor", "scheduler", "model")
"""What is killed on Airflow."""
ZOMBIE: Final = "zombie"
ACTIVE: Final = 4
"""Runs under way at once."""
FROZEN: Final = 3
"""Zombies asleep at once."""
WITHOUT_MODEL: Final = 0.05
"""How often a task without a model is made a zombie when it is looked at: one with a model has more to write late."""
PAUSE: Final = (0.5, 2.0)
"""Seconds from one kill to the search for the next victim."""
MOMENT: Final[dict[str, float]] = {"task": 1.5, "supervisor": 1.5, "model": 1.0, "scheduler": 2.0, "zombie": 0.5}
"""A kill follows within so many seconds after its victim was found."""
POLL_SECONDS: Final = 0.2
LOOK_SECONDS: Final = 1.0
"""How often Airflow is asked."""
SCHEDULER_SECONDS: Final = 120.0
PATIENCE: Final = 420.0
"""A run that has not succeeded so long after the last kill is lost."""
SLEEP: Final = 90.0
"""A zombie that Airflow has not given up after so long is woken, and does not count."""


@dataclass
class AirflowCampaign:
    """Kill what runs on ``server``, kind by kind in an order that ``chance`` draws."""

    server: AirflowParts
    workload: Workload
    chance: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    """Kills by Airflow task."""
    verdict: Verdict = field(default_factory=Verdict)
    late_calls: int = 0
    """Zombies whose model went on answering after they woke up."""
    models_at_work: int = 0
    """Models that had answered records when they were killed; the others were being loaded."""

    def __post_init__(self) -> None:
        self._runs: dict[tuple[str, str], float] = {}
        self._started = 0
        self._zombies: list[Zombie] = []
        self._woken: list[Zombie] = []
        self._models: list[tuple[int, float]] = []
        self._next = self._looked = self._acted = time.monotonic()

    def run(self, plan: list[str]) -> None:
        """Strike once for every kind named in ``plan``, then see every run to its end.

        :raises AirflowServerError: Airflow itself ended.
        """
        for name in WORKFLOWS:
            self.server.wait_dag(name)
        wanted = list(plan)
        try:
            while wanted or self._zombies or self._runs:
                self._sweep()
                if wanted or self._zombies:
                    self._start_runs()
                if time.monotonic() > self._looked + LOOK_SECONDS:
                    with suppress(NoAnswerError):
                        self._look(wanted)
                    self._looked = time.monotonic()
                if wanted and time.monotonic() > self._next:
                    self._act(wanted)
                time.sleep(POLL_SECONDS)
        finally:
            for zombie in self._zombies:
                zombie.wake(at_once=True)
        self._count_calls()

    def _act(self, wanted: list[str]) -> None:
        """Strike the first kind that has a victim now."""
        for place, kind in enumerate(wanted):
            if kind in wanted[:place]:
                continue
            if self._strike(kind):
                del wanted[place]
                self._acted = time.monotonic()
                self._next = self._acted + self.chance.uniform(*PAUSE)
                return

    def _strike(self, kind: str) -> bool:
        if kind == "scheduler":
            return self._kill_scheduler()
        if kind == ZOMBIE and len(self._zombies) >= FROZEN:
            return False
        works = [work for work in at_work(self.server) if work.find(kind) is not None]
        if not works:
            return False
        work = self.chance.choice(works)
        if kind == ZOMBIE and not work.models and self.chance.random() > WITHOUT_MODEL:
            return False
        time.sleep(self.chance.uniform(0, MOMENT[kind]))
        if kind == ZOMBIE:
            return self._stop(work)
        victim = work.find(kind)
        task = self._task_of(work.instance)
        if victim is None or not victim.send(signal.SIGKILL):
            return False
        if kind == "model":
            self._models.append((victim.pid, time.time()))
        self._note(kind, task)
        return True

    def _kill_scheduler(self) -> bool:
        """Only one that has got going: its workers wait for tasks, or have some."""
        scheduler = self.server.scheduler
        if scheduler is None or not any(each.session == scheduler.pid for each in self.server.workers()):
            return False
        time.sleep(self.chance.uniform(0, MOMENT["scheduler"]))
        busy = len(self.server.supervisors())
        self.server.kill_scheduler()
        self._note("scheduler", f"scheduler with {busy} tasks")
        time.sleep(self.chance.uniform(0, MOMENT["scheduler"]))
        self.server.start_scheduler()
        return True

    def _stop(self, chosen: Work) -> bool:
        """Stop a task instance; not one that has just ended, or whose model has."""
        if not all(each.alive for each in (chosen.task, *chosen.models)):
            return False
        linger = (self.chance.uniform(0, 3), self.chance.choice((0.0, self.chance.uniform(2, 6))))
        zombie = Zombie.stop(chosen, linger)
        place = self._places().get(chosen.instance)
        if place is None:
            zombie.wake(at_once=True)
            return False
        zombie.place = place
        self._zombies.append(zombie)
        return True

    def _look(self, wanted: list[str]) -> None:
        self._watch_zombies(wanted)
        for (dag_id, run_id), began in list(self._runs.items()):
            run = self.server.request("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")
            if run["state"] in FINISHED:
                del self._runs[dag_id, run_id]
                self._judge(dag_id, run_id, run["state"], time.monotonic() - began)
            elif time.monotonic() > max(self._acted, began) + PATIENCE:
                del self._runs[dag_id, run_id]
                tasks = self.server.tasks(dag_id, run_id)
                states = ", ".join(f"{each['task_id']}[{each['map_index']}]={each['state']}" for each in tasks)
                expected = self.workload.expected[dag_id]
                self.verdict.add(unanswered(f"{dag_id} {run_id}", expected, f"not finished: {states}"))

    def _judge(self, dag_id: str, run_id: str, state: str, seconds: float) -> None:
        name, expected = f"{dag_id} {run_id}", self.workload.expected[dag_id]
        verdict = unanswered(name, expected, f"the run {state}")
        if state == "success":
            task = "workflow" if dag_id.endswith("-compact") else "publish"
            rows = read_answers(self.server.xcom(dag_id, run_id, task)["uri"])
            verdict = judge_answers(name, rows, expected)
        store = Store.open(self.server.artifacts.as_uri()).child("default", dag_id, run_id)
        verdict.add(judge_markers(name, store))
        self.verdict.add(verdict)
        _say(f"{name}: {state} after {seconds:.0f} s" + "".join(f"\n  {problem}" for problem in verdict.problems))

    def _watch_zombies(self, wanted: list[str]) -> None:
        for zombie in list(self._zombies):
            if zombie.retried is None:
                dag_id, run_id, task_id, map_index = zombie.place
                tasks = self.server.tasks(dag_id, run_id)
                now = [each for each in tasks if (each["task_id"], each["map_index"]) == (task_id, map_index)]
                zombie.see(now[0] if now else None)
            given_up = zombie.retried is None and time.monotonic() > zombie.stopped + SLEEP
            if zombie.wake(at_once=given_up):
                self._zombies.remove(zombie)
                if given_up:
                    wanted.append(ZOMBIE)
                else:
                    self._woken.append(zombie)
                    self._note(ZOMBIE, zombie.place[2])

    def _start_runs(self) -> None:
        names = list(WORKFLOWS)
        while len(self._runs) < ACTIVE:
            name = names[self._started % len(names)]
            try:
                run_id = self.server.trigger(name)
            except NoAnswerError:
                return
            self._started += 1
            self._runs[name, run_id] = time.monotonic()

    def _sweep(self) -> None:
        """End the workers that killed schedulers have left without work: LocalExecutor never does."""
        for each in self.server.idle_leftovers():
            each.send(signal.SIGKILL)

    def _places(self) -> dict[str, tuple[str, str, str, int]]:
        """Where each task instance of the runs under way stands, by its id."""
        found = {}
        with suppress(NoAnswerError):
            for dag_id, run_id in self._runs:
                for each in self.server.tasks(dag_id, run_id):
                    found[each["id"]] = (dag_id, run_id, each["task_id"], int(each["map_index"]))
        return found

    def _task_of(self, instance: str) -> str:
        try:
            place = self._places().get(instance)
        except AirflowServerError:
            place = None
        return f"{place[0]}.{place[2]}" if place else "?"

    def _note(self, kind: str, where: str) -> None:
        self.kills[kind] += 1
        self.struck[where] += 1
        _say(f"{kind} {self.kills[kind]}: {where}")

    def _count_calls(self) -> None:
        calls: dict[int, list[float]] = {}
        for line in self.workload.calls.read_text().splitlines():
            when, pid, _ = line.split(maxsplit=2)
            calls.setdefault(int(pid), []).append(float(when))
        for zombie in self._woken:
            late = (when for each in zombie.work.models for when in calls.get(each.pid, []))
            self.late_calls += any(when > zombie.woken_at for when in late)
        self.models_at_work = sum(pid in calls and min(calls[pid]) < when for pid, when in self._models)


def _say(text: Any) -> None:
    print(text, file=sys.stderr, flush=True)
