"""Waits in the triggerer until a service is ready. It asks for readiness only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_agentic.exceptions import AgenticError
from airflow_agentic.hooks.service import InferenceServiceHook
from airflow_agentic.spec.service import ServiceSpec


class InferenceServiceTrigger(BaseTrigger):
    """Fires when one server or more is ready; holds names, no secret.

    :param agentic_service_conn_id: resolved here.
    :param service: as a workflow's ``service``.
    :param model: the model's name at the server.
    :param version: its version.
    :param seconds: between two questions.
    """

    def __init__(
        self,
        *,
        agentic_service_conn_id: str | None = None,
        service: dict[str, Any] | None = None,
        model: str | None = None,
        version: str | None = None,
        seconds: float = 60.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.agentic_service_conn_id = agentic_service_conn_id
        self.service = service
        self.model = model
        self.version = version
        self.seconds = seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """See BaseTrigger."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "agentic_service_conn_id": self.agentic_service_conn_id,
            "service": self.service,
            "model": self.model,
            "version": self.version,
            "seconds": self.seconds,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event: ready, or why nobody can be asked."""
        try:
            said = None if self.service is None else ServiceSpec.model_validate(self.service)
            client = await InferenceServiceHook(self.agentic_service_conn_id, said).aget_conn()
            try:
                while not await client.ready(self.model, version=self.version):
                    await asyncio.sleep(self.seconds)
            finally:
                await client.close()
        except AgenticError as error:
            yield _event(ready=False, why=f"{type(error).__name__}: {error}")
            return
        yield _event(ready=True)


def _event(**said: Any) -> TriggerEvent:
    return TriggerEvent(said)  # type: ignore[no-untyped-call]  # Airflow's
