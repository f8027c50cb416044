"""A run that one Airflow task answers as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_agentic.coordinator.pool import Pool
    from airflow_agentic.execution import Run


class Answering:
    """The coordinator at work in an Airflow task, which may be asked to end."""

    def __init__(self) -> None:
        self._pool: Pool | None = None

    def answer(self, run: Run, context: Context, allowed_handlers: Sequence[str]) -> None:
        """Answer the shards that are not answered yet. Those that lost a model wait for Airflow's last try.

        :raises ModelUnavailableError: a model was lost, or :meth:`stop` was called.
        """
        from airflow_agentic.coordinator import ModelPool
        from airflow_agentic.coordinator.batch import answer_run
        from airflow_agentic.coordinator.mixed_pool import pool_of
        from airflow_agentic.hooks.service import connect

        ti = context["ti"]
        self._pool = pool_of(run.plan, ModelPool(allowed_handlers=allowed_handlers), connect=connect)
        answer_run(run, pool=self._pool, allowed_handlers=allowed_handlers, last_try=ti.try_number > ti.max_tries)

    def stop(self) -> None:
        """End the models and commit nothing more: for ``on_kill``.

        Airflow's SIGTERM goes to the models, too, and the task works on until it is killed: without this, shards would
        be answered by the models that are left.
        """
        if self._pool is not None:
            self._pool.kill()
