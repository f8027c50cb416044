"""Runs a plan in process: the executor of the CLI, of online requests and of the compact Dag.

Every node starts as soon as those it needs are done; the node functions are those of the Dag. One deadline bounds the
whole plan: a model that exceeds its share counts as unavailable, and its pattern goes on without it. The coordinator is
the one owner of retries here: a model that died is tried once more while there is time.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic import tables
from airflow_agentic.coordinator.mixed_pool import pool_of
from airflow_agentic.coordinator.pool import ModelPool
from airflow_agentic.exceptions import AgenticError, ModelUnavailableError
from airflow_agentic.execution import nodes as functions
from airflow_agentic.execution.freeze import node_card, snapshot
from airflow_agentic.execution.nodes import ShardState
from airflow_agentic.plan.ir import Aggregate, AnyNode, Gate, Infer, Plan, Preprocess, Publish, Route
from airflow_agentic.routing.decide import Decider

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_agentic.coordinator.pool import Pool

ATTEMPTS = 2


class Coordinator:
    """Answers batches of records by a plan.

    :param plan: compiled; its snapshot (health, profiles) is taken here, unless ``frozen``.
    :param pool: loaded models, shared between coordinators; its own one where absent, with the services of the plan.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        pool: Pool | None = None,
        allowed_handlers: Sequence[str] = (),
        frozen: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plan = plan if frozen else snapshot(plan)
        self.allowed_handlers = allowed_handlers
        self.pool: Pool = pool or pool_of(self.plan, ModelPool(allowed_handlers=allowed_handlers))
        self.decider = Decider(self.plan.models, load=self.pool.load)
        self.clock = clock
        self.cards = {node.id: node_card(self.plan, node) for node in plan.of(Infer)}

    async def answer(self, records: pa.Table, *, deadline: float | None = None) -> pa.Table:
        """Answer a batch.

        :param records: normalised (``tables.RECORD`` and feature columns).
        :param deadline: seconds from now; the workflow's where absent.
        :returns: ``tables.ANSWER``, one row per record, in order.
        """
        seconds = self.plan.options.deadline if deadline is None else deadline
        until = None if seconds is None else self.clock() + seconds
        node = self.plan.of(Preprocess)[0]
        prepared = functions.preprocess(node, records, allowed_handlers=self.allowed_handlers)
        return await _Execution(self, prepared, until).run()

    async def answer_prepared(self, records: pa.Table) -> tuple[pa.Table, frozenset[str]]:
        """Answer a shard that is preprocessed already, without a deadline.

        :returns: the answers, and the models that were lost on the way (their process died, say, and again when it was
            tried once more): without that the answers might be others, also those that are no errors.
        """
        execution = _Execution(self, records, None)
        return await execution.run(), frozenset(execution.lost)

    def run(self, records: pa.Table, *, deadline: float | None = None) -> pa.Table:
        """:meth:`answer` for callers without an event loop; ends the models afterwards."""

        async def whole() -> pa.Table:
            try:
                return await self.answer(records, deadline=deadline)
            finally:
                await self.pool.close()

        return asyncio.run(whole())


class _Execution:
    """One batch on its way through the plan."""

    def __init__(self, coordinator: Coordinator, records: pa.Table, until: float | None) -> None:
        self.owner = coordinator
        self.plan = coordinator.plan
        self.until = until
        self.lost: set[str] = set()
        self.state = ShardState(self.plan, records)
        self.decider = coordinator.decider

    async def run(self) -> pa.Table:
        tasks: dict[str, asyncio.Task[pa.Table | None]] = {}
        try:
            async with asyncio.TaskGroup() as group:
                for node in self.plan.nodes:
                    if not isinstance(node, Preprocess | Publish):
                        tasks[node.id] = group.create_task(
                            self._node(node, [tasks[need] for need in node.needs if need in tasks])
                        )
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        answers = tasks[self.plan.of(Aggregate)[0].id].result()
        if answers is None:
            raise RuntimeError("the plan has no aggregate node")
        return answers

    async def _node(self, node: AnyNode, needs: Sequence[asyncio.Task[pa.Table | None]]) -> pa.Table | None:
        for need in needs:
            await need
        handlers = self.owner.allowed_handlers
        if isinstance(node, Route):
            table = functions.route(node, self.state, self.decider)
        elif isinstance(node, Gate):
            table = functions.gate(node, self.state, self.decider, allowed_handlers=handlers)
        elif isinstance(node, Aggregate):
            return functions.aggregate(node, self.state, allowed_handlers=handlers)
        else:
            predicted = await self._infer(node) if isinstance(node, Infer) and len(self.state.assigned(node)) else None
            if predicted is None:
                return None
            table = predicted
        self.state = self.state.with_table(node.id, table)
        return table

    async def _infer(self, node: Infer) -> pa.Table:
        """The node function with the model's call made beforehand: it is the one thing to wait for."""
        state = self.state
        handlers = self.owner.allowed_handlers
        records, _ = functions.given(node, state, allowed_handlers=handlers)
        good = records.filter(pc.is_null(records.column("error")))
        predicted = await self._predict(node, good)
        return functions.infer(node, state, lambda _: predicted, allowed_handlers=handlers)

    async def _predict(self, node: Infer, records: pa.Table) -> pa.Table:
        if not len(records):
            return tables.PREDICTION.empty_table()
        model = node.model
        failure: AgenticError = ModelUnavailableError(f"no time was left for {model!r}")
        until = self._until(node)
        for _ in range(ATTEMPTS):
            timeout = None if until is None else until - self.owner.clock()
            if timeout is not None and timeout <= 0:
                break
            try:
                return await self.owner.pool.predict(self.owner.cards[node.id], records, timeout=timeout)
            except AgenticError as error:
                failure = error
                if not error.retryable:
                    break
        in_time = until is None or self.owner.clock() < until  # a deadline that the plan states is no loss
        if failure.retryable and in_time:
            self.lost.add(model)
        return _failed(records, model, self.plan.models[model].version, failure)

    def _until(self, node: Infer) -> float | None:
        """When this node must be done: at the end of its share of what is left, or of an ensemble's own deadline."""
        now = self.owner.clock()
        bounds = [] if self.until is None else [now + (self.until - now) * node.share]
        bounds += [] if node.deadline is None else [now + node.deadline]
        return min(bounds, default=None)


def _failed(records: pa.Table, model: str, version: str, failure: AgenticError) -> pa.Table:
    """What a lost unit is in a Dag run: rows that are ``model_unavailable``, here with the reason."""
    said = tables.error("model_unavailable", str(failure), retryable=failure.retryable)
    pairs = zip(records.column("row").to_pylist(), records.column("record_id").to_pylist(), strict=True)
    rows = [
        {"row": row, "record_id": record, "model": model, "model_version": version, "error": said}
        for row, record in pairs
    ]
    return tables.table(rows, tables.PREDICTION)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first plain error: node functions fail for one reason, the rest are cancellations."""
    for error in errors.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    return errors
