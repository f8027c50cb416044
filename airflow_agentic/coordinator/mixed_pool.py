"""Each model where the plan says: here, or at its service."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from airflow_agentic.exceptions import MissingExtraError
from airflow_agentic.spec.service import ServiceSpec

if TYPE_CHECKING:
    import pyarrow as pa

    from airflow_agentic.coordinator.pool import Pool
    from airflow_agentic.coordinator.service_pool import Connect
    from airflow_agentic.pipeline.plain import PlainRecords
    from airflow_agentic.plan.ir import Plan
    from airflow_agentic.spec.model import ModelCard


def pool_of(plan: Plan, local: Pool, *, connect: Connect | None = None) -> Pool:
    """The pool for the models of ``plan``: ``local``, and for those with ``runner: service`` their servers.

    :param connect: makes the client of a service; by default of its ``url``, or the environment's.
    :raises MissingExtraError: a service is asked, and its client is not installed.
    """
    services = {name: ServiceSpec.model_validate(said) for name, said in plan.options.services.items()}
    if not services:
        return local
    try:
        from airflow_agentic.coordinator import service_pool
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "service") from None
    if connect is None:
        return MixedPool(local, service_pool.ServicePool(service_pool.located(services)), services)
    return MixedPool(local, service_pool.ServicePool(services, connect=connect), services)


class MixedPool:
    """A :class:`~airflow_agentic.coordinator.pool.Pool` of two.

    :param served: the names of the models that ``services`` answers for.
    """

    def __init__(self, local: Pool, services: Pool, served: Mapping[str, object]) -> None:
        self._local = local
        self._services = services
        self._served = frozenset(served)
        self._load: Mapping[str, int] = ChainMap(
            cast("dict[str, int]", services.load), cast("dict[str, int]", local.load)
        )

    @property
    def load(self) -> Mapping[str, int]:
        """Calls under way or waiting, by model."""
        return self._load

    @property
    def loaded(self) -> tuple[str, ...]:
        """The models that answer without being loaded first."""
        return (*self._local.loaded, *self._services.loaded)

    @property
    def killed(self) -> bool:
        """Whether :meth:`kill` was called."""
        return self._local.killed

    async def predict(self, card: ModelCard, records: pa.Table, *, timeout: float | None) -> pa.Table:
        """Answer ``records`` (``tables.PREDICTION``)."""
        return await self._of(card).predict(card, records, timeout=timeout)

    async def predict_few(
        self, card: ModelCard, records: PlainRecords, *, timeout: float | None
    ) -> list[dict[str, Any]]:
        """:meth:`predict` in plain values."""
        return await self._of(card).predict_few(card, records, timeout=timeout)

    async def prepare(self, card: ModelCard) -> None:
        """See :class:`~airflow_agentic.coordinator.pool.Pool`."""
        await self._of(card).prepare(card)

    def _of(self, card: ModelCard) -> Pool:
        return self._services if card.name in self._served else self._local

    def kill(self) -> None:
        """See :class:`~airflow_agentic.coordinator.pool.Pool`."""
        self._services.kill()
        self._local.kill()

    async def close(self) -> None:
        """Free what the local models take, and close the connections."""
        try:
            await self._services.close()
        finally:
            await self._local.close()
