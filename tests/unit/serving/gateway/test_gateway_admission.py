"""Who may come in: places in order, a bounded waiting room, what leaves it."""

from __future__ import annotations

import asyncio
import threading
from itertools import count, cycle
from typing import Any, Final

import pytest
from executing import World
from gateways import client_of, gateway, moods

from airflow_agentic.serving.gateway.admission import WINDOW, Admission, Admissions, LearnedPlaces
from airflow_agentic.serving.gateway.problems import ProblemError


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_places_go_to_who_waits_longest() -> None:
    admission = Admission(running=1, waiting=2)
    order: list[str] = []

    async def one(name: str) -> None:
        await admission.enter(seconds=30)
        order.append(name)

    await one("first")
    tasks = [asyncio.create_task(one(name)) for name in ("second", "third")]
    await settle()
    with pytest.raises(ProblemError) as caught:
        await admission.enter(seconds=30)
    assert (caught.value.kind.status, caught.value.detail) == (
        429,
        "1 requests are being answered and 2 wait, which is the most; try again later, or start more replicas",
    )
    assert caught.value.retry_after == pytest.approx(0.15)
    for _ in range(3):
        admission.leave()
        await settle()
    await asyncio.gather(*tasks)
    assert (order, admission.running, admission.waiting) == (["first", "second", "third"], 0, 0)


async def test_who_was_let_in_waits_also_where_the_room_is_full() -> None:
    admission = Admission(running=1, waiting=0)
    await admission.enter(seconds=30)
    waiting = asyncio.create_task(admission.enter(seconds=30, patient=True))
    await settle()
    admission.leave()
    await waiting
    assert admission.running == 1


async def test_who_leaves_the_room_holds_no_place() -> None:
    admission = Admission(running=1, waiting=5)
    await admission.enter(seconds=30)
    gone, stays = (asyncio.create_task(admission.enter(seconds=30)) for _ in range(2))
    await settle()
    gone.cancel()
    await settle()
    assert admission.waiting == 1
    admission.leave()
    await stays
    assert (admission.running, admission.waiting) == (1, 0)


async def test_who_is_cancelled_with_the_place_in_hand_hands_it_on() -> None:
    admission = Admission(running=1, waiting=5)
    await admission.enter(seconds=30)
    gone, stays = (asyncio.create_task(admission.enter(seconds=30)) for _ in range(2))
    await settle()
    admission.leave()
    gone.cancel()
    await stays
    admission.leave()
    assert (gone.cancelled(), admission.running) == (True, 0)


async def test_waiting_ends_with_the_deadline() -> None:
    admission = Admission(running=1, waiting=5)
    await admission.enter(seconds=30)
    with pytest.raises(ProblemError) as caught:
        await admission.enter(seconds=0.01)
    assert (caught.value.kind.status, caught.value.detail) == (
        504,
        "there was no place for the request within 0.01 s: 1 are being answered",
    )
    assert admission.waiting == 0


def learned(most: int = 64, *, calm: float = 0.02) -> LearnedPlaces:
    """What has seen answers in calm."""
    places = LearnedPlaces(most)
    window(places, calm)
    return places


def window(places: LearnedPlaces, *seconds: float, taken: bool = False) -> int:
    """The places after a window of answers that took so long, in turn; ``taken``: others found none meanwhile."""
    if taken:
        places.all_taken()
    start = float(next(HOURS))
    for _, one in zip(range(WINDOW), cycle(seconds), strict=False):
        places.observe(start, start + one)
    return places.count


HOURS: Final = count(0, 3600)
"""When windows begin."""


class TestPlaces:
    def test_while_some_are_free_nothing_is_learned_but_the_calm(self) -> None:
        places = learned()
        assert (window(places, 0.5), places.calm) == (32, pytest.approx(0.02))
        assert (window(places, 0.01), places.calm) == (32, pytest.approx(0.01))

    def test_slow_answers_take_places_away(self) -> None:
        places = learned()
        assert [window(places, 0.6, taken=True) for _ in range(4)] == [8, 2, 1, 1]

    def test_a_little_too_slow_takes_few_away(self) -> None:
        assert window(learned(), 0.044, taken=True) == 25

    def test_what_began_before_a_change_tells_nothing_of_it(self) -> None:
        places = learned()
        window(places, 0.6, taken=True)
        places.all_taken()
        before = float(next(HOURS)) - 3600 - 1
        for _ in range(2 * WINDOW):
            places.observe(before, before + 5)
        assert places.count == 8

    def test_quick_ones_give_them_back(self) -> None:
        places = learned()
        for _ in range(2):
            window(places, 0.6, taken=True)
        found = [window(places, 0.03, taken=True) for _ in range(40)]
        assert found[:4] == [3, 4, 5, 6]
        assert found[-1] == 64

    def test_models_that_became_slower_are_the_new_calm(self) -> None:
        places = learned()
        for _ in range(4):
            window(places, 0.6, taken=True)
        assert places.calm == pytest.approx(0.6)
        assert window(places, 0.8, taken=True) == 2

    def test_a_mixture_of_quick_and_slow_is_calm(self) -> None:
        places = LearnedPlaces(8)
        window(places, 0.005, 0.04)
        assert window(places, 0.04, 0.005, 0.005, 0.04, 0.04, taken=True) == 8

    def test_fewer_than_the_least_stay(self) -> None:
        assert window(learned(1), 0.6, taken=True) == 1


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def busy(clock: Clock, *, running: int = 2) -> Admission:
    """An admission that knows calm, with all places taken."""
    admission = Admission(running=running, waiting=100, clock=clock)
    admission.places = learned(running, calm=0.02)
    admission.running = running
    return admission


