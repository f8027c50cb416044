"""Erasing: a crash between any two steps, what cannot be reached, which runs are looked at."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from typing import Any

import pyarrow as pa
import pytest
from builders import compiled
from executing import ALLOWED, CARDS, World, comparable, records, worked
from stored import CrashError, copied, mortal, written

from airflow_agentic.artifacts import NotFoundError, Store
from airflow_agentic.artifacts.erased import SUFFIX, redirect_of
from airflow_agentic.coordinator import ModelPool
from airflow_agentic.coordinator.batch import answer_run
from airflow_agentic.exceptions import ArtifactError, InputError, StoreError
from airflow_agentic.execution import Folder, Run
from airflow_agentic.execution.erasure import Erased, erase
from airflow_agentic.execution.publish import publish

SECRET = "Ottilie-Sauerkirsch-4711"
CASCADE = {"cascade": ["a", "b"], "accept": "prediction.score >= 0.5"}


def no_store(uri: str) -> Store:
    raise AssertionError(f"{uri} is opened")


def answered(base: Store, dag_id: str = "demo", run_id: str = "run", *, compact: bool = False, **changes: Any) -> Run:
    """Four records in two shards; ``SECRET`` is the text of ``r3``, which no model can read."""
    spec = {"shard": {"rows": 2}, "on_error": "dead_letter", **changes}
    plan = compiled(CASCADE, *CARDS, input={"uri": "x", "features": {"size": "int", "tier": "string"}}, **spec)
    table = records(4)
    inputs = table.column("input").to_pylist()
    inputs[3]["text"] = f"{SECRET} !a !b"
    place = table.schema.get_field_index("input")
    table = table.set_column(place, table.schema.field("input"), pa.array(inputs, table.schema.field("input").type))
    run = Folder.of(base, "test", dag_id, run_id, ALLOWED).start(plan, [table], [])
    if compact:
        answer_run(run, pool=ModelPool(starter=World().start))
    else:
        worked(run, World())
    publish(run.folder.open(run.manifest), run_id, lambda uri: base.child("published"))
    return run.folder.open(run.manifest)


def answers_of(run: Run) -> list[dict[str, Any]]:
    own = run.folder.open(run.manifest)
    return comparable(pa.concat_tables([answers for _, answers in own.answers()]))


def erased(base: Store, record_id: str = "r3", **where: Any) -> list[Erased]:
    return list(erase(base, "test", record_id, no_store, **where))


@cache
def whole() -> tuple[Store, Run]:
    """A run that nobody changes, and its store."""
    base = Store.open("memory://")
    return base, answered(base)


def in_store(run: Run, base: Store) -> Run:
    """The same run in a copy of its store."""
    return Folder.of(base, "test", "demo", "run", ALLOWED).open(run.manifest)


def test_a_crash_between_any_two_steps_is_finished_by_the_next_call() -> None:
    base, run = whole()
    before = answers_of(run)
    reference = copied(base)
    erased(reference)
    for steps in count():
        broken = copied(base)
        try:
            erased(mortal(broken, steps))
        except CrashError:
            half = answers_of(in_store(run, broken))
            assert half[:3] == before[:3], f"after {steps} steps the other answers are there"
            assert half[3]["record_id"] in {"r3", "erased-3"}
            erased(broken)
        else:
            break
        assert SECRET.encode() not in written(broken), f"after {steps} steps"
        assert broken.list() == reference.list(), f"after {steps} steps"
        assert written(broken) == written(reference), f"after {steps} steps"
    assert steps > 15
    assert erased(broken) == []


def test_the_compact_layout_is_erased_alike() -> None:
    base = Store.open("memory://")
    run = answered(base, compact=True)
    before = answers_of(run)
    (found,) = erased(base)
    assert (found.files, found.rows) == (4, 4), "records, answers, published answers, dead letters"
    assert SECRET.encode() not in written(base)
    assert answers_of(run)[:3] == before[:3]


def test_redirects_form_a_chain() -> None:
    base = Store.open("memory://")
    run = answered(base)
    names = [shard.data.name for shard in run.shards]
    erased(base, "r3")
    erased(base, "r2")
    store = run.folder.store
    first = redirect_of(store, names[1])
    assert first is not None
    second = redirect_of(store, first.name)
    assert second is not None
    assert [store.exists(name) for name in (names[1], first.name, second.name)] == [False, False, True]
    assert redirect_of(store, names[0]) is None
    assert [row["record_id"] for row in answers_of(run)] == ["r0", "r1", "erased-2", "erased-3"]
    assert run.records(run.shards[1]).column("record_id").to_pylist() == ["erased-2", "erased-3"]


def test_every_run_or_the_named_one() -> None:
    base = Store.open("memory://")
    for dag_id, run_id in (("one", "a"), ("one", "b"), ("two", "a")):
        answered(base, dag_id, run_id)
    assert [str(found.place) for found in erased(base, dag_id="one", run_id="b")] == ["one/b"]
    assert [str(found.place) for found in erased(base, dag_id="one")] == ["one/a"]
    assert [str(found.place) for found in erased(base)] == ["two/a"]
    assert erased(base, "nobody") == []


def test_a_model_operators_run_is_found() -> None:
    base = Store.open("memory://")
    run = answered(base)
    inner = run.folder.store.list()
    for name in inner:  # a folder deeper, as ModelOperator writes
        base.child("test", "own", "run", "classify.3").write(name, run.folder.store.read(name))
    places = [(found.place.dag_id, found.place.task_id) for found in erased(base)]
    assert places == [("demo", ""), ("own", "classify.3")]
    assert SECRET.encode() not in written(base)


def test_a_run_that_is_not_complete_says_so() -> None:
    base = Store.open("memory://")
    run = answered(base)
    for name in run.folder.store.list("aggregate"):
        run.folder.store.delete(name)
    (found,) = erased(base)
    assert found.state == "running"
    base = Store.open("memory://")
    run = answered(base)
    run.folder.store.delete(run.folder.store.list("aggregate", recursive=False)[0])
    (found,) = erase(base, "test", "r3", no_store, clock=lambda: datetime.now(UTC) + timedelta(hours=2))
    assert found.state == "partly"


def test_answers_that_cannot_be_opened_are_named() -> None:
    base = Store.open("memory://")
    answered(base, publish={"uri": "s3://elsewhere/answers"})

    def refused(uri: str) -> Store:
        raise StoreError(f"listing {uri} failed: no credentials")

    (found,) = erase(base, "test", "r3", refused)
    assert found.unreached == ("listing s3://elsewhere/answers failed: no credentials",)
    assert SECRET.encode() not in written(base.child("test"))
    assert SECRET.encode() in written(base.child("published"))


def test_a_damaged_file_is_named_and_the_others_are_erased() -> None:
    base = Store.open("memory://")
    store = answered(base).folder.store
    (name, *_) = [name for name in store.list("main.a") if name.endswith(".parquet")]
    store.write(name, b"damaged")
    store.write("notes.jsonl", b"no json\n")
    (found,) = erased(base)
    assert found.unreached == (
        f"{store.uri(name)} is damaged, and may hold the record: delete it and clear the Airflow task",
        f"{store.uri('notes.jsonl')} cannot be read, and may hold the record: "
        "Expecting value: line 1 column 1 (char 0)",
    )
    assert SECRET.encode() not in written_without(store, name)


def written_without(store: Store, name: str) -> bytes:
    copy = copied(store)
    copy.delete(name)
    return written(copy)


def test_a_file_without_a_marker_is_erased_too() -> None:
    """What a crash or a late writer left: nothing names it."""
    base = Store.open("memory://")
    store = answered(base).folder.store
    for name in store.list("main.gate-a", recursive=False) + store.list("main.a", recursive=False):
        store.delete(name)
    assert SECRET.encode() in written(store)
    erased(base)
    assert SECRET.encode() not in written(store)


def test_a_redirect_that_is_damaged_is_an_error() -> None:
    base = Store.open("memory://")
    run = answered(base)
    erased(base)
    (name,) = [name for name in run.folder.store.list("preprocess") if name.endswith(SUFFIX)]
    run.folder.store.write(name, b"{}")
    with pytest.raises(ArtifactError, match=r"\.erased\.json is damaged: KeyError\('schema'\); clear the whole run$"):
        run.records(run.shards[1])
    document = {"schema": 2, "data": {}}
    run.folder.store.write(name, json.dumps(document).encode())
    with pytest.raises(ArtifactError, match=r"has schema 2, but this installation reads 1: run it with the version"):
        run.records(run.shards[1])


def test_data_that_is_gone_without_a_redirect_is_an_error() -> None:
    run = answered(Store.open("memory://"))
    run.folder.store.delete(run.shards[0].data.name)
    with pytest.raises(NotFoundError, match=r"its bucket exists; or clear the whole run$"):
        run.records(run.shards[0])


def test_an_empty_id_names_nobody() -> None:
    message = r"^the record_id is '': name the record that is to be erased, as it stands in the answers$"
    with pytest.raises(InputError, match=message):
        erased(Store.open("memory://"), "")
