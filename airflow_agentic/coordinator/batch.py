"""A batch run through the coordinator: every shard, committed like those of the expanded layout."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from airflow_agentic.coordinator.coordinator import Coordinator
from airflow_agentic.exceptions import ModelUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from airflow_agentic.coordinator.pool import Pool
    from airflow_agentic.execution import Run


def answer_run(
    run: Run, *, pool: Pool | None = None, allowed_handlers: Sequence[str] = (), last_try: bool = True
) -> None:
    """Answer the shards of ``run`` that are not answered yet; the models are loaded once, and ended.

    :param pool: an own one where absent.
    :param last_try: commit also shards in which a model was unavailable, without it.
    :raises ModelUnavailableError: not the last try, and a model was unavailable; the other shards are committed. Or
        the pool was killed: whatever it was asked since is not committed, also on the last try.
    """

    waiting: list[int] = []

    async def whole() -> None:
        coordinator = Coordinator(run.plan, pool=pool, allowed_handlers=allowed_handlers, frozen=True)
        try:
            for shard in run.shards:
                if run.answered(shard) is not None:
                    continue
                answers, lost = await coordinator.answer_prepared(run.records(shard))
                if coordinator.pool.killed:
                    raise ModelUnavailableError(f"stopped before shard {shard.number} was committed; a retry resumes")
                if last_try or not (lost or can_be_better(answers)):
                    run.commit_answers(shard, answers)
                else:
                    waiting.append(shard.number)
        finally:
            await coordinator.pool.close()

    asyncio.run(whole())
    if waiting:
        raise ModelUnavailableError(
            f"a model was unavailable in {len(waiting)} of {len(run.shards)} shards (first: {waiting[0]}); "
            "the others are committed and will not run again"
        )


def can_be_better(answers: pa.Table) -> bool:
    """Whether an answer is an error that another try may not meet."""
    return bool(pc.any(pc.struct_field(answers.column("error"), "retryable")).as_py())
