"""The campaign on Airflow: several Dag runs under way at once, a kill every few seconds."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from airflow_agentic.artifacts import Store
from scripts.airflow_demo import read_answers
from scripts.airflow_server import FINISHED, NoAnswerError
from scripts.faults.judge import Verdict, judge_answers, judge_keys, judge_markers, unanswered
from scripts.faults.strikes import FROZEN, MODEL, SCHEDULER, ZOMBIE, Strikes
from scripts.faults.victims import at_work
from scripts.faults.workload import WORKFLOWS, Workload

if TYPE_CHECKING:
    import random

    from scripts.airflow_parts import AirflowParts

ACTIVE: Final = 4
"""Runs under way at once."""
PAUSE: Final = (0.5, 2.0)
"""Seconds from one kill to the search for the next victim."""
POLL_SECONDS: Final = 0.2
STALLED_SECONDS: Final = 90.0
"""The scheduler is started anew when no Airflow task has run for so long."""
LOOK_SECONDS: Final = 1.0
"""How often Airflow is asked."""
PATIENCE: Final = 420.0
"""A run that has not succeeded so long after the last kill is lost."""


@dataclass
class AirflowCampaign:
    """Strike at what runs on ``server``, kind by kind in an order that ``chance`` draws, and judge every run."""

    server: AirflowParts
    workload: Workload
    chance: random.Random
    verdict: Verdict = field(default_factory=Verdict)

    def __post_init__(self) -> None:
        self._runs: dict[tuple[str, str], float] = {}
        self._started = 0
        self.strikes = Strikes(self.server, self.workload, self.chance, self._runs.keys())
        self._next = self._looked = self._acted = self._worked = time.monotonic()

    def run(self, plan: list[str]) -> None:
        """Strike once for every kind named in ``plan``, then see every run to its end.

        :raises AirflowServerError: Airflow itself ended.
        """
        for name in WORKFLOWS:
            self.server.wait_dag(name)
        wanted = list(plan)
        try:
            while wanted or self.strikes.asleep or self._runs:
                self._sweep()
                if wanted:
                    self._start_runs()
                if time.monotonic() > self._looked + LOOK_SECONDS:
                    with suppress(NoAnswerError):
                        wanted += [ZOMBIE] * self.strikes.watch()
                        self._look()
                    self._watch()
                    self._looked = time.monotonic()
                if wanted and time.monotonic() > self._next:
                    self._act(wanted)
                time.sleep(POLL_SECONDS)
        finally:
            self.strikes.end()

    def _act(self, wanted: list[str]) -> None:
        """Strike the first kind that has a victim now; zombies first, for they take longest, as far as they may.

        A scheduler, which always is a victim, waits for its turn.
        """
        kinds = [kind for kind in dict.fromkeys(wanted) if kind != ZOMBIE]
        kinds = [SCHEDULER] if kinds[:1] == [SCHEDULER] else [kind for kind in kinds if kind != SCHEDULER]
        if ZOMBIE in wanted and len(self.strikes.asleep) < FROZEN:
            kinds.insert(0, ZOMBIE)
        for kind in kinds:
            if self.strikes.strike(kind):
                wanted.remove(kind)
                if kind == MODEL and MODEL in wanted and self.strikes.strike_again():
                    wanted.remove(MODEL)
                self._acted = time.monotonic()
                self._next = self._acted + self.chance.uniform(*PAUSE)
                return

    def _watch(self) -> None:
        if at_work(self.server):
            self._worked = time.monotonic()
        elif time.monotonic() > self._worked + STALLED_SECONDS:
            self.strikes.restart()
            self._worked = time.monotonic()

    def _look(self) -> None:
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
        if state == "success":
            verdict.add(judge_keys(name, store))
        self.verdict.add(verdict)
        said = "".join(f"\n  {problem}" for problem in verdict.problems)
        print(f"{name}: {state} after {seconds:.0f} s{said}", file=sys.stderr, flush=True)

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
