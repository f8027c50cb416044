"""Which server is asked next: by a clock and a chance that are given."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from airflow_agentic.openinference.addresses import servers as servers_of
from airflow_agentic.openinference.balance import FAILURES, LEAST, Balancer, Server


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def balancer(clock: Clock, *names: str) -> Balancer:
    return Balancer([Server(name) for name in names], clock=clock, chance=random.Random(1))


def fail(made: Balancer, times: int, server: Server | None = None) -> None:
    for _ in range(times):
        chosen = server or made.choose()
        assert chosen is not None
        chosen.in_flight += server is not None
        made.failed(chosen, "broken")


def test_of_two_servers_the_one_with_fewer_requests_is_asked(clock: Clock) -> None:
    made = balancer(clock, "a", "b")
    made.servers[0].in_flight = 3
    chosen = [made.choose() for _ in range(3)]
    assert [one.url for one in chosen if one] == ["b", "b", "b"]


def test_requests_that_never_end_are_spread(clock: Clock) -> None:
    made = balancer(clock, *"abcd")
    counts = Counter(one.url for _ in range(400) if (one := made.choose()))
    assert max(counts.values()) - min(counts.values()) <= 4


def test_a_breaker_opens_after_consecutive_failures_only(clock: Clock) -> None:
    made = balancer(clock, "a")
    fail(made, FAILURES - 1)
    chosen = made.choose()
    assert chosen is not None
    made.succeeded(chosen)
    fail(made, FAILURES - 1)
    assert made.choose() is chosen
    made.failed(chosen, "broken")
    assert made.choose() is None
    assert chosen.in_flight == 0


def test_an_open_breaker_lets_one_probe_pass_when_its_time_is_over(clock: Clock) -> None:
    made = balancer(clock, "a")
    fail(made, FAILURES)
    found = made.opened_for()
    assert found is not None
    seconds, server = found
    assert 0.5 <= seconds <= 1.0
    assert server.why == "broken"
    clock.now += seconds - 0.001
    assert made.choose() is None
    clock.now += 0.002
    assert made.choose() is server
    assert made.choose() is None, "a second probe"
    made.succeeded(server)
    assert made.choose() is server
    assert made.choose() is server, "closed again"


def test_every_failed_probe_doubles_the_time_up_to_a_minute(clock: Clock) -> None:
    made = balancer(clock, "a")
    fail(made, FAILURES)
    longest = []
    for _ in range(8):
        found = made.opened_for()
        assert found is not None
        longest.append(found[0])
        clock.now += found[0]
        fail(made, 1)
    for place, seconds in enumerate(longest):
        bound = min(60.0, 2.0**place)
        assert bound / 2 <= seconds <= bound


def test_failures_of_requests_from_before_it_opened_do_not_open_it_for_longer(clock: Clock) -> None:
    made = balancer(clock, "a")
    under_way = [made.choose() for _ in range(FAILURES + 3)]
    for server in under_way:
        assert server is not None
        made.failed(server, "broken")
    assert made.servers[0].openings == 1


def test_a_half_open_server_is_asked_before_healthy_ones(clock: Clock) -> None:
    made = balancer(clock, "a", "b", "c")
    fail(made, FAILURES, made.servers[1])
    assert {one.url for _ in range(20) if (one := made.choose())} == {"a", "c"}
    clock.now += 1.0
    assert made.choose() is made.servers[1]
    assert made.choose() is not made.servers[1]


def test_a_cancelled_probe_leaves_room_for_another(clock: Clock) -> None:
    made = balancer(clock, "a")
    fail(made, FAILURES)
    clock.now += 1.0
    server = made.choose()
    assert server is not None
    made.forget(server)
    assert made.choose() is server


def mixed(made: Balancer, server: Server) -> None:
    """Every second request fails: never enough in a row for the breaker."""
    for place in range(LEAST):
        server.in_flight += 1
        if place % 2:
            made.failed(server, "broken")
        else:
            made.succeeded(server)


def test_a_server_with_a_high_share_of_failures_is_ejected(clock: Clock) -> None:
    made = balancer(clock, "a", "b")
    mixed(made, made.servers[0])
    assert made.servers[0].open_until is not None
    assert made.choose() is made.servers[1]


def test_the_last_server_is_never_ejected(clock: Clock) -> None:
    made = balancer(clock, "a", "b")
    mixed(made, made.servers[0])
    mixed(made, made.servers[1])
    assert made.servers[1].open_until is None


def test_one_that_failed_just_now_is_asked_again_only_if_there_is_no_other(clock: Clock) -> None:
    made = balancer(clock, "a", "b")
    first, second = made.servers
    assert all(made.choose(but=first) is second for _ in range(10))
    fail(made, FAILURES, second)
    assert made.choose(but=first) is first


def test_servers_that_stay_keep_what_is_known_of_them(clock: Clock) -> None:
    made = balancer(clock, "a", "b")
    fail(made, FAILURES, made.servers[0])
    made.replace([Server("a"), Server("c")])
    assert [(one.url, one.failures) for one in made.servers] == [("a", FAILURES), ("c", 0)]


async def test_a_name_with_several_addresses_is_several_servers() -> None:
    asked = []

    async def find(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["10.0.0.2", "10.0.0.1"] if host == "models" else ["10.0.0.9"]

    found = await servers_of(["https://models/base", "http://one:81", "http://10.1.1.1:5"], find)
    assert [(one.url, one.host) for one in found] == [
        ("https://10.0.0.1:443/base", "models"),
        ("https://10.0.0.2:443/base", "models"),
        ("http://one:81", None),
        ("http://10.1.1.1:5", None),
    ]
    assert asked == [("models", 443), ("one", 81)]
