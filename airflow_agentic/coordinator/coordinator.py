"""Runs a plan in process: the executor of the CLI, of online requests and of the compact Dag.

Every node starts as soon as those it needs are done; the node functions are those of the Dag. One deadline bounds the
whole plan: a model that exceeds its share counts as unavailable, and its pattern goes on without it. The coordinator is
the one owner of retries here: a model that died is tried once more while there is time.
"""

from __future__ import annotations

import asyncio
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic import tables
from airflow_agentic.coordinator.calls import Calls
from airflow_agentic.coordinator.mixed_pool import pool_of
from airflow_agentic.coordinator.online import OnlineExecution, first_error
from airflow_agentic.coordinator.pool import ModelPool
from airflow_agentic.execution import nodes as functions
from airflow_agentic.execution.freeze import node_card, snapshot
from airflow_agentic.execution.nodes import ShardState
from airflow_agentic.execution.nodes_one import OnePlan
from airflow_agentic.pipeline.plain import PlainRecords, PlainTables
from airflow_agentic.plan.ir import Aggregate, AnyNode, Gate, Infer, Plan, Preprocess, Publish, Route
from airflow_agentic.routing.decide import Decider

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_agentic.coordinator.pool import Pool

FEW: Final = 8
"""Records; with so many, a call of Arrow costs less than one of Python for each."""
_ANSWERS: Final = PlainTables(tables.ANSWER)


class Coordinator:
    """Answers batches of records by a plan.

    :param plan: compiled; its snapshot (health, profiles) is taken here, unless ``frozen``.
    :param few: batches of up to so many records are answered record by record between the calls of models, which gives
        the same answers sooner.
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
        few: int = FEW,
    ) -> None:
        self.plan = plan if frozen else snapshot(plan)
        self.allowed_handlers = allowed_handlers
        self.pool: Pool = pool or pool_of(self.plan, ModelPool(allowed_handlers=allowed_handlers))
        self.decider = Decider(self.plan.models, load=self.pool.load)
        self.clock = clock
        self.few = few
        self.cards = {node.id: node_card(self.plan, node) for node in plan.of(Infer)}

    @cached_property
    def one(self) -> OnePlan:
        """The plan as few records run through it."""
        return OnePlan(self.plan, self.decider, allowed_handlers=self.allowed_handlers)

    async def answer(self, records: pa.Table, *, deadline: float | None = None) -> pa.Table:
        """Answer a batch.

        :param records: normalised (``tables.RECORD`` and feature columns).
        :param deadline: seconds from now; the workflow's where absent.
        :returns: ``tables.ANSWER``, one row per record, in order.
        """
        calls = self._calls(deadline)
        if self._are_few(len(records), records.schema):
            return _ANSWERS.table(await self._answer_few(PlainRecords.of(records), calls))
        return await self._answer_batch(records, calls)

    async def answer_few(self, records: PlainRecords, *, deadline: float | None = None) -> list[dict[str, Any]]:
        """:meth:`answer` in plain values.

        :param records: of :func:`~airflow_agentic.pipeline.inputs.inline_record`, say.
        :param deadline: seconds from now; the workflow's where absent.
        :returns: rows of ``tables.ANSWER``, in order.
        """
        calls = self._calls(deadline)
        if self._are_few(len(records.rows), records.schema):
            return await self._answer_few(records, calls)
        answers: list[dict[str, Any]] = (await self._answer_batch(records.table, calls)).to_pylist()
        return answers

    def _are_few(self, count: int, schema: pa.Schema) -> bool:
        most = min(self.few, 1) if self.one.calls_handler else self.few
        return 0 < count <= most and self.one.takes(schema)

    async def _answer_few(self, records: PlainRecords, calls: Calls) -> list[dict[str, Any]]:
        return await OnlineExecution(self.one, self.one.preprocess(records), calls).run()

    async def _answer_batch(self, records: pa.Table, calls: Calls) -> pa.Table:
        node = self.plan.of(Preprocess)[0]
        prepared = functions.preprocess(node, records, allowed_handlers=self.allowed_handlers)
        return await _Execution(self, prepared, calls).run()

    def _calls(self, deadline: float | None) -> Calls:
        seconds = self.plan.options.deadline if deadline is None else deadline
        until = None if seconds is None else self.clock() + seconds
        return Calls(self.pool, self.cards, until, clock=self.clock)

    async def answer_prepared(
        self, records: pa.Table, *, deadline: float | None = None
    ) -> tuple[pa.Table, frozenset[str]]:
        """Answer a shard that is preprocessed already.

        :param deadline: seconds from now; without it there is none.
        :returns: the answers, and the models that were lost on the way (their process died, say, and again when it was
            tried once more): without that the answers might be others, also those that are no errors.
        """
        until = None if deadline is None else self.clock() + deadline
        calls = Calls(self.pool, self.cards, until, clock=self.clock)
        answers = await _Execution(self, records, calls).run()
        return answers, frozenset(calls.lost)

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

    def __init__(self, coordinator: Coordinator, records: pa.Table, calls: Calls) -> None:
        self.owner = coordinator
        self.plan = coordinator.plan
        self.calls = calls
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
            raise first_error(errors) from None
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
        predicted = await self.calls.predict(node, good)
        return functions.infer(node, state, lambda _: predicted, allowed_handlers=handlers)
