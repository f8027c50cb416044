"""What the coordinator adds to one record: everything but the calls of its models.

Floor: the pool's ``predict`` alone, with the record's table at hand, once for each model that the record meets, one
after the other (the members of the ensemble too, which the coordinator asks side by side). The models answer at once
and run inline, so the floor is the pool's own: a thread, the checks of what a model gives.

Subject: a mapping becomes a record (``inline_record``), is preprocessed and answered (``answer_few``), and the answer
becomes the JSON object that users see. The workflows have conditions and steps, as ``mixed-inbox`` has. Turns are taken
one after the other in one event loop, each of many records; the value is the median of the turns' differences. Times
are CPU seconds: what the coordinator adds waits for nothing.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING, Any, Final

from airflow_agentic import tables
from airflow_agentic.coordinator import Coordinator, ModelPool
from airflow_agentic.pipeline.document import answer_document
from airflow_agentic.pipeline.inputs import inline_record, inline_records
from airflow_agentic.plan import compile_plan
from airflow_agentic.registry import Registry
from airflow_agentic.spec import model_from, workflow_from
from benchmarks.base import Result, without_gc

if TYPE_CHECKING:
    import pyarrow as pa

    from airflow_agentic.spec.model import ModelCard

TURNS: Final = 40
RECORDS: Final = 25
"""Of a turn."""
RECORD: Final = {"id": "r1", "task": "text-analysis", "text": "What a wonderful film, we liked it a lot."}
USES: Final[dict[str, tuple[Any, int, float | None]]] = {
    "one model": ("a", 1, 0.5),
    "a cascade of two": ({"cascade": ["a", "b"], "accept": "prediction.score >= 0.9"}, 2, 1.0),
    "a vote of three": ({"ensemble": ["a", "b", "c"]}, 3, None),
}
"""The pattern, how many models the record meets, and the goal in milliseconds."""


def run() -> list[Result]:
    """Milliseconds a record, by pattern."""
    return [asyncio.run(_measure(name, *use)) for name, use in USES.items()]


async def _measure(name: str, use: Any, calls: int, goal: float | None) -> Result:
    cards = [_card(model) for model in "abc"]
    steps = ["normalize_text", "image_info"]
    routes = [
        {"when": "record.task == 'image-classification'", "use": "c"},
        {"when": "record.task == 'text-analysis'", "use": use},
    ]
    plan = compile_plan(workflow_from({"name": "bench", "preprocess": steps, "routes": routes}), Registry.of(*cards))
    pool = ModelPool(starter=lambda card: _Instant())
    coordinator = Coordinator(plan, pool=pool, frozen=True)
    records = inline_records([RECORD])

    async def floor() -> None:
        for card in cards[:calls]:
            await pool.predict(card, records, timeout=None)

    async def subject() -> None:
        for answer in await coordinator.answer_few(inline_record(RECORD)):
            answer_document(answer)

    try:
        floors, added = await _turns(floor, subject)
    finally:
        await pool.close()
    value = statistics.median(added)
    return Result(
        name=f"what the coordinator adds to one record, {name}",
        value=round(value, 3),
        unit="ms",
        floor=round(statistics.median(floors), 3),
        goal="" if goal is None else f"≤ {goal:g} ms over the pool's predict",
        met=None if goal is None else value <= goal,
        note=f"{calls} calls of a model that answers at once; median of {TURNS} turns of {RECORDS} records, CPU time",
    )


async def _turns(floor: Any, subject: Any) -> tuple[list[float], list[float]]:
    """Milliseconds a record of the floor, and what the subject takes more."""
    floors, added = [], []
    for turn in range(TURNS + 1):
        below, above = await _each(floor), await _each(subject)
        if turn:  # the first loads and compiles
            floors.append(below)
            added.append(above - below)
    return floors, added


async def _each(work: Any) -> float:
    with without_gc():
        start = time.process_time()
        for _ in range(RECORDS):
            await work()
        return (time.process_time() - start) * 1e3 / RECORDS


class _Instant:
    """A model that has its answer ready."""

    def __init__(self) -> None:
        scores = [{"label": "good", "p": 0.8}, {"label": "bad", "p": 0.2}]
        self.answer = tables.table([{"label": "good", "score": 0.8, "scores": scores}], tables.RESULT)

    def load(self) -> None:
        pass

    def predict(self, batch: pa.Table) -> pa.Table:
        return self.answer

    def close(self) -> None:
        pass


def _card(name: str) -> ModelCard:
    return model_from(
        {
            "name": name,
            "version": "1",
            "task": "text-analysis",
            "input": "text",
            "output": {"classes": ["bad", "good"]},
            "runtime": {"framework": "python", "handler": "none:Model"},
            "isolation": "inline",
        }
    )
