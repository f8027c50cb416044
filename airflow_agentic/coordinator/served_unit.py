"""One model over one unit, asked at its service: a few shards at once, each committed as it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from airflow_agentic.execution.freeze import node_card
from airflow_agentic.execution.units import work_unit

if TYPE_CHECKING:
    import pyarrow as pa

    from airflow_agentic.coordinator.pool import Pool
    from airflow_agentic.execution.batch import Run, ShardFile, Unit
    from airflow_agentic.execution.units import OnShard, UnitSummary
    from airflow_agentic.plan.ir import Infer

SHARDS: Final = 2
"""In hand at once: while one is read or committed, requests of the other are under way. They bound the memory."""


def ask_unit(
    run: Run, node: Infer, unit: Unit, pool: Pool, *, on_shard: OnShard = lambda shard, marker: None
) -> UnitSummary | None:
    """Ask for every shard of ``unit`` that is not committed yet; closes ``pool``.

    :returns: ``None`` where no record of the unit is for this model.
    :raises ModelUnavailableError: no server answered, or the pool was killed; says what the unit still lacks. What is
        committed stays.
    :raises ModelError: the service cannot answer at all.
    """

    def work(pending: Sequence[ShardFile], committed: OnShard) -> None:
        asyncio.run(_Unit(run, node, pool, committed).work(pending))

    return work_unit(run, node, unit, work, on_shard)


class _Unit:
    def __init__(self, run: Run, node: Infer, pool: Pool, committed: OnShard) -> None:
        self._run = run
        self._node = node
        self._pool = pool
        self._committed = committed
        self._card = node_card(run.plan, node)
        self._failed: Exception | None = None

    async def work(self, pending: Sequence[ShardFile]) -> None:
        """Work through ``pending``; after a failure what is in hand is finished, and nothing more is begun."""
        left = iter(pending)
        try:
            await asyncio.gather(*(self._worker(left) for _ in range(SHARDS)))
        finally:
            await self._pool.close()
        if self._failed is not None:
            raise self._failed

    async def _worker(self, left: Iterator[ShardFile]) -> None:
        loop = asyncio.get_running_loop()

        def predict(records: pa.Table) -> pa.Table:
            asked = self._pool.predict(self._card, records, timeout=None)
            return asyncio.run_coroutine_threadsafe(asked, loop).result()

        for shard in left:
            try:
                marker = await asyncio.to_thread(self._run.infer, self._node, shard, predict)
                self._committed(shard, marker)
            except Exception as error:  # noqa: BLE001  # raised once the other shards in hand are finished
                self._failed = self._failed or error
            if self._failed is not None:
                return
