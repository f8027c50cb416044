"""Waits until a service is ready."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator

from airflow_agentic.compat import AirflowException, AirflowFailException, conf
from airflow_agentic.hooks.service import InferenceServiceHook
from airflow_agentic.operators.node import failing_fast
from airflow_agentic.spec.service import ServiceSpec
from airflow_agentic.triggers.service import InferenceServiceTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


class InferenceServiceSensor(BaseSensorOperator):
    """Wait until one server of a service or more is ready, with its model where one is named.

    :param agentic_service_conn_id: a connection of type ``agentic_service``.
    :param service: in place of it, or over its extra: a mapping as a workflow's ``service``.
    :param model: the model's name at the server.
    :param version: its version.
    :param deferrable: wait in the triggerer, which asks for readiness only and sees no record.
    """

    template_fields: Sequence[str] = ("agentic_service_conn_id", "service", "model", "version")
    ui_color = "#e6e4f7"

    def __init__(
        self,
        *,
        agentic_service_conn_id: str | None = None,
        service: Mapping[str, Any] | None = None,
        model: str | None = None,
        version: str | None = None,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.agentic_service_conn_id = agentic_service_conn_id
        self.service = service
        self.model = model
        self.version = version
        self.deferrable = deferrable

    def execute(self, context: Context) -> Any:
        """Wait here, or in the triggerer."""
        deferrable = self.deferrable
        if deferrable is None:
            deferrable = conf.getboolean("operators", "default_deferrable", fallback=False)
        if not deferrable:
            return super().execute(context)
        if not self.poke(context):
            self.defer(
                trigger=InferenceServiceTrigger(
                    agentic_service_conn_id=self.agentic_service_conn_id,
                    service=None if self.service is None else dict(self.service),
                    model=self.model,
                    version=self.version,
                    seconds=self.poke_interval,
                ),
                method_name="execute_complete",
                timeout=timedelta(seconds=self.timeout),
            )
        return None

    def poke(self, context: Context) -> bool:
        """Whether it is ready."""
        with failing_fast():
            return asyncio.run(self._ready())

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> None:
        """Back from the triggerer.

        :raises AirflowFailException: the service cannot be asked as it is described.
        """
        if event is None:
            raise AirflowException("the trigger ended without saying anything")
        if not event["ready"]:
            raise AirflowFailException(str(event["why"]))

    async def _ready(self) -> bool:
        said = None if self.service is None else ServiceSpec.model_validate(self.service)
        client = InferenceServiceHook(self.agentic_service_conn_id, said).get_conn()
        try:
            return await client.ready(self.model, version=self.version)
        finally:
            await client.close()
