from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
from builders import card
from serving_samples import Clock, FakeLoaded, doubled, errors, process_card, request

from airflow_agentic.exceptions import DeadlineError, ModelLoadError, ModelUnavailableError, ProtocolError
from airflow_agentic.serving.batching import Bounds
from airflow_agentic.serving.served import ServedModel


class Loader:
    """Loads fakes, and remembers them."""

    def __init__(self, *, process: bool = True) -> None:
        self.loaded: list[FakeLoaded] = []
        self.errors: list[Exception] = []
        self.process = process
        self.work: Any = None

    def __call__(self, _: Any) -> FakeLoaded:
        if self.errors:
            raise self.errors.pop(0)
        self.loaded.append(FakeLoaded(self.work, process=self.process))
        return self.loaded[-1]


class Pauses:
    """In place of sleep: notes the seconds, moves the clock, and goes on when told."""

    def __init__(self, clock: Clock) -> None:
        self.seconds: list[float] = []
        self.go = asyncio.Event()
        self.go.set()
        self._clock = clock

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await self.go.wait()
        self._clock.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pauses(clock: Clock) -> Pauses:
    return Pauses(clock)


def served(loader: Loader, clock: Clock, sleep: Any = asyncio.sleep, *, inline: bool = False) -> ServedModel:
    which = card() if inline else process_card()
    return ServedModel(which, loader, Bounds(), clock=clock, sleep=sleep)


async def until_ready(model: ServedModel) -> None:
    async with asyncio.timeout(10):
        while not model.ready:
            await asyncio.sleep(0)


async def die(model: ServedModel, loaded: FakeLoaded) -> None:
    """Its process dies in a request."""
    loaded.process.running = False

    def gone(_: Any) -> Any:
        raise ModelUnavailableError("the process is gone")

    loaded._work = gone
    with pytest.raises(ModelUnavailableError, match=r"^the process is gone$"):
        await model.infer(request((1, 2)))


async def test_it_is_loaded_asked_in_its_own_thread_and_freed(clock: Clock) -> None:
    loader = Loader()
    model = served(loader, clock)
    assert (model.state, model.ready, model.metadata.inputs) == ("loading", False, ())
    await model.start()
    assert (model.state, model.ready) == ("ready", True)
    response = await model.infer(request((1, 2), (3, 4)))
    assert (response.model_name, response.model_version) == ("fake", "1")
    assert [(one.name, one.array.tolist()) for one in response.outputs] == [
        ("y", [[2.0, 4.0], [6.0, 8.0]]),
        ("size", [2, 2]),
    ]
    (loaded,) = loader.loaded
    assert loaded.threads == {"model-fake"}
    await model.close()
    assert (model.state, loaded.closed, loaded.process.killed) == ("unloaded", True, False)


async def test_a_model_that_cannot_be_loaded_has_failed(clock: Clock) -> None:
    loader = Loader()
    loader.errors = [ModelLoadError("no such file")]
    model = served(loader, clock)
    with pytest.raises(ModelLoadError):
        await model.start()
    assert (model.state, model.why) == ("failed", "no such file")
    with pytest.raises(ModelUnavailableError, match=r"^model 'fake' version '1' is failed: no such file$"):
        await model.infer(request((1, 2)))


async def test_only_the_outputs_that_a_request_names_are_given_in_its_order(clock: Clock) -> None:
    model = served(Loader(), clock)
    await model.start()
    response = await model.infer(request((1, 2), outputs=["size", "error"]))
    assert [one.name for one in response.outputs] == ["size", "error"]
    with pytest.raises(ProtocolError, match=r"^outputs: the model has no output 'z', only y, size, error$"):
        await model.infer(request((1, 2), outputs=["z"]))
    await model.close()


