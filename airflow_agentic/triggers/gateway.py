"""Waits in the triggerer until a gateway's jobs are closed. It asks for their states only, never for answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_agentic.exceptions import AgenticError
from airflow_agentic.hooks.service import InferenceServiceHook
from airflow_agentic.openinference.gateway import PATIENCE_SECONDS, GatewayClient, cancel_all, wait_closed
from airflow_agentic.spec.service import ServiceSpec


class GatewayJobsTrigger(BaseTrigger):
    """Fires when all jobs are closed, or the first without an answer; holds ids, no record and no secret.

    :param service: the gateway, as a workflow's ``service``; its connection is resolved here.
    :param jobs: the jobs' ids.
    :param patience: seconds for which the gateway may give no answer.
    """

    def __init__(self, *, service: dict[str, Any], jobs: Sequence[str], patience: float = PATIENCE_SECONDS) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.service = service
        self.jobs = list(jobs)
        self.patience = patience

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """See BaseTrigger."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "service": self.service,
            "jobs": self.jobs,
            "patience": self.patience,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event: the jobs' states, or why nobody can be asked."""
        try:
            client = await self._client()
            try:
                states = await wait_closed(client, self.jobs, patience=self.patience)
            finally:
                await client.close()
        except AgenticError as error:
            yield _event(why=f"{type(error).__name__}: {error}", again=error.retryable)
            return
        yield _event(states=states)

    async def on_kill(self) -> None:
        """End the jobs: the Airflow task was ended by hand. Airflow before 3.3 does not call it."""
        client = await self._client()
        try:
            for failure in await cancel_all(client, self.jobs):
                self.log.warning("not canceled: %s", failure)
        finally:
            await client.close()

    async def _client(self) -> GatewayClient:
        return await InferenceServiceHook(service=ServiceSpec.model_validate(self.service)).agateway()


def _event(**said: Any) -> TriggerEvent:
    return TriggerEvent(said)  # type: ignore[no-untyped-call]  # Airflow's
