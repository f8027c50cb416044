"""Who may come in: places in order, a bounded waiting room, what leaves it."""

from __future__ import annotations

import asyncio
import threading

import pytest
from executing import World
from gateways import client_of, gateway, moods

from airflow_agentic.serving.gateway.admission import Admission
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
