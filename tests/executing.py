"""A workflow run through both executors, with models whose answers depend on their name and the record only."""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import pyarrow as pa
from builders import card

from airflow_agentic import tables
from airflow_agentic.artifacts import Store
from airflow_agentic.coordinator import Coordinator, ModelPool
from airflow_agentic.exceptions import ModelUnavailableError
from airflow_agentic.execution import Folder, Run, infer_unit
from airflow_agentic.pipeline.inputs import inline_records
from airflow_agentic.plan import Plan
from airflow_agentic.plan.ir import Aggregate, Gate, Infer, Route
from airflow_agentic.spec import ModelCard

ALLOWED = ["executing"]
MOODS = ("bad", "fair", "good")


def number(*parts: str) -> float:
    """A number in [0, 1) that is always the same for the same words."""
    return crc32("\0".join(parts).encode()) / 2**32


class Answering:
    """A model: what it answers is a hash of its name and the record's text.

    A text with ``!NAME`` is an error of the model NAME, one with ``?NAME`` gets a label without a score from it.
    """

    def __init__(self, card: ModelCard, world: World) -> None:
        self.card = card
        self.world = world

    def load(self) -> None:
        self.world.loads[self.card.name] += 1

    def predict(self, batch: pa.Table) -> pa.Table:
        name = self.card.name
        self.world.enter(name)
        if name in self.world.lost or self.world.dying[name] > 0:
            self.world.dying[name] -= 1
            raise ModelUnavailableError(f"the process of model {name!r} died")
        self.world.calls[name] += 1
        texts = [one["text"] for one in batch.column("input").to_pylist()]
        self.world.seen[name] += texts
        return tables.table([self.answer(text) for text in texts], tables.RESULT)

    def answer(self, text: str) -> dict[str, Any]:
        name, output = self.card.name, self.card.output
        if f"!{name}" in text:
            return {"error": tables.error("model_error", f"{name} cannot read {text!r}")}
        if output.value is not None:
            return {"value": round(100 * number(name, text), 3)}
        if output.fields is not None:
            return {"output": json.dumps({field: f"{field} of {text}" for field in output.fields})}
        labels = sorted(output.classes) if isinstance(output.classes, list) else list(MOODS)
        weights = {label: 0.05 + number(name, text, label) ** 2 for label in labels}
        if self.card.input == "tabular":  # the meta-model of a stack: what the members think on the whole
            told = json.loads(text)
            weights = {label: 0.01 + math.fsum(p for key, p in told.items() if key.endswith(label)) for label in labels}
        total = sum(weights.values())
        scores = sorted(({"label": one, "p": weights[one] / total} for one in labels), key=lambda entry: -entry["p"])
        if f"?{name}" in text:
            return {"label": scores[0]["label"]}
        return {"label": scores[0]["label"], "score": scores[0]["p"], "scores": scores}

    def close(self) -> None:
        self.world.closed[self.card.name] += 1


@dataclass
class World:
    """The models there are, and what became of them."""

    lost: frozenset[str] = frozenset()
    """They die whenever they are asked."""
    dying: Counter[str] = field(default_factory=Counter)
    """How often they will die before they answer."""
    held: Mapping[str, threading.Event] = field(default_factory=dict)
    """They answer when their event is set."""
    loads: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    closed: Counter[str] = field(default_factory=Counter)
    seen: dict[str, list[str]] = field(default_factory=lambda: _Lists())

    def enter(self, name: str) -> None:
        if name in self.held and not self.held[name].wait(60):
            raise TimeoutError(f"the test never let {name!r} go on")

    def start(self, card: ModelCard) -> Answering:
        """What :class:`ModelPool` and an Airflow task do with a card."""
        model = Answering(card, self)
        model.load()
        return model


def hanging(text: str) -> str:
    """A handler that never answers ``hang``."""
    if text == "hang":
        threading.Event().wait()
    return "good"


class _Lists(dict[str, list[str]]):
    def __missing__(self, key: str) -> list[str]:
        self[key] = []
        return self[key]


def longest(members: Mapping[str, pa.Table]) -> pa.Table:
    """An aggregation of the user: the longest label any member gave."""
    columns = [table.column("label").to_pylist() for table in members.values()]
    labels = [
        max((label for label in row if label is not None), key=len, default=None) for row in zip(*columns, strict=True)
    ]
    return pa.table({"label": pa.array(labels, pa.string()), "score": pa.array([1.0] * len(labels))})


