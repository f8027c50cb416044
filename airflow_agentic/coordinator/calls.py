"""The calls of models while one batch is answered: each within its share of the time, and tried once more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_agentic import tables
from airflow_agentic.exceptions import AgenticError, ModelUnavailableError
from airflow_agentic.pipeline.combine_one import BLANK

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    import pyarrow as pa

    from airflow_agentic.coordinator.pool import Pool
    from airflow_agentic.pipeline.plain import PlainRecords
    from airflow_agentic.plan.ir import Infer
    from airflow_agentic.spec.model import ModelCard

ATTEMPTS = 2

T = TypeVar("T")


class Calls:
    """Calls the models of a plan for one batch.

    :param cards: by infer node.
    :param until: when the whole batch must be answered, by ``clock``; ``None``: whenever.
    """

    def __init__(
        self,
        pool: Pool,
        cards: Mapping[str, ModelCard],
        until: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pool = pool
        self.cards = cards
        self.until = until
        self.clock = clock
        self.lost: set[str] = set()
        """Models that were lost on the way, though there was time."""

    async def predict(self, node: Infer, records: pa.Table) -> pa.Table:
        """The predictions of ``node`` (``tables.PREDICTION``); where its model is lost, errors that say so.

        :param records: ``tables.RECORD`` with ``row``; none without an input.
        """
        if not len(records):
            return tables.PREDICTION.empty_table()
        card = self.cards[node.id]
        found = await self._tried(node, lambda timeout: self.pool.predict(card, records, timeout=timeout))
        if not isinstance(found, AgenticError):
            return found
        names = records.select(["row", "record_id"]).to_pylist()
        return tables.table(_failed(names, node.model, card.version, found), tables.PREDICTION)

    async def predict_few(self, node: Infer, records: PlainRecords) -> list[dict[str, Any]]:
        """:meth:`predict` in plain values: rows of ``tables.PREDICTION``."""
        card = self.cards[node.id]
        found = await self._tried(node, lambda timeout: self.pool.predict_few(card, records, timeout=timeout))
        if not isinstance(found, AgenticError):
            return found
        return _failed(records.rows, node.model, card.version, found)

    async def _tried(self, node: Infer, ask: Callable[[float | None], Awaitable[T]]) -> T | AgenticError:
        """What ``ask`` gives, called with the seconds that are left; else why it gave nothing."""
        failure: AgenticError = ModelUnavailableError(f"no time was left for {node.model!r}")
        until = self._until(node)
        for _ in range(ATTEMPTS):
            timeout = None if until is None else until - self.clock()
            if timeout is not None and timeout <= 0:
                break
            try:
                return await ask(timeout)
            except AgenticError as error:
                failure = error
                if not error.retryable:
                    break
        in_time = until is None or self.clock() < until  # a deadline that the plan states is no loss
        if failure.retryable and in_time:
            self.lost.add(node.model)
        return failure

    def _until(self, node: Infer) -> float | None:
        """When this node must be done: at the end of its share of what is left, or of an ensemble's own deadline."""
        now = self.clock()
        bounds = [] if self.until is None else [now + (self.until - now) * node.share]
        bounds += [] if node.deadline is None else [now + node.deadline]
        return min(bounds, default=None)


def _failed(
    records: Sequence[Mapping[str, Any]], model: str, version: str, failure: AgenticError
) -> list[dict[str, Any]]:
    """What a lost unit is in a Dag run: rows that are ``model_unavailable``, here with the reason."""
    said = tables.error("model_unavailable", str(failure), retryable=failure.retryable)
    named = {**BLANK, "model": model, "model_version": version, "error": said}
    return [{**named, "row": record["row"], "record_id": record["record_id"]} for record in records]
