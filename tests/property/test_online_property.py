"""Few records are answered as a batch: by plain values between the models' calls, by Arrow, alone and together."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
from executing import World, coordinated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_execution_property import plans, records, rows

from airflow_agentic import tables
from airflow_agentic.plan import Plan
from airflow_agentic.plan.ir import Infer

BATCH = 0
FEW = 1000
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much]


def answered(plan: Plan, shard: pa.Table, few: int, world: World) -> list[dict[str, Any]]:
    """Every column but the one that is measured."""
    answers = coordinated(plan, shard, world, few=few)
    assert answers.schema.equals(tables.ANSWER)
    answers.validate(full=True)
    found = answers.to_pylist()
    for row in found:
        row["latency_ms"] = row["latency_ms"] is not None
    return found


@given(plans(), st.lists(rows, min_size=1, max_size=4), st.data())
@settings(suppress_health_check=SLOW)
def test_few_records_are_answered_as_a_batch(plan: Plan, made: list[dict[str, Any]], data: st.DataObject) -> None:
    models = sorted({node.model for node in plan.of(Infer)})
    lost = data.draw(st.sets(st.sampled_from(models)), "lost")
    dying = data.draw(st.dictionaries(st.sampled_from(models), st.integers(1, 2)), "dying")
    batch, few = (World(lost=frozenset(lost), dying=Counter(dying)) for _ in range(2))
    shard = records(made)
    assert answered(plan, shard, FEW, few) == answered(plan, shard, BATCH, batch)
    assert (few.loads, few.calls, few.dying) == (batch.loads, batch.calls, batch.dying)
    assert _sorted(few.seen) == _sorted(batch.seen)


def _sorted(seen: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: sorted(texts) for name, texts in seen.items()}
