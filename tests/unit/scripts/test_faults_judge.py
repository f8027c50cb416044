"""The campaign's judge finds what it is there to find."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from builders import compiled
from executing import ALLOWED, CARDS, World, records, started, worked

from airflow_agentic.artifacts import Markers, Store
from airflow_agentic.coordinator import ModelPool
from airflow_agentic.coordinator.batch import answer_run
from scripts.faults.__main__ import accepted
from scripts.faults.judge import judge_answers, judge_keys, judge_markers
from scripts.faults.workload import judged

if TYPE_CHECKING:
    from pathlib import Path


def row(record_id: str, **said: Any) -> dict[str, Any]:
    answer = {"label": "positive", "score": 0.75, "model": "quick", "calls": 1, "degraded": False, "error": None}
    return {"record_id": record_id, **answer, "latency_ms": 1.5, **said}


EXPECTED = {name: judged(row(name)) for name in ("r0", "r1", "r2")}


def test_the_right_answers() -> None:
    verdict = judge_answers("run", [row(name, latency_ms=9.9, score=0.7500000001) for name in EXPECTED], EXPECTED)

    assert (verdict.runs, verdict.clean, verdict.problems) == (1, True, [])


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([row("r0"), row("r2")], (1, 0, 0)),
        ([row("r0"), row("r1"), row("r2"), row("r1")], (0, 1, 0)),
        ([row("r0"), row("r1"), row("r2", label="negative")], (0, 0, 1)),
        ([row("r0"), row("r1"), row("r2", score=0.76)], (0, 0, 1)),
        ([row("r0"), row("r1"), row("r2", model="careful")], (0, 0, 1)),
        ([row("r0"), row("r1"), row("r2"), row("r3")], (0, 0, 1)),
        ([row("r0"), row("r0", label="negative")], (2, 1, 1)),
        ([], (3, 0, 0)),
    ],
)
def test_lost_doubled_and_wrong_records(rows: list[dict[str, Any]], found: tuple[int, int, int]) -> None:
    verdict = judge_answers("run", rows, EXPECTED)

    assert (verdict.lost, verdict.doubled, verdict.wrong) == found
    assert not verdict.clean
    assert verdict.problems


def test_markers(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    markers = Markers(store)
    first = markers.commit("a.b", 0, "k", pa.table({"row": [1, 2]}), {})
    markers.commit("a.b", 1, "k", pa.table({"row": [3]}), {})
    store.write("answers/part-00000.parquet", b"published")
    store.write("a.b/data/late.parquet", b"a late writer's")
    verdict = judge_markers("run", store)
    assert (verdict.clean, verdict.late) == (True, 1)

    markers.commit("a.b", 1, "other", pa.table({"row": [4]}), {})
    store.write(first.data.name, b"half")
    verdict = judge_markers("run", store)
    assert (verdict.doubled, verdict.wrong) == (1, 1)
    assert verdict.problems[0].startswith("run: ")


@pytest.mark.parametrize("compact", [False, True])
def test_keys(compact: bool) -> None:
    run = started(compiled({"cascade": ["a", "b"], "accept": "prediction.score >= 0.5"}, *CARDS), records())
    store, node = run.folder.store, "main.a"
    assert judge_keys("run", store).wrong > 0
    if compact:
        answer_run(run, pool=ModelPool(starter=World().start), allowed_handlers=ALLOWED)
    else:
        worked(run, World())
    assert judge_keys("run", store).clean
    if compact:
        run.folder.start(run.plan, [records()], [{"uri": "test"}], salt="another")
        assert judge_keys("run", store).problems[-1].startswith("run: has the manifests ")
        return
    name = next(name for name in store.list() if name.startswith(f"{node}/part-"))
    data = store.write_table(pa.table({"row": [1]}), f"{node}/data")
    store.write(name, json.dumps({**json.loads(store.read(name)), "data": vars(data)}).encode())
    assert judge_keys("run", store).problems[0] == "run: shard 0 of 'main.gate-a' answers another question"


FIGURES = {"lost": 0, "doubled": 0, "wrong": 0, "orphans": 0, "by_kind": {"cli": 2, "task": 2}, "zombies": 2}


@pytest.mark.parametrize(
    ("found", "good"),
    [
        ({}, True),
        ({"lost": 1}, False),
        ({"doubled": 1}, False),
        ({"wrong": 1}, False),
        ({"orphans": 1}, False),
        ({"zombies": 1}, False),
        ({"by_kind": {"cli": 2, "task": 1}}, False),
        ({"by_kind": {"cli": 2}}, False),
    ],
)
def test_the_campaign_fails_where_anything_is_amiss_or_a_kind_is_short(found: dict[str, Any], good: bool) -> None:
    assert accepted({**FIGURES, **found}, {"cli": 2, "task": 2, "zombie": 2}) is good