async def test_a_process_that_dies_soon_is_started_again_after_a_pause_that_grows(
    clock: Clock, pauses: Pauses, caplog: pytest.LogCaptureFixture
) -> None:
    loader = Loader()
    model = served(loader, clock, pauses)
    await model.start()
    loader.errors = [ModelLoadError("still away"), OSError("no files")]
    await die(model, loader.loaded[0])
    await until_ready(model)
    assert pauses.seconds == [0.5, 1.0, 2.0]
    assert loader.loaded[0].closed
    await die(model, loader.loaded[1])
    await until_ready(model)
    assert pauses.seconds == [0.5, 1.0, 2.0, 4.0]
    assert errors(caplog) == [
        "model 'fake': its process ended; it is loaded again",
        "model 'fake' cannot be loaded again (2. try): still away",
        "model 'fake' cannot be loaded again (3. try): no files",
        "model 'fake': its process ended; it is loaded again",
    ]
    assert (await model.infer(request((1, 2)))).outputs[0].array.tolist() == [[2.0, 4.0]]
    await model.close()


async def test_a_process_that_had_lived_for_long_is_started_again_at_once(clock: Clock, pauses: Pauses) -> None:
    loader = Loader()
    model = served(loader, clock, pauses)
    await model.start()
    clock.now += 61.0
    await die(model, loader.loaded[0])
    await until_ready(model)
    assert pauses.seconds == [0.0]
    await model.close()


async def test_pauses_do_not_grow_for_ever(clock: Clock, pauses: Pauses) -> None:
    loader = Loader()
    model = served(loader, clock, pauses)
    await model.start()
    loader.errors = [OSError("away")] * 12
    await die(model, loader.loaded[0])
    await until_ready(model)
    assert pauses.seconds[:3] == [0.5, 1.0, 2.0]
    assert pauses.seconds[-2:] == [60.0, 60.0]
    await model.close()


async def test_while_it_restarts_it_says_when_to_come_back_and_still_what_it_takes(
    clock: Clock, pauses: Pauses
) -> None:
    loader = Loader()
    model = served(loader, clock, pauses)
    await model.start()
    model._load_seconds = 3.0
    pauses.go.clear()
    await die(model, loader.loaded[0])
    while not pauses.seconds:
        await asyncio.sleep(0)
    assert (model.state, model.ready) == ("restarting", False)
    with pytest.raises(ModelUnavailableError) as raised:
        await model.infer(request((1, 2)))
    assert str(raised.value) == "model 'fake' version '1' is restarting: its process ended"
    assert raised.value.retry_after == 3.5
    assert [one.name for one in model.metadata.inputs] == ["x"]
    await model.stop()


async def test_stopping_kills_a_busy_process_and_fails_what_is_in_hand(clock: Clock) -> None:
    loader, begun, go = Loader(), threading.Event(), threading.Event()

    def hang(given: Any) -> Any:
        begun.set()
        go.wait()
        return doubled(given)

    loader.work = hang
    model = served(loader, clock)
    await model.start()
    loaded = loader.loaded[0]
    loaded.process.busy = True
    loaded.process.kill = go.set
    asked = asyncio.create_task(model.infer(request((1, 2))))
    while not begun.is_set():
        await asyncio.sleep(0)
    await model.stop()
    with pytest.raises(ModelUnavailableError, match=r"^model 'fake' version '1' is unloaded$"):
        await asked
    assert loaded.closed


async def test_closing_answers_what_waits_and_does_not_restart(clock: Clock, pauses: Pauses) -> None:
    loader, go = Loader(), threading.Event()

    def slow(given: Any) -> Any:
        go.wait()
        return doubled(given)

    loader.work = slow
    model = served(loader, clock, pauses)
    await model.start()
    asked = asyncio.create_task(model.infer(request((1, 2))))
    await asyncio.sleep(0)
    closing = asyncio.create_task(model.close())
    await asyncio.sleep(0)
    with pytest.raises(ModelUnavailableError, match=r"^model 'fake' version '1' is unloaded$"):
        await model.infer(request((1, 2)))
    assert not closing.done()
    go.set()
    assert (await asked).outputs[0].array.tolist() == [[2.0, 4.0]]
    await closing
    assert pauses.seconds == []


