"""How far a unit is, for people: rewritten seldom, and never in the way."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_agentic.artifacts import DataFile, Marker, Store
from airflow_agentic.exceptions import StoreError
from airflow_agentic.execution.progress import Progress, Reporter, read_progress


class Clock:
    """Time as the test sets it."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def marker(shard: int, predictions: int, errors: int) -> Marker:
    data = DataFile(name="data", sha256="0" * 64, rows=predictions, bytes=1)
    counts = {"predictions": predictions, "errors": errors}
    return Marker(node="main.b", shard=shard, key="k", data=data, counts=counts, written_at="")


def reporter(store: Store, clock: Clock) -> Reporter:
    return Reporter(store, "main.b", "b", 3, 40, clock=clock, now=lambda: datetime(2026, 1, 2, tzinfo=UTC))


def test_it_says_what_is_committed() -> None:
    store, clock = Store.open("memory://"), Clock()
    assert read_progress(store, "main.b", 3) is None
    report = reporter(store, clock)
    report.say("loading")
    report.committed(marker(0, 5, 1))
    clock.seconds += 5
    report.committed(marker(1, 4, 0))

    assert read_progress(store, "main.b", 3) == Progress(
        model="b",
        unit=3,
        state="predicting",
        shards=40,
        committed=2,
        predictions=9,
        errors=1,
        at="2026-01-02T00:00:00+00:00",
    )


def test_it_is_rewritten_at_most_every_five_seconds() -> None:
    store, clock = Store.open("memory://"), Clock()
    report = reporter(store, clock)
    seen = []
    for shard in range(12):
        report.committed(marker(shard, 1, 0))
        found = read_progress(store, "main.b", 3)
        seen.append(found and found.committed)
        clock.seconds += 1.7

    assert seen == [1, 1, 1, 4, 4, 4, 7, 7, 7, 10, 10, 10]


def test_a_store_that_refuses_it_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StoreError("full")

    monkeypatch.setattr(Store, "write", full)
    store = Store.open("memory://")
    report = reporter(store, Clock())
    report.committed(marker(0, 1, 0))
    report.say("done")

    assert read_progress(store, "main.b", 3) is None
