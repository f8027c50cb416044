"""Loaded models: loaded once, one call at a time, evicted by use, left in peace by those who give up."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest
from builders import card
from executing import ALLOWED, MOODS, World, records

from airflow_agentic.coordinator import ModelPool
from airflow_agentic.exceptions import ModelLoadError, ModelUnavailableError
from airflow_agentic.runtime import ModelProcess
from airflow_agentic.spec import ModelCard

A, B, C = (card(name, classes=MOODS, profile={"memory": "100"}) for name in "abc")
TEXTS = records(3)
FOREVER = 60.0


async def ask(pool: ModelPool, model: ModelCard, timeout: float | None = None) -> pa.Table:
    return await pool.predict(model, TEXTS, timeout=timeout)


async def until(condition: Any) -> None:
    """Let other tasks run until the condition holds."""
    async with asyncio.timeout(FOREVER):
        while not condition():
            await asyncio.sleep(0)


def held(*names: str) -> Mapping[str, threading.Event]:
    return {name: threading.Event() for name in names}


async def test_a_model_is_loaded_once() -> None:
    world = World()
    pool = ModelPool(starter=world.start)
    assert pool.loaded == ()
    first, second = await ask(pool, A), await ask(pool, A)
    assert first.column("label").to_pylist() == second.column("label").to_pylist()
    assert (pool.loaded, world.loads["a"], world.calls["a"]) == (("a",), 1, 2)
    await pool.close()
    assert (pool.loaded, world.closed["a"]) == ((), 1)


async def test_calls_of_one_model_wait_for_each_other_and_are_counted() -> None:
    world = World(held=held("a"))
    pool = ModelPool(starter=world.start)
    calls = [asyncio.create_task(ask(pool, A)) for _ in range(3)]
    await until(lambda: pool.load.get("a") == 3 and pool.loaded)
    assert world.calls["a"] == 0
    world.held["a"].set()
    await asyncio.gather(*calls)
    assert (pool.load["a"], world.loads["a"], world.calls["a"]) == (0, 1, 3)
    await pool.close()


async def test_models_run_side_by_side() -> None:
    world = World(held=held("a"))
    pool = ModelPool(starter=world.start)
    slow = asyncio.create_task(ask(pool, A))
    await ask(pool, B)
    assert not slow.done()
    world.held["a"].set()
    await slow
    await pool.close()


async def test_a_model_that_died_is_closed_and_loaded_again() -> None:
    world = World()
    world.dying["a"] = 1
    pool = ModelPool(starter=world.start)
    with pytest.raises(ModelUnavailableError, match="the process of model 'a' died"):
        await ask(pool, A)
    assert (pool.loaded, world.closed["a"]) == ((), 1)
    await ask(pool, A)
    assert world.loads["a"] == 2
    await pool.close()


async def test_a_model_that_cannot_be_loaded() -> None:
    def broken(model: ModelCard) -> Any:
        raise ModelLoadError(f"{model.name} is broken")

    pool = ModelPool(starter=broken)
    with pytest.raises(ModelLoadError, match="a is broken"):
        await ask(pool, A)
    assert (pool.loaded, pool.load["a"]) == ((), 0)
    await pool.close()


async def test_the_least_recently_used_makes_room() -> None:
    world, ticks = World(), itertools.count()
    pool = ModelPool(starter=world.start, memory_limit=200, clock=lambda: float(next(ticks)))
    for model in (A, B, A, C):
        await ask(pool, model)
    assert sorted(pool.loaded) == ["a", "c"]
    assert world.closed == {"b": 1}
    await ask(pool, B)
    assert sorted(pool.loaded) == ["b", "c"]
    assert world.loads == {"a": 1, "b": 2, "c": 1}
    await pool.close()


async def test_only_as_many_go_as_must() -> None:
    world, ticks = World(), itertools.count()
    pool = ModelPool(starter=world.start, memory_limit=300, clock=lambda: float(next(ticks)))
    for model in (A, B, C):
        await ask(pool, model)
    assert len(pool.loaded) == 3
    await ask(pool, card("large", classes=MOODS, profile={"memory": "200"}))
    assert sorted(pool.loaded) == ["c", "large"]
    await pool.close()


async def test_a_model_in_use_is_never_evicted() -> None:
    world = World(held=held("a"))
    pool = ModelPool(starter=world.start, memory_limit=100)
    busy = asyncio.create_task(ask(pool, A))
    await until(lambda: pool.loaded)
    await ask(pool, B)
    assert sorted(pool.loaded) == ["a", "b"]
    world.held["a"].set()
    await busy
    await pool.close()


async def test_who_gives_up_in_the_queue_disturbs_nobody() -> None:
    world = World(held=held("a"))
    pool = ModelPool(starter=world.start)
    busy = asyncio.create_task(ask(pool, A))
    await until(lambda: pool.loaded)
    with pytest.raises(ModelUnavailableError) as caught:
        await ask(pool, A, timeout=0.01)
    assert str(caught.value) == "'a' did not answer within 0.01 s"
    world.held["a"].set()
    assert len(await busy) == 3
    assert (world.calls["a"], pool.load["a"]) == (1, 0)
    await pool.close()


async def test_a_caller_that_is_cancelled_leaves_the_batch_to_finish() -> None:
    world = World(held=held("a"))
    world.dying["a"] = 1
    pool = ModelPool(starter=world.start)
    caller = asyncio.create_task(ask(pool, A))
    await until(lambda: pool.loaded)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    world.held["a"].set()  # it dies, and nobody is there to be told
    assert len(await ask(pool, A)) == 3
    await pool.close()


async def test_a_caller_that_is_cancelled_leaves_the_queue() -> None:
    world = World(held=held("a"))
    pool = ModelPool(starter=world.start)
    busy = asyncio.create_task(ask(pool, A))
    await until(lambda: pool.loaded)
    waiting = asyncio.create_task(ask(pool, A))
    await until(lambda: pool.load["a"] == 2)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    world.held["a"].set()
    await busy
    await pool.close()
    assert (world.calls["a"], pool.load["a"]) == (1, 0)


async def test_a_model_is_prepared_once_and_says_why_it_cannot_be() -> None:
    world = World()
    pool = ModelPool(starter=world.start)
    await pool.prepare(A)
    await pool.prepare(A)
    await ask(pool, A)
    assert (pool.loaded, world.loads["a"]) == (("a",), 1)
    await pool.close()

    def broken(_: ModelCard) -> Any:
        raise ModelLoadError("no such file")

    with pytest.raises(ModelLoadError, match="no such file"):
        await ModelPool(starter=broken).prepare(A)


async def test_closing_drops_the_queue_and_waits_for_the_batch_in_hand() -> None:
    world = World(held=held("a"))
    pool = ModelPool(starter=world.start)
    first = asyncio.create_task(ask(pool, A))
    await until(lambda: pool.loaded)
    second = asyncio.create_task(ask(pool, A))
    await until(lambda: pool.load["a"] == 2)
    closing = asyncio.create_task(pool.close())
    await asyncio.sleep(0)
    world.held["a"].set()
    await closing
    assert len(await first) == 3
    with pytest.raises(asyncio.CancelledError):
        await second
    assert (world.calls["a"], world.closed["a"]) == (1, 1)


async def test_a_model_that_is_loaded_while_the_pool_closes_is_ended() -> None:
    world, loading = World(), threading.Event()

    def slow(model: ModelCard) -> Any:
        loading.wait(FOREVER)
        return world.start(model)

    pool = ModelPool(starter=slow)
    caller = asyncio.create_task(ask(pool, A))
    await until(lambda: pool.load.get("a") == 1)
    closing = asyncio.create_task(pool.close())
    await asyncio.sleep(0)
    loading.set()
    await closing
    with pytest.raises(ModelUnavailableError, match="'a' was loaded too late: its pool is being closed"):
        await caller
    assert (world.loads["a"], world.closed["a"], world.calls["a"]) == (1, 1, 0)


def test_a_closed_pool_can_be_used_again_in_another_loop() -> None:
    world = World()
    pool = ModelPool(starter=world.start)

    async def whole() -> int:
        found = await asyncio.gather(*(ask(pool, A) for _ in range(3)))
        await pool.close()
        return len(found)

    assert [asyncio.run(whole()) for _ in range(2)] == [3, 3]
    assert (world.loads["a"], world.closed["a"]) == (2, 2)


async def test_one_model_with_few_and_with_all_classes() -> None:
    world = World()
    pool = ModelPool(starter=world.start)
    every = A.model_copy(update={"output": A.output.model_copy(update={"top_k": 100_000})})
    few = A.model_copy(update={"output": A.output.model_copy(update={"top_k": 1})})
    assert len((await ask(pool, every)).column("scores")[0]) == 3
    assert len((await ask(pool, few)).column("scores")[0]) == 1
    assert world.loads["a"] == 2
    await pool.close()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"artifact": "models:/a/1"}, {"artifact": "models:/a/2"}),
        ({"sha256": "1" * 64}, {"sha256": "2" * 64}),
        ({"text": {"tokenizer": "models:/a/1/t.json"}}, {"text": {"tokenizer": "models:/a/2/t.json"}}),
        ({"files": {"t.json": "1" * 64}}, {"files": {"t.json": "2" * 64}}),
    ],
)
async def test_one_model_of_other_files(one: dict[str, Any], other: dict[str, Any]) -> None:
    world = World()
    pool = ModelPool(starter=world.start)
    common = {"framework": "onnx", "artifact": "a.onnx", "text": {"tokenizer": "t.json"}}
    for said in (one, other, one):
        await ask(pool, card("a", classes=MOODS, runtime={**common, **said}))
    assert (world.loads["a"], world.calls["a"]) == (2, 3)
    await pool.close()


async def test_a_hanging_process_is_killed_and_a_new_one_answers() -> None:
    """A real child process; loading it takes a second or so."""
    model = card(
        "hanging",
        classes=["good"],
        runtime={"framework": "python", "handler": "executing:hanging"},
        isolation="process",
    )
    pool = ModelPool(allowed_handlers=ALLOWED)
    assert len(await ask(pool, model)) == 3  # loads it
    hang = records(1, text="hang")
    with pytest.raises(ModelUnavailableError, match=r"'hanging' did not answer within 0\.05 s"):
        await pool.predict(model, hang, timeout=0.05)
    assert (await ask(pool, model)).column("label").to_pylist() == ["good"] * 3
    await pool.close()
    assert pool.loaded == ()


async def test_a_patient_pool_lets_no_caller_end_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model = card(
        "hanging",
        classes=["good"],
        runtime={"framework": "python", "handler": "executing:hanging"},
        isolation="process",
        batch={"timeout": "1s"},
    )
    pool = ModelPool(allowed_handlers=ALLOWED, patient=True)
    await pool.prepare(model)
    hang = records(1, text="hang")
    killed: list[ModelProcess] = []
    with monkeypatch.context() as patched:
        patched.setattr(ModelProcess, "kill", killed.append)
        with pytest.raises(ModelUnavailableError, match=r"'hanging' did not answer within 0\.05 s"):
            await pool.predict(model, hang, timeout=0.05)
    assert (killed, pool.loaded) == ([], ("hanging",))
    with pytest.raises(ModelUnavailableError, match="took longer than 1 s and was stopped"):
        await pool.predict(model, hang, timeout=None)
    await pool.close()
