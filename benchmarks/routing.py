"""Routing a batch of a million records over 20 models: a rule, then the best of the eligible by a balanced
score.

There is no floor: the goal is a rate. The subject is the whole node function on one shard of a million rows:
conditions, eligibility by task, language and limits, policy, reasons and the selection table.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from airflow_agentic import tables
from airflow_agentic.execution.nodes import ShardState, route
from airflow_agentic.plan import compile_plan
from airflow_agentic.plan.ir import Route
from airflow_agentic.registry import Registry
from airflow_agentic.routing.decide import Decider
from airflow_agentic.spec import model_from, workflow_from
from airflow_agentic.spec.model import ModelCard
from benchmarks.base import Result, seconds

ROWS = 1_000_000
MODELS = 20


def run() -> list[Result]:
    """Records a second, the whole node function: conditions, eligibility, policy, reasons, the selection table."""
    names = [f"model-{number:02}" for number in range(MODELS)]
    cards = [card(name, number) for number, name in enumerate(names)]
    routes = [
        {"when": 'record.task == "text-analysis"', "use": {"single": names, "policy": "balanced"}},
        {"when": 'record.task == "image-classification"', "use": names[0]},
    ]
    workflow = workflow_from({"name": "bench", "routes": routes})
    plan = compile_plan(workflow, Registry.of(*cards))
    node = plan.of(Route)[0]
    state = ShardState(plan, records(ROWS))
    decider = Decider(plan.models)
    rate = ROWS / seconds(lambda: route(node, ShardState(plan, state.records), decider), runs=5)
    goal = 1e6
    return [
        Result(
            name=f"routing {ROWS:,} records over {MODELS} models",
            value=round(rate),
            unit="records/s",
            goal="≥ 1,000,000",
            met=rate >= goal,
        )
    ]


def card(name: str, number: int) -> ModelCard:
    """A model of two languages or one, whose figures no other has."""
    return model_from(
        {
            "name": name,
            "version": "1",
            "task": "text-analysis",
            "input": "text",
            "output": {"classes": ["negative", "positive"]},
            "capabilities": {"languages": ["en", "de"] if number % 2 else ["en"]},
            "runtime": {"framework": "python", "handler": "airflow_agentic.contrib.rules:KeywordSentiment"},
            "profile": {
                "cost_per_1k": 1.0 + number,
                "latency_ms": 2.0 * (MODELS - number),
                "quality": 0.5 + number / 50,
            },
        }
    )


def records(rows: int) -> pa.Table:
    """Records of two tasks and two languages; some have a limit."""
    random = np.random.default_rng(0)
    texts = pa.array(["some text"] * rows)
    nothing = pa.nulls(rows, pa.string())
    inputs = pa.StructArray.from_arrays(
        [pa.array(["text"] * rows), texts, pa.nulls(rows, pa.binary()), nothing], fields=list(tables.INPUT)
    )
    some = random.random(rows)
    columns = {
        "record_id": pa.array([str(number) for number in range(rows)]),
        "position": pa.array(np.arange(rows)),
        "input": inputs,
        "task": pa.array(np.where(some < 0.8, "text-analysis", "image-classification")),
        "language": pa.array(np.where(some < 0.5, "en", "de")),
        "max_latency_ms": pa.array(random.uniform(5, 60, rows), mask=some < 0.7),
        "max_cost": pa.array(random.uniform(0.001, 0.02, rows), mask=some > 0.3),
        "min_quality": pa.nulls(rows, pa.float64()),
        "error": pa.nulls(rows, tables.ERROR),
    }
    return pa.table([columns[name] for name in tables.RECORD.names], schema=tables.RECORD)
