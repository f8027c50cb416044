"""Answers to where the workflow wants them."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import compiled
from executing import CARDS, World, records, started, worked

from airflow_agentic import tables
from airflow_agentic.artifacts import Store
from airflow_agentic.exceptions import AnswersFailedError, ArtifactError
from airflow_agentic.execution import Run
from airflow_agentic.execution.publish import publish


def run_of(use: Any = "b", count: int = 14, *, world: World | None = None, until: str = "", **changes: Any) -> Run:
    features = {"size": "int", "tier": "string"}
    plan = compiled(use, *CARDS, input={"uri": "x", "features": features}, shard={"rows": 7}, **changes)
    return worked(started(plan, records(count)), world or World(), until=until)


def no_store(uri: str) -> Store:
    raise AssertionError(f"{uri} is opened")


def test_one_parquet_file_a_shard_in_the_run_s_folder() -> None:
    run = run_of()
    summary = publish(run, "run 1", no_store)
    store = run.folder.store.child("answers")
    assert store.list() == ["part-00000.parquet", "part-00001.parquet"]
    found = pa.concat_tables([pq.read_table(pa.BufferReader(store.read(name))) for name in store.list()])
    assert found.schema.equals(tables.ANSWER)
    assert found.column("record_id").to_pylist() == [f"r{place}" for place in range(14)]
    assert summary == {
        "uri": store.base,
        "format": "parquet",
        "cost": 0.044,
        "records": 14,
        "errors": 3,
        "degraded": 0,
        "calls": 13,
        "error:bad_record": 1,
        "error:model_error": 2,
        "model:b": 11,
    }


def test_jsonl_elsewhere() -> None:
    other = Store.open("memory://")
    opened = []

    def open_store(uri: str) -> Store:
        opened.append(uri)
        return other

    run = run_of(publish={"uri": "s3://bucket/answers", "format": "jsonl"})
    summary = publish(run, "manual__2026", open_store)
    assert opened == ["s3://bucket/answers"]
    lines = other.read("manual__2026/part-00000.jsonl").decode().splitlines()
    assert [json.loads(line)["record_id"] for line in lines] == [f"r{place}" for place in range(7)]
    assert summary["uri"] == other.child("manual__2026").base


def test_publishing_again_writes_the_same() -> None:
    run = run_of()
    first = publish(run, "run", no_store)
    store = run.folder.store.child("answers")
    before = {name: store.read(name) for name in store.list()}
    assert publish(run.folder.open(run.manifest), "run", no_store) == first
    assert {name: store.read(name) for name in store.list()} == before


def test_dead_letters_are_the_records_without_an_answer() -> None:
    run = run_of(on_error="dead_letter")
    summary = publish(run, "run", no_store)
    letters = run.folder.store.child("answers", "dead_letters")
    assert summary["dead_letters"] == letters.base
    found = [row for name in letters.list() for row in pq.read_table(pa.BufferReader(letters.read(name))).to_pylist()]
    assert [(row["record_id"], row["error"]["code"]) for row in found] == [
        ("r4", "model_error"),
        ("r7", "model_error"),
        ("r8", "bad_record"),
    ]
    assert found[0]["input"]["text"] == "text 4 !a !b"


def test_no_dead_letters_no_folder() -> None:
    run = run_of(count=3, on_error="dead_letter")
    assert "dead_letters" not in publish(run, "run", no_store)
    assert run.folder.store.child("answers").list() == ["part-00000.parquet"]


def test_on_error_fail_names_the_first_and_publishes_nothing() -> None:
    run = run_of(on_error="fail")
    with pytest.raises(AnswersFailedError) as caught:
        publish(run, "run", no_store)
    assert str(caught.value) == (
        "3 of 14 records have no answer, and the workflow says on_error: fail. The answers are committed; mend the "
        "cause and clear the failed Airflow tasks, or write on_error: keep. First: r4: b cannot read 'text 4 !a !b'; "
        "r7: b cannot read 'text 7 !a !b !c'; r8: records[8]: the field 'text' is text, found a number"
    )
    assert run.folder.store.list("answers") == []


def test_on_error_fail_names_five() -> None:
    run = run_of(on_error="fail", world=World(lost=frozenset({"b"})))
    with pytest.raises(AnswersFailedError) as caught:
        publish(run, "run", no_store)
    said = str(caught.value)
    assert said.startswith("14 of 14 records have no answer")
    assert said.count("did not answer: its unit failed") == 5


def test_on_error_fail_without_failures() -> None:
    assert publish(run_of(count=3, on_error="fail"), "run", no_store)["errors"] == 0


def test_answers_that_are_not_committed() -> None:
    with pytest.raises(ArtifactError, match="shard 0 has no answers yet: clear the Airflow task 'aggregate'"):
        publish(run_of(until="aggregate"), "run", no_store)
