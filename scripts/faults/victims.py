"""Which process to strike, and the zombies: tasks that stop, are given up by Airflow, and wake up late."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from scripts.processes import Process, processes

if TYPE_CHECKING:
    from scripts.airflow_parts import AirflowParts

MODEL: Final = "-m airflow_agentic.runtime"


@dataclass(frozen=True, kw_only=True)
class Work:
    """One task instance at work: LocalExecutor's worker, which is its supervisor, the task process, its models."""

    instance: str
    """The id of the task instance: a retry has another."""
    supervisor: Process
    task: Process
    models: tuple[Process, ...]

    def find(self, kind: str) -> Process | None:
        """The process of a kind."""
        if kind == "model":
            return self.models[0] if self.models else None
        return self.task if kind == "task" else self.supervisor


def at_work(server: AirflowParts) -> list[Work]:
    """Every task instance whose task process runs, unless it is stopped."""
    children: dict[int, list[Process]] = {}
    for each in processes():
        children.setdefault(each.parent, []).append(each)
    found = []
    for instance, supervisor in sorted(server.supervisors().items()):
        for task in children.get(supervisor.pid, []):
            models = tuple(each for each in children.get(task.pid, []) if MODEL in each.command)
            if not any(each.stopped for each in (supervisor, task, *models)):
                found.append(Work(instance=instance, supervisor=supervisor, task=task, models=models))
    return found


@dataclass(kw_only=True)
class Zombie:
    """A stopped task instance.

    :param place: Dag, run, Airflow task and map index.
    :param linger: seconds from its retry to its waking, and then to its supervisor's.
    """

    work: Work
    linger: tuple[float, float]
    stopped: float
    place: tuple[str, str, str, int] = ("", "", "", -1)
    retried: float | None = None
    woken: float | None = None
    woken_at: float = 0.0
    """Time of day."""

    @classmethod
    def stop(cls, work: Work, linger: tuple[float, float]) -> Zombie:
        """SIGSTOP the supervisor first: it must not tell Airflow how its task fares."""
        for each in (work.supervisor, work.task, *work.models):
            each.send(signal.SIGSTOP)
        return cls(work=work, linger=linger, stopped=time.monotonic())

    def see(self, instance: dict[str, Any] | None) -> None:
        """Look at the task instance that Airflow knows now in this one's place."""
        if self.retried is not None or instance is None or instance["id"] == self.work.instance:
            return
        if instance["state"] in {"running", "success"}:
            self.retried = time.monotonic()

    def wake(self, *, at_once: bool = False) -> bool:
        """SIGCONT what is due; returns whether all of it is awake."""
        now = time.monotonic()
        if self.woken is None and (at_once or (self.retried is not None and now > self.retried + self.linger[0])):
            self.woken, self.woken_at = now, time.time()
            for each in (*self.work.models, self.work.task):
                each.send(signal.SIGCONT)
        if self.woken is not None and (at_once or now > self.woken + self.linger[1]):
            self.work.supervisor.send(signal.SIGCONT)
            return True
        return False