def one_row_too_few(members: Mapping[str, pa.Table]) -> pa.Table:
    """An aggregation that breaks its contract."""
    return longest(members).slice(1)


CARDS = (
    card("a", classes=MOODS, cost=1.0, latency_ms=5.0, quality=0.6, capabilities={"languages": ["en", "de"]}),
    card("b", classes=MOODS, cost=4.0, latency_ms=20.0, quality=0.8, capabilities={"tier": "gold"}),
    card("c", classes=MOODS, cost=9.0, latency_ms=50.0, quality=0.9),
    card("v1", task="pricing", output={"value": "euro"}, cost=1.0, quality=0.5),
    card("v2", task="pricing", output={"value": "euro"}, cost=2.0, quality=0.7),
    card("v3", task="pricing", output={"value": "euro"}, cost=3.0),
    card("fields", task="extraction", output={"fields": {"name": "string", "city": "string"}}, cost=2.0),
    card("meta", classes=MOODS, input="tabular", cost=0.1),
)


def records(count: int = 14, **changes: Any) -> pa.Table:
    """Records with all that routing looks at; some are errors for some models, and one is bad."""
    rows: list[Any] = []
    for place in range(count):
        said = {3: " !a", 4: " !a !b", 5: " ?a", 7: " !a !b !c", 9: " !v1", 10: " !fields", 11: " !c"}.get(
            place % 13, ""
        )
        row: dict[str, Any] = {
            "record_id": f"r{place}",
            "text": f"text {place}{said}",
            "size": place,
            "tier": "xyz"[place % 3],
        }
        row["language"] = ("en", "de", "fr")[place % 3]
        row |= {"max_cost": 0.005} if place % 4 == 1 else {}
        row |= {"min_quality": 0.7} if place % 5 == 2 else {}
        row |= {"task": ("text-analysis", "pricing")[place % 2]} if place % 6 < 2 else {}
        rows.append({**row, **changes})
    if count > 8:
        rows[8] = {"record_id": "r8", "text": 8, "size": 8, "tier": "z", "language": "en"}
    return inline_records(rows, features={"size": "int", "tier": "string"})


def coordinated(plan: Plan, shard: pa.Table, world: World | None = None, **options: Any) -> pa.Table:
    """The answers of the Coordinator."""
    pool = ModelPool(starter=(world or World()).start)
    return Coordinator(plan, pool=pool, allowed_handlers=ALLOWED, frozen=True, **options).run(shard)


def started(plan: Plan, shard: pa.Table, store: Store | None = None, **options: Any) -> Run:
    """A batch run, as PreprocessOperator starts it."""
    folder = Folder.of(store or Store.open("memory://"), "test", "demo", "run", ALLOWED)
    return folder.start(plan, [shard], [{"uri": "test"}], **options)


def worked(
    run: Run,
    world: World,
    *,
    lost: Iterable[tuple[str, int]] = (),
    failed: Iterable[str] = (),
    until: str = "",
    only: str = "",
) -> Run:
    """Run all nodes as Airflow would, each with a run of its own.

    :param lost: infer node and unit whose Airflow task fails.
    :param failed: controls whose Airflow task fails.
    :param until: the first node that does not run.
    :param only: the one node that does.
    """
    for node in run.plan.nodes:
        if node.id == until:
            break
        own = run.folder.open(run.manifest)
        if node.id in failed or only not in ("", node.id):
            continue
        if isinstance(node, Route | Gate):
            own.control(node)
        elif isinstance(node, Infer):
            for unit in own.units():
                if (node.id, unit.number) in lost:
                    continue
                try:
                    infer_unit(own, node, unit, world.start)
                except ModelUnavailableError:
                    continue
        elif isinstance(node, Aggregate):
            own.aggregate(node)
    return run.folder.open(run.manifest)


def batched(plan: Plan, shard: pa.Table, world: World | None = None, **what: Any) -> pa.Table:
    """The answers of a batch run."""
    run = worked(started(plan, shard), world or World(), **what)
    return pa.concat_tables([answers for _, answers in run.answers()])


def comparable(answers: pa.Table) -> list[dict[str, Any]]:
    """What both executors must agree on: all but measured time and the words of an error."""
    rows = answers.drop_columns(["latency_ms"]).to_pylist()
    for row in rows:
        row["error"] = row["error"] and row["error"]["code"]
        for member in row["predictions"]:
            if member["error"] == "model_unavailable":
                member["model_version"] = None
    return rows