async def test_a_burst_waits_for_its_turn() -> None:
    clock = Clock()
    admission = busy(clock)
    waiting = [asyncio.create_task(admission.enter(seconds=30)) for _ in range(20)]
    await settle()
    await asyncio.sleep(0.03)  # longer than an answer takes in calm
    for _ in range(20):
        admission.leave()
    await asyncio.gather(*waiting)
    assert (admission.running, admission.waiting) == (2, 0)


async def test_in_a_standing_queue_a_request_waits_shortly() -> None:
    clock = Clock()
    admission = busy(clock)
    first = asyncio.create_task(admission.enter(seconds=30))
    await settle()
    clock.now += 0.2
    with pytest.raises(ProblemError) as caught:
        await admission.enter(seconds=30)
    assert (caught.value.kind.status, caught.value.detail) == (
        429,
        "2 requests are being answered and this one got no place within 0.01 s; "
        "try again later, or start more replicas",
    )
    admission.leave()
    await first
    with pytest.raises(ProblemError):  # an empty queue alone is no calm
        await admission.enter(seconds=30)
    clock.now += 1.1
    later = asyncio.create_task(admission.enter(seconds=30))
    await asyncio.sleep(0.03)
    assert not later.done()
    admission.leave()
    await later


async def test_in_a_stall_a_request_waits_and_for_a_moment_after_it() -> None:
    clock = Clock()
    admission = busy(clock)
    waiting = [asyncio.create_task(admission.enter(seconds=30))]
    for later in (0.6, 0.0):
        await settle()
        clock.now += later
        waiting.append(asyncio.create_task(admission.enter(seconds=30)))
    await asyncio.sleep(0.03)
    admission.leave()
    clock.now += 0.9
    admission.leave()  # answers come again
    waiting.append(asyncio.create_task(admission.enter(seconds=30)))
    await asyncio.sleep(0.03)
    clock.now += 0.2
    with pytest.raises(ProblemError):
        await admission.enter(seconds=30)
    assert [one.done() for one in waiting] == [True, True, False, False]
    for _ in range(2):
        admission.leave()
    await asyncio.gather(*waiting)


async def test_who_was_let_in_waits_in_a_standing_queue_too() -> None:
    clock = Clock()
    admission = busy(clock)
    first = asyncio.create_task(admission.enter(seconds=30))
    await settle()
    clock.now += 0.2
    patient = asyncio.create_task(admission.enter(seconds=30, patient=True))
    await asyncio.sleep(0.03)
    assert not patient.done()
    for _ in range(2):
        admission.leave()
    await asyncio.gather(first, patient)


async def test_fewer_places_let_fewer_in_and_more_let_more_in() -> None:
    clock = Clock()
    admission = busy(clock, running=8)
    window(admission.places, 0.6, taken=True)
    assert admission.places.count == 2
    waiting = [asyncio.create_task(admission.enter(seconds=30)) for _ in range(3)]
    await settle()
    for _ in range(6):
        admission.leave()
    await settle()
    assert (admission.running, admission.waiting) == (2, 3)
    clock.now = float(next(HOURS))
    for _ in range(WINDOW):
        admission.answered(clock.now - 0.02)
    await settle()
    assert (admission.places.count, admission.running, admission.waiting) == (3, 3, 2)
    for _ in range(2):
        admission.leave()
    await asyncio.gather(*waiting)
    assert (admission.running, admission.waiting) == (3, 0)


def test_each_workflow_has_its_own() -> None:
    admissions = Admissions(running=3, waiting=1)
    assert admissions.of("a") is admissions.of("a") is not admissions.of("b")


async def test_overload_is_answered_429_and_the_rest_200() -> None:
    world = World(held={"a": threading.Event()})
    async with gateway(world, specs=[moods("a")], running=2, waiting=3) as app, client_of(app) as client:
        asked = [asyncio.create_task(client.post("/predict", json={"input": f"text {n}"})) for n in range(8)]
        while sum(task.done() for task in asked) < 3:
            await asyncio.sleep(0)
        world.held["a"].set()
        answers = await asyncio.gather(*asked)
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 3
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1


@pytest.mark.parametrize("given", [{"input": "text"}, {"records": [{"text": "one"}, {"text": "two"}]}])
async def test_a_job_that_was_accepted_waits_where_a_request_is_refused(given: dict[str, Any]) -> None:
    world = World(held={"a": threading.Event()})
    async with gateway(world, specs=[moods("a")], running=1, waiting=1) as app, client_of(app) as client:
        app.start()
        admission = app.admissions.of("moods")
        asked = [asyncio.create_task(client.post("/predict", json={"input": f"text {n}"})) for n in range(2)]
        while admission.waiting < 1:
            await asyncio.sleep(0)
        assert (await client.post("/predict", json=given)).status_code == 429
        place = (await client.post("/predict", json={**given, "mode": "async"})).headers["location"]
        while admission.waiting < 2:
            await asyncio.sleep(0)
        world.held["a"].set()
        assert [answer.status_code for answer in await asyncio.gather(*asked)] == [200, 200]
        while (found := (await client.get(place)).json())["state"] not in {"completed", "failed"}:
            await asyncio.sleep(0)
    assert found["state"] == "completed"
