"""What the operators share that run a whole plan in the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_agentic.coordinator import ModelPool
from airflow_agentic.coordinator.batch import answer_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_agentic.execution import Run


class PooledOperator(BaseOperator):
    """Base of the operators that answer a run through the coordinator."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._pool: ModelPool | None = None

    def answer(self, run: Run, context: Context, allowed_handlers: Sequence[str]) -> None:
        """Answer the shards that are not answered yet. Those that lost a model wait for Airflow's last try.

        :raises ModelUnavailableError: a model was lost, or Airflow asked the task to end.
        """
        ti = context["ti"]
        self._pool = ModelPool(allowed_handlers=allowed_handlers)
        answer_run(run, pool=self._pool, allowed_handlers=allowed_handlers, last_try=ti.try_number > ti.max_tries)

    def on_kill(self) -> None:
        """End the models and commit nothing more.

        Airflow's SIGTERM goes to the models, too, and the task works on until it is killed: without this, shards would
        be answered by the models that are left.
        """
        if self._pool is not None:
            self._pool.kill()
