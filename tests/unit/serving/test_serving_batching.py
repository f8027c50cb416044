from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from serving_samples import Clock, arrays, doubled

from airflow_agentic.exceptions import DeadlineError, ModelMemoryError, ModelUnavailableError, OverloadedError
from airflow_agentic.serving.batching import Batcher, BatchLimit, Bounds, whole_seconds

LATE = "the request's time was over before the model answered"


class Model:
    """Answers when it is told to."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[Any] = []
        self.fails: dict[int, Exception] = {}
        """By the first number of a batch's first row: what it raises."""
        self.go = asyncio.Event()
        if not held:
            self.go.set()

    async def __call__(self, given: Any) -> Any:
        self.batches.append(given["x"][:, 0].tolist())
        await self.go.wait()
        for number in given["x"][:, 0]:
            if int(number) in self.fails:
                raise self.fails[int(number)]
        return doubled(given)


def batcher(model: Any, *, most: int = 100, limit: float = 100.0, **bounds: int) -> Batcher:
    at_most = BatchLimit(most, 0.1)
    at_most._limit = min(float(most), limit)
    return Batcher(model, at_most, Bounds(**bounds), clock=Clock())


def submit(queue: Batcher, *rows: float, size: int = 8, until: float | None = None) -> asyncio.Task[Any]:
    given = arrays(*[(row, 0.0) for row in rows])
    return asyncio.create_task(queue.submit(given, len(rows), size, until))


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def first_in_hand(model: Model, queue: Batcher) -> asyncio.Task[Any]:
    """A request that is being answered, so that later ones gather."""
    first = submit(queue, 0.0)
    await turns()
    assert model.batches == [[0.0]]
    return first


async def test_a_lone_request_is_answered_at_once() -> None:
    model = Model()
    answered = await submit(batcher(model), 3.0)
    assert answered["y"].tolist() == [[6.0, 0.0]]
    assert answered["size"].tolist() == [1]


async def test_what_gathers_while_the_model_is_busy_is_one_batch() -> None:
    model = Model(held=True)
    queue = batcher(model)
    first = await first_in_hand(model, queue)
    others = [submit(queue, 1.0), submit(queue, 2.0, 3.0), submit(queue, 4.0)]
    await turns()
    assert not queue.idle
    model.go.set()
    answers = await asyncio.gather(first, *others)
    assert model.batches == [[0.0], [1.0, 2.0, 3.0, 4.0]]
    assert [answer["y"][:, 0].tolist() for answer in answers] == [[0.0], [2.0], [4.0, 6.0], [8.0]]
    await turns()
    assert queue.idle


async def test_a_batch_has_no_more_records_than_the_limit() -> None:
    model = Model(held=True)
    queue = batcher(model, limit=3.0, most=3)
    first = await first_in_hand(model, queue)
    others = [submit(queue, 1.0, 2.0), submit(queue, 3.0, 4.0), submit(queue, 5.0), submit(queue, 6.0, 7.0, 8.0, 9.0)]
    await turns()
    model.go.set()
    await asyncio.gather(first, *others)
    assert model.batches == [[0.0], [1.0, 2.0, 5.0], [3.0, 4.0], [6.0, 7.0, 8.0, 9.0]]


async def test_requests_of_different_shapes_or_types_are_never_mixed() -> None:
    model = Model(held=True)
    queue = batcher(model)
    first = await first_in_hand(model, queue)
    wide = asyncio.create_task(queue.submit({"x": np.ones((1, 3), np.float32)}, 1, 8, None))
    double = asyncio.create_task(queue.submit({"x": np.ones((1, 2), np.float64)}, 1, 8, None))
    others = [submit(queue, 1.0), submit(queue, 2.0)]
    await turns()
    model.go.set()
    answers = await asyncio.gather(wide, double, *others, first)
    assert [answer["size"].tolist() for answer in answers] == [[1], [1], [2], [2], [1]]


async def test_a_request_that_nobody_waits_for_is_not_computed() -> None:
    model = Model(held=True)
    queue = batcher(model)
    first = await first_in_hand(model, queue)
    gone, stays = submit(queue, 1.0), submit(queue, 2.0)
    await turns()
    gone.cancel()
    await turns()
    model.go.set()
    await asyncio.gather(first, stays)
    assert model.batches == [[0.0], [2.0]]


async def test_a_request_whose_time_is_over_before_it_is_asked_is_refused() -> None:
    model = Model()
    with pytest.raises(DeadlineError, match=f"^{LATE}$"):
        await submit(batcher(model), 1.0, until=100.0)
    assert model.batches == []


async def test_a_request_whose_time_ends_in_the_queue_is_not_computed() -> None:
    model = Model(held=True)
    queue = batcher(model)
    first = await first_in_hand(model, queue)
    late, patient = submit(queue, 1.0, until=100.001), submit(queue, 2.0, until=1e6)
    with pytest.raises(DeadlineError, match=f"^{LATE}$"):
        await late
    model.go.set()
    await asyncio.gather(first, patient)
    assert model.batches == [[0.0], [2.0]]


async def test_one_bad_request_fails_alone() -> None:
    model = Model(held=True)
    model.fails[2] = KeyError("two")
    queue = batcher(model)
    first = await first_in_hand(model, queue)
    others = [submit(queue, 1.0), submit(queue, 2.0), submit(queue, 3.0)]
    await turns()
    model.go.set()
    await first
    one, two, three = await asyncio.gather(*others, return_exceptions=True)
    assert isinstance(two, KeyError)
    assert [one["y"][0, 0], three["y"][0, 0]] == [2.0, 6.0]
    assert model.batches == [[0.0], [1.0, 2.0, 3.0], [1.0], [2.0], [3.0]]


