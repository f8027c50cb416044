"""A batch run through the coordinator: every shard, committed like those of the expanded layout."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from airflow_agentic.coordinator.coordinator import Coordinator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_agentic.coordinator.pool import ModelPool
    from airflow_agentic.execution import Run


def answer_run(run: Run, *, pool: ModelPool | None = None, allowed_handlers: Sequence[str] = ()) -> None:
    """Answer the shards of ``run`` that are not answered yet; the models are loaded once, and ended.

    :param pool: an own one where absent.
    """

    async def whole() -> None:
        coordinator = Coordinator(run.plan, pool=pool, allowed_handlers=allowed_handlers, frozen=True)
        try:
            for shard in run.shards:
                if run.answered(shard) is None:
                    run.commit_answers(shard, await coordinator.answer_prepared(run.records(shard)))
        finally:
            await coordinator.pool.close()

    asyncio.run(whole())
