"""Memory of a batch of a million records, one shard, through Route and Aggregate.

Floor: the bytes of the Arrow tables that those nodes read and write: records, selection, predictions, answers. Each
must be in memory once for a shard that is answered at once. The subject is how far the resident memory of a process
of its own rises above what it was before the records were made (``VmHWM``, which the kernel counts), so that copies,
indices and what the allocator keeps all count. The modules are loaded and every code path has run on 1,000 records
before.
"""

from __future__ import annotations

import gc
import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from airflow_agentic.execution.nodes import ShardState, aggregate, infer, route
from airflow_agentic.plan import Plan, compile_plan
from airflow_agentic.plan.ir import Aggregate, Infer, Route
from airflow_agentic.registry import Registry
from airflow_agentic.routing.decide import Decider
from airflow_agentic.runtime import predict_records
from airflow_agentic.runtime.results import results
from airflow_agentic.spec import workflow_from
from airflow_agentic.spec.model import ModelCard
from airflow_agentic.tables import SCORES
from benchmarks import routing
from benchmarks.base import Result, in_python

ROWS: Final = 1_000_000
MOST: Final = 3.0
NAMES: Final = ("small", "large", "other")


def run() -> list[Result]:
    """Peak growth over the size of the Arrow data."""
    return [Result(**in_python("benchmarks.memory", str(ROWS)))]


def measure(rows: int) -> Result:
    """In this process."""
    plan = _plan()
    _through(plan, 1000)
    gc.collect()
    pa.default_memory_pool().release_unused()
    before = _forget_peak()
    size, peak = _through(plan, rows)
    return Result(
        name=f"memory of a {rows:,}-record batch through route and aggregate",
        value=round((peak - before) / 1e6),
        unit="MB",
        floor=round(size / 1e6),
        ratio=round((peak - before) / size, 3),
        goal=f"≤ {MOST:g}× its Arrow data",
        met=(peak - before) / size <= MOST,
    )


def _through(plan: Plan, rows: int) -> tuple[int, int]:
    """Route and aggregate: the bytes of all tables, and the peak of the two; the models' part does not count."""
    state = ShardState(plan, routing.records(rows))
    node = plan.of(Route)[0]
    state = state.with_table(node.id, route(node, state, Decider(plan.models)))
    peak = _status("VmHWM")
    for one in plan.of(Infer):
        card = _card(one.model)
        state = state.with_table(one.id, infer(one, state, partial(predict_records, Classifier(), card)))
    pa.default_memory_pool().release_unused()
    _forget_peak()
    answers = aggregate(plan.of(Aggregate)[0], state)
    peak = max(peak, _status("VmHWM"))
    tables = [state.records, *state.selections.values(), *state.predictions.values(), answers]
    return sum(table.nbytes for table in tables), peak


class Classifier:
    """Two labels and a score, made from the row's number: no model, but all that one answers."""

    def load(self) -> None:
        """Nothing to load."""

    def predict(self, batch: pa.Table) -> pa.Table:
        """See :class:`~airflow_agentic.runtime.Predictor`."""
        count = batch.num_rows
        score = np.random.default_rng(1).uniform(0.5, 1.0, count)
        label = pa.array(["negative", "positive"]).take(pa.array(np.arange(count) % 2))
        pairs = pa.StructArray.from_arrays([label, pa.array(score)], fields=list(SCORES.value_type))
        scores = pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32)), pairs, type=SCORES)
        return results(count, label=label, score=score, scores=scores)

    def close(self) -> None:
        """Nothing to free."""


def _plan() -> Plan:
    cards = [_card(name) for name in NAMES]
    routes = [
        {
            "when": 'record.task == "text-analysis"',
            "use": {"single": ["small", "large"], "policy": "balanced"},
        },
        {"use": "other"},
    ]
    return compile_plan(workflow_from({"name": "bench", "routes": routes}), Registry.of(*cards))


def _card(name: str) -> ModelCard:
    card = routing.card(name, NAMES.index(name))
    return card.model_copy(update={"batch": card.batch.model_copy(update={"rows": 50_000})})


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def _forget_peak() -> int:
    """Forget the peak so far; the resident memory now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


if __name__ == "__main__":
    print(json.dumps(asdict(measure(int(sys.argv[1])))))