async def test_a_dead_process_fails_the_batch_and_is_not_asked_again() -> None:
    model = Model(held=True)
    model.fails[2] = ModelUnavailableError("gone")
    queue = batcher(model)
    first = await first_in_hand(model, queue)
    others = [submit(queue, 1.0), submit(queue, 2.0)]
    await turns()
    model.go.set()
    await first
    found = await asyncio.gather(*others, return_exceptions=True)
    assert [str(error) for error in found] == ["gone", "gone"]
    assert model.batches == [[0.0], [1.0, 2.0]]


async def test_a_batch_that_took_too_much_memory_is_halved_for_good() -> None:
    model = Model(held=True)
    model.fails[4] = ModelMemoryError("out of memory")
    queue = batcher(model)
    first = await first_in_hand(model, queue)
    others = [submit(queue, float(number)) for number in range(1, 5)]
    await turns()
    model.go.set()
    await asyncio.gather(first, *others, return_exceptions=True)
    limit = queue._limit
    assert limit.rows == 2
    limit.observe(2, 0.0)
    assert limit.rows == 2


@pytest.mark.parametrize("bounds", [{"requests": 2}, {"bytes": 16}])
async def test_more_than_may_wait_is_refused_with_the_time_it_will_take(bounds: dict[str, int]) -> None:
    model = Model(held=True)
    queue = batcher(model, **bounds)
    queue.row_seconds = 7.0
    first = await first_in_hand(model, queue)
    waiting = [submit(queue, 1.0), submit(queue, 2.0)]
    await turns()
    with pytest.raises(
        OverloadedError, match=r"^2 requests wait already \(0 MiB\); ask later, or less at once$"
    ) as raised:
        await submit(queue, 3.0)
    assert raised.value.retry_after == 21.0
    model.go.set()
    await asyncio.gather(first, *waiting)


async def test_those_that_nobody_waits_for_take_no_room() -> None:
    model = Model(held=True)
    queue = batcher(model, requests=1)
    first = await first_in_hand(model, queue)
    gone = submit(queue, 1.0)
    await turns()
    gone.cancel()
    await turns()
    stays = submit(queue, 2.0)
    await turns()
    model.go.set()
    assert (await stays)["y"][0, 0] == 4.0
    await first


async def test_a_lone_request_is_taken_whatever_its_size() -> None:
    answered = await submit(batcher(Model(), bytes=16), 1.0, size=1000)
    assert answered["size"].tolist() == [1]


async def test_closing_answers_what_waits_then_ends() -> None:
    model = Model(held=True)
    queue = batcher(model)
    asked = [await first_in_hand(model, queue), submit(queue, 1.0), submit(queue, 2.0)]
    await turns()
    closing = asyncio.create_task(queue.close())
    await turns()
    assert not closing.done()
    model.go.set()
    await closing
    assert [(await one)["y"][0, 0] for one in asked] == [0.0, 2.0, 4.0]


async def test_stopping_fails_what_waits_and_what_is_in_hand() -> None:
    model = Model(held=True)
    queue = batcher(model)
    asked = [await first_in_hand(model, queue), submit(queue, 1.0)]
    await turns()
    queue.stop(ModelUnavailableError("its process ended"))
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(error) for error in found] == ["its process ended", "its process ended"]


async def test_a_model_that_gives_too_few_rows_fails_each_request_of_the_batch() -> None:
    async def short(given: Any) -> Any:
        if len(given["x"]) > 1:
            return {"y": given["x"][:1]}
        return {"y": given["x"]}

    queue = batcher(short)
    answers = await asyncio.gather(submit(queue, 1.0), submit(queue, 2.0), submit(queue, 3.0))
    assert [answer["y"][0, 0] for answer in answers] == [1.0, 2.0, 3.0]


async def test_after_a_batch_of_several_the_next_waits_shortly_for_as_many() -> None:
    clock = Clock()
    model = Model(held=True)

    async def slow(given: Any) -> Any:
        clock.now += 10.0
        return await model(given)

    queue = Batcher(slow, BatchLimit(100, 1e6), Bounds(), clock=clock)
    queue._limit._limit = 100.0
    first = submit(queue, 0.0)
    await turns()
    pair = [submit(queue, 1.0), submit(queue, 2.0)]
    await turns()
    model.go.set()
    await asyncio.gather(first, *pair)
    again = [submit(queue, 3.0)]
    await turns()
    assert model.batches == [[0.0], [1.0, 2.0]]
    again.append(submit(queue, 4.0))
    await asyncio.gather(*again)
    assert model.batches == [[0.0], [1.0, 2.0], [3.0, 4.0]]
    alone = submit(queue, 5.0)
    await alone
    assert model.batches[-1] == [5.0]


def test_the_limit_grows_by_one_after_a_full_quick_batch() -> None:
    limit = BatchLimit(3, 0.1)
    assert limit.rows == 1
    for rows, expected in [(1, 2), (1, 2), (2, 3), (3, 3)]:
        limit.observe(rows, 0.01)
        assert limit.rows == expected


def test_the_limit_shrinks_by_a_tenth_after_a_slow_batch() -> None:
    limit = BatchLimit(100, 0.1)
    for _ in range(39):
        limit.observe(limit.rows, 0.01)
    assert limit.rows == 40
    limit.observe(40, 0.2)
    assert limit.rows == 36
    limit.observe(10, 0.2)
    assert limit.rows == 9
    for _ in range(50):
        limit.observe(limit.rows, 0.2)
    assert limit.rows == 1


@pytest.mark.parametrize(("seconds", "whole"), [(None, 1), (0.1, 1), (1.2, 2), (30.0, 30)])
def test_retry_after_is_in_whole_seconds(seconds: float | None, whole: int) -> None:
    assert whole_seconds(seconds) == whole
