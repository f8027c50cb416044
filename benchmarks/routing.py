"""Routing a batch of a million records over 20 models: a rule, then the best of the eligible by a balanced score."""

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
from benchmarks.base import Result, seconds

ROWS = 1_000_000
MODELS = 20


def run() -> list[Result]:
    """Records a second, the whole node function: conditions, eligibility, policy, reasons, the selection table."""
    names = [f"model-{number:02}" for number in range(MODELS)]
    cards = [_card(name, number) for number, name in enumerate(names)]
    routes = [
        {"when": 'record.task == "text-analysis"', "use": {"single": names, "policy": "balanced"}},
        {"when": 'record.task == "image-classification"', "use": names[0]},
    ]
    workflow = workflow_from({"name": "bench", "routes": routes})
    plan = compile_plan(workflow, Registry.of(*cards))
    node = plan.of(Route)[0]
    state = ShardState(plan, _records())
    decider = Decider(plan.models)
    rate = ROWS / seconds(lambda: route(node, ShardState(plan, state.records), decider), runs=5)
    goal = 1e6
    return [
        Result(
            name="routing 1 M records over 20 models",
            value=round(rate),
            unit="records/s",
            goal="≥ 1,000,000",
            met=rate >= goal,
        )
    ]


def _card(name: str, number: int) -> object:
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


def _records() -> pa.Table:
    random = np.random.default_rng(0)
    texts = pa.array(["some text"] * ROWS)
    nothing = pa.nulls(ROWS, pa.string())
    inputs = pa.StructArray.from_arrays(
        [pa.array(["text"] * ROWS), texts, pa.nulls(ROWS, pa.binary()), nothing], fields=list(tables.INPUT)
    )
    some = random.random(ROWS)
    columns = {
        "record_id": pa.array([str(number) for number in range(ROWS)]),
        "position": pa.array(np.arange(ROWS)),
        "input": inputs,
        "task": pa.array(np.where(some < 0.8, "text-analysis", "image-classification")),
        "language": pa.array(np.where(some < 0.5, "en", "de")),
        "max_latency_ms": pa.array(random.uniform(5, 60, ROWS), mask=some < 0.7),
        "max_cost": pa.array(random.uniform(0.001, 0.02, ROWS), mask=some > 0.3),
        "min_quality": pa.nulls(ROWS, pa.float64()),
        "error": pa.nulls(ROWS, tables.ERROR),
    }
    return pa.table([columns[name] for name in tables.RECORD.names], schema=tables.RECORD)
