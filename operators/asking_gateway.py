"""A run that a gateway answers for an Airflow task."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_agentic.hooks.service import InferenceServiceHook
from airflow_agentic.hooks.store import setting
from airflow_agentic.spec.service import GatewaySpec

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_agentic.execution import Run

log = logging.getLogger(__name__)


class AskingGateway:
    """What an Airflow task does at a gateway: hand in, wait, take back, end.

    :param said: as a workflow's ``gateway``.
    """

    def __init__(self, said: Mapping[str, Any]) -> None:
        spec = GatewaySpec.model_validate(said)
        self.deferrable = spec.deferrable
        self.service = spec.service
        self._jobs: list[str] = []

    def step(
        self,
        run: Run,
        context: Context,
        *,
        jobs: Mapping[int, str],
        waiting: Sequence[int],
        seconds: float | None,
        allowed_handlers: Sequence[str],
    ) -> tuple[dict[int, str], list[int]]:
        """Take back the answers of ``jobs``, then hand in the next shards.

        :param jobs: that are closed; empty in the first step, which looks whether the gateway has the same plan.
        :param waiting: shards that wait for another try.
        :param seconds: that a job may take.
        :returns: the new jobs, and the shards that now wait.
        """
        from airflow_agentic.coordinator.gateway_run import GatewayRun

        dag_run, ti = context["dag_run"], context["ti"]
        client = InferenceServiceHook(service=self.service).gateway()
        asked = GatewayRun(
            run,
            client,
            name=f"{setting('deployment', 'default')}/{dag_run.dag_id}/{dag_run.run_id}",
            seconds=seconds,
            last_try=ti.try_number > ti.max_tries,
            allowed_handlers=allowed_handlers,
        )
        self._jobs = asked.jobs

        async def whole() -> tuple[dict[int, str], list[int]]:
            try:
                if not jobs and not waiting:
                    await asked.check()
                lost = [*waiting, *await asked.collect(jobs)]
                return await asked.submit(lost), lost
            finally:
                await client.close()

        return asyncio.run(whole())

    def wait(self, jobs: Sequence[str]) -> None:
        """Wait in this process until the jobs are closed, or one without an answer."""
        from airflow_agentic.openinference.gateway import wait_closed

        client = InferenceServiceHook(service=self.service).gateway()

        async def whole() -> None:
            try:
                await wait_closed(client, jobs)
            finally:
                await client.close()

        asyncio.run(whole())

    def stop(self) -> None:
        """End the jobs of this process: for ``on_kill``, which interrupts an event loop."""
        jobs = list(self._jobs)
        if jobs:
            stopping = threading.Thread(target=self._cancel, args=(jobs,), name="cancel-jobs")
            stopping.start()
            stopping.join()

    def _cancel(self, jobs: Sequence[str]) -> None:
        from airflow_agentic.openinference.gateway import cancel_all

        client = InferenceServiceHook(service=self.service).gateway()

        async def whole() -> list[str]:
            try:
                return await cancel_all(client, jobs)
            finally:
                await client.close()

        for failure in asyncio.run(whole()):
            log.warning("not canceled: %s", failure)
