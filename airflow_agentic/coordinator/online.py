"""Runs a plan for few records: what a request is answered by.

The same nodes in the same order as for a batch, and the same calls of models: each infer node calls its model once,
with all records it is given. Between the calls there is no Arrow and no asyncio task: the controls that are ready run
one after the other, and only models that are asked side by side get a task each.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow_agentic.execution.nodes_one import OneState, aggregate_one, control_one, given_one, unfed_one
from airflow_agentic.pipeline.plain import PlainRecords
from airflow_agentic.plan.ir import Infer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_agentic.coordinator.calls import Calls
    from airflow_agentic.execution.nodes_one import OnePlan


class OnlineExecution:
    """Few records on their way through the plan.

    :param records: preprocessed.
    """

    def __init__(self, plan: OnePlan, records: PlainRecords, calls: Calls) -> None:
        self.calls = calls
        self.tables = plan.tables(records.schema)
        self.states = [OneState(plan, record) for record in records.rows]
        self.waiting = plan.nodes
        self.done: set[str] = set()
        self.given: dict[tuple[int, ...], PlainRecords] = {}
        """Records as they came, by their places."""

    async def run(self) -> list[dict[str, Any]]:
        """The answers: rows of ``tables.ANSWER``, in order."""
        ready = self._advance()
        while len(ready) == 1:
            await self._ask(ready[0])
            ready = self._advance()
        if ready:
            try:
                async with asyncio.TaskGroup() as group:
                    self._start(ready, group)
            except BaseExceptionGroup as errors:
                raise first_error(errors) from None
        return [aggregate_one(state) for state in self.states]

    def _start(self, nodes: Sequence[Infer], group: asyncio.TaskGroup) -> None:
        for node in nodes:
            group.create_task(self._follow(node, group))

    async def _follow(self, node: Infer, group: asyncio.TaskGroup) -> None:
        """Ask ``node``, then whoever can be asked after it."""
        await self._ask(node)
        self._start(self._advance(), group)

    def _advance(self) -> list[Infer]:
        """Run what waits for nothing more; returns the models to ask now."""
        ready, waiting = [], []
        for node, needs in self.waiting:
            if not self.done.issuperset(needs):
                waiting.append((node, needs))
            elif isinstance(node, Infer) and any(state.assigned(node) for state in self.states):
                ready.append(node)
            else:
                for state in self.states:
                    if node.id in state.selections:
                        state.selections[node.id] = control_one(node, state)
                self.done.add(node.id)
        self.waiting = waiting
        return ready

    async def _ask(self, node: Infer) -> None:
        asked: dict[int, tuple[Mapping[str, Any], str | None]] = {}
        for place, state in enumerate(self.states):
            if not state.assigned(node):
                continue
            record, reason = given_one(node, state)
            if record["error"] is None:
                asked[place] = record, reason
            else:
                state.predictions[node.id] = unfed_one(node, state, record)
        if asked:
            predicted = await self.calls.predict_few(node, self._given(node, asked))
            for (place, (_, reason)), values in zip(asked.items(), predicted, strict=True):
                self.states[place].predictions[node.id] = {**values, "reason": reason}
        self.done.add(node.id)

    def _given(self, node: Infer, asked: Mapping[int, tuple[Mapping[str, Any], str | None]]) -> PlainRecords:
        """What the model is given: several are often given the same, whose table is then made once."""
        places = tuple(asked)
        given = self.given.get(places) if node.feed is None else None
        if given is None:
            rows = [{**record, "row": place} for place, (record, _) in asked.items()]
            given = PlainRecords(rows, self.tables.schema, self.tables)
        if node.feed is None:
            self.given[places] = given
        return given


def first_error(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first plain error: node functions fail for one reason, the rest are cancellations."""
    for error in errors.exceptions:
        return first_error(error) if isinstance(error, BaseExceptionGroup) else error
    return errors