async def test_a_model_whose_load_is_cancelled_is_freed_once_it_is_loaded(clock: Clock) -> None:
    begun, go, freed = threading.Event(), threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    class Late(FakeLoaded):
        def close(self) -> None:
            loop.call_soon_threadsafe(freed.set)

    def load(_: Any) -> FakeLoaded:
        begun.set()
        go.wait()
        return Late()

    model = ServedModel(card(), load, Bounds(), clock=clock)
    starting = asyncio.create_task(model.start())
    while not begun.is_set():
        await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    go.set()
    await freed.wait()


async def test_a_quick_inline_model_answers_on_the_loop(clock: Clock) -> None:
    loader = Loader(process=False)
    model = served(loader, clock, inline=True)
    assert model.infer_now(request((1, 2))) is None
    await model.start()
    response = model.infer_now(request((1, 2)))
    assert response is not None
    assert response.outputs[0].array.tolist() == [[2.0, 4.0]]
    assert loader.loaded[0].threads == {"MainThread"}
    await model.close()


async def test_an_inline_model_that_is_slow_answers_in_its_thread_for_a_minute(clock: Clock) -> None:
    loader, took = Loader(process=False), [0.01]

    def work(given: Any) -> Any:
        clock.now += took[0] * len(given["x"])
        return doubled(given)

    loader.work = work
    model = served(loader, clock, inline=True)
    await model.start()
    for _ in range(5):
        assert model.infer_now(request((1, 2))) is not None
    assert model.infer_now(request((1, 2))) is None
    await model.infer(request((1, 2)))
    clock.now += 60.0
    assert model.infer_now(request((1, 2))) is not None
    assert model.infer_now(request((1, 2))) is None
    clock.now += 60.0
    took[0] = 0.0001
    for _ in range(100):
        assert model.infer_now(request((1, 2))) is not None
    assert model.infer_now(request(*[(1, 2)] * 9)) is not None
    assert model.infer_now(request(*[(1, 2)] * 11)) is None
    assert loader.loaded[0].threads == {"MainThread", "model-fake"}
    await model.close()


async def test_an_inline_model_that_is_at_work_in_its_thread_is_not_called_on_the_loop(clock: Clock) -> None:
    loader, go = Loader(process=False), threading.Event()

    def slow(given: Any) -> Any:
        go.wait()
        return doubled(given)

    loader.work = slow
    model = served(loader, clock, inline=True)
    await model.start()
    asked = asyncio.create_task(model.infer(request((1, 2))))
    await asyncio.sleep(0)
    assert model.infer_now(request((1, 2))) is None
    go.set()
    await asked
    await model.close()


async def test_one_slow_call_among_quick_ones_changes_nothing(clock: Clock) -> None:
    loader, took = Loader(process=False), [0.0]

    def work(given: Any) -> Any:
        clock.now += took[0]
        return doubled(given)

    loader.work = work
    model = served(loader, clock, inline=True)
    await model.start()
    for call in range(20):
        took[0] = 0.01 if call % 5 else 0.0001
        assert model.infer_now(request((1, 2))) is not None
    await model.close()


async def test_a_model_in_a_process_never_answers_on_the_loop(clock: Clock) -> None:
    model = served(Loader(), clock)
    await model.start()
    assert model.infer_now(request((1, 2))) is None
    await model.close()


async def test_a_request_whose_time_is_over_is_not_answered(clock: Clock) -> None:
    loader = Loader()
    model = served(loader, clock)
    await model.start()
    with pytest.raises(DeadlineError):
        await model.infer(request((1, 2)), 100.0)
    assert loader.loaded[0].threads == set()
    await model.close()


async def test_a_request_without_rows_is_answered(clock: Clock) -> None:
    model = served(Loader(), clock)
    await model.start()
    response = await model.infer(request())
    assert response.outputs[0].array.shape == (0, 2)
    assert response.outputs[1].array.dtype == np.int64
    await model.close()
