"""An Airflow whose scheduler or triggerer can be killed and started again; ``airflow standalone`` restarts nothing."""

from __future__ import annotations

import secrets
import signal
from typing import TYPE_CHECKING, ClassVar, Final

from scripts.airflow_server import AirflowServer
from scripts.processes import Process, in_sessions, look_at

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

WORKER: Final = "airflow worker -- LocalExecutor:"
"""The title of LocalExecutor's workers; then follows the id of the task instance each supervises, or :data:`IDLE`."""
IDLE: Final = "<idle>"
SCHEDULER: Final = "scheduler"
TRIGGERER: Final = "triggerer"


class AirflowParts(AirflowServer):
    """Database, API server, Dag processor and scheduler, each started by itself. A triggerer has to be asked for.

    :param database: SQLAlchemy's URL. SQLite answers "database is locked" where processes are killed.
    """

    parts: ClassVar[tuple[str, ...]] = ("metadatabase", "scheduler", "dag_processor")

    def __init__(self, *, home: Path, dags: Path, settings: Mapping[str, str] | None = None, database: str) -> None:
        keys = {
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
        }
        where = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database}
        super().__init__(home=home, dags=dags, settings={**keys, **where, **(settings or {})})

    def start_triggerer(self) -> None:
        """Start a triggerer, where there is none."""
        self._start_part(TRIGGERER, "--skip-serve-logs")

    def kill_triggerer(self) -> None:
        """SIGKILL to the triggerer and the process that runs its triggers."""
        process = self._parts.pop(TRIGGERER)
        for each in in_sessions([process.pid]):
            each.send(signal.SIGKILL)
        process.wait()

    def start_scheduler(self) -> None:
        """Start a scheduler in place of the one that was killed."""
        self._start_part(SCHEDULER, "--skip-serve-logs")  # a killed one leaves its log server, which holds the port

    def kill_scheduler(self) -> None:
        """SIGKILL to the scheduler's process alone: its workers go on."""
        process = self._parts.pop(SCHEDULER)
        process.kill()
        process.wait()

    @property
    def scheduler(self) -> Process | None:
        """The scheduler's process, where it lives."""
        process = self._parts.get(SCHEDULER)
        return look_at(process.pid) if process is not None and process.poll() is None else None

    def workers(self) -> list[Process]:
        """LocalExecutor's workers, those of killed schedulers included. A worker is the supervisor of its task."""
        return [each for each in in_sessions(self._sessions) if each.command.startswith(WORKER)]

    def supervisors(self) -> dict[str, Process]:
        """The workers that supervise a task now, by the task instance's id."""
        workers = {each.pid: each for each in self.workers()}
        own = [each for each in workers.values() if each.parent not in workers]  # a task bears the title at first
        named = ((each.command.removeprefix(WORKER).strip(), each) for each in own)
        return {name: each for name, each in named if name != IDLE}

    def idle_leftovers(self) -> list[Process]:
        """Workers of killed schedulers with nothing to do: they wait on their queue for ever."""
        scheduler = self.scheduler
        living = scheduler.pid if scheduler is not None else None
        return [each for each in self.workers() if each.session != living and each.command.endswith(IDLE)]

    def _launch(self) -> None:
        self.command("db", "migrate")
        for name in ("api-server", "dag-processor"):
            self._start_part(name)
        self.start_scheduler()
