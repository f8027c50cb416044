"""Clients and their rights, bearer headers, quotas, and where a server without authentication may listen."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from airflow_agentic.exceptions import (
    ForbiddenError,
    QuotaExceededError,
    QuotaTooSmallError,
    UnauthenticatedError,
    UnsafeBindingError,
)
from airflow_agentic.serving.access import ANYBODY, Client, Quota, Quotas, addresses, bearer
from airflow_agentic.serving.access.quotas import REMEMBERED


@dataclass
class Seconds:
    """A monotonic clock that stands still."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def client(quota: Quota | None = None, name: str = "shop") -> Client:
    return Client(name=name, workflows=frozenset({"inbox"}), quota=quota or Quota())


def refused(quotas: Quotas, who: Client, records: int = 1) -> QuotaExceededError:
    with pytest.raises(QuotaExceededError) as caught, quotas.admit(who, records=records):
        pass
    return caught.value


def ask(quotas: Quotas, who: Client, records: int = 1) -> None:
    with quotas.admit(who, records=records):
        pass


def test_a_client_may_use_its_workflows_only() -> None:
    shop = client()
    shop.require("inbox")
    assert (shop.may("inbox"), shop.may("other"), ANYBODY.may("other")) == (True, False, True)
    with pytest.raises(ForbiddenError) as caught:
        shop.require("other")
    assert str(caught.value) == (
        "'shop' may not use the workflow 'other'; ask whoever runs this gateway to add it to the client's workflows"
    )


@pytest.mark.parametrize("header", ["Bearer abc.DEF-1_~+/==", "bearer   abc.DEF-1_~+/=="])
def test_a_bearer_header_holds_a_token(header: str) -> None:
    assert bearer(header) == "abc.DEF-1_~+/=="


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer a b", "Bearer ä", "Bearer a\n"])
def test_any_other_header_holds_none(header: str | None) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        bearer(header)
    assert str(caught.value) == "there is no bearer token; send the header 'Authorization: Bearer TOKEN'"


def test_requests_come_at_their_rate_after_a_burst() -> None:
    clock = Seconds()
    quotas, shop = Quotas(clock=clock), client(Quota(requests_per_second=2, burst_seconds=1.5))
    for _ in range(3):
        ask(quotas, shop)
    error = refused(quotas, shop)
    assert (str(error), error.retry_after) == (
        "'shop' asks more than the 2 requests a second of its quota; ask again in 0.5 s",
        0.5,
    )
    clock.now += error.retry_after
    ask(quotas, shop)
    refused(quotas, shop)
    clock.now += 3600  # no more than the burst gathers
    for _ in range(3):
        ask(quotas, shop)
    refused(quotas, shop)


def test_records_come_at_their_rate() -> None:
    clock = Seconds()
    quotas, shop = Quotas(clock=clock), client(Quota(records_per_second=10, burst_seconds=10))
    ask(quotas, shop, records=95)
    error = refused(quotas, shop, records=15)
    assert (str(error), error.retry_after) == (
        "'shop' asks more than the 10 records a second of its quota; ask again in 1 s",
        1.0,
    )
    ask(quotas, shop, records=5)


def test_what_is_refused_costs_nothing() -> None:
    quotas = Quotas(clock=Seconds())
    shop = client(Quota(requests_per_second=1, records_per_second=1, concurrent=1, burst_seconds=2))
    with quotas.admit(shop, records=1):
        for _ in range(5):
            refused(quotas, shop)
    for _ in range(5):
        refused(quotas, shop, records=2)
    ask(quotas, shop, records=1)


def test_a_request_larger_than_the_burst_never_passes() -> None:
    quotas, shop = Quotas(clock=Seconds()), client(Quota(records_per_second=100))
    with pytest.raises(QuotaTooSmallError) as caught:
        ask(quotas, shop, records=1001)
    assert str(caught.value) == (
        "the request has 1,001 records, and the quota of 'shop' lets at most 1,000 through at once; "
        "send smaller requests"
    )
    assert not caught.value.retryable
    ask(quotas, shop, records=1000)


def test_a_slow_rate_still_lets_one_through() -> None:
    quotas, shop = Quotas(clock=Seconds()), client(Quota(requests_per_second=0.01))
    ask(quotas, shop)
    assert refused(quotas, shop).retry_after == 100


def test_so_many_requests_are_under_way_at_once() -> None:
    quotas, shop = Quotas(clock=Seconds()), client(Quota(concurrent=2))
    with ExitStack() as stack:
        stack.enter_context(quotas.admit(shop, records=1))
        with quotas.admit(shop, records=1):
            error = refused(quotas, shop)
            assert (str(error), error.retry_after) == (
                "'shop' has 2 requests under way, as many as its quota allows at once; wait for their answers",
                1.0,
            )
        ask(quotas, shop)
        with pytest.raises(ZeroDivisionError), quotas.admit(shop, records=1):
            raise ZeroDivisionError  # a request that fails gives its place back
        ask(quotas, shop)


def test_clients_do_not_share_a_quota() -> None:
    quotas = Quotas(clock=Seconds())
    one, two = (client(Quota(concurrent=1), name) for name in ("one", "two"))
    with quotas.admit(one, records=1):
        ask(quotas, two)
        refused(quotas, one)


def test_a_changed_quota_holds_at_once_and_counts_what_is_under_way() -> None:
    quotas = Quotas(clock=Seconds())
    with quotas.admit(client(Quota(concurrent=1)), records=1):
        wider = client(Quota(concurrent=2))
        with quotas.admit(wider, records=1):
            refused(quotas, wider)
    for _ in range(2):
        ask(quotas, client(Quota(concurrent=1)))


def test_without_a_quota_nothing_is_refused() -> None:
    quotas = Quotas(clock=Seconds())
    with quotas.admit(ANYBODY, records=10**9), quotas.admit(ANYBODY, records=10**9):
        pass


def test_clients_that_use_nothing_are_forgotten_and_others_are_not() -> None:
    clock = Seconds()
    quotas, quota = Quotas(clock=clock), Quota(requests_per_second=1, burst_seconds=1)
    for number in range(REMEMBERED):
        ask(quotas, client(quota, f"c{number}"))
    clock.now += 1
    ask(quotas, client(quota, "c0"))
    ask(quotas, client(quota, "newcomer"))
    assert set(quotas._accounts) == {"c0", "newcomer"}
    refused(quotas, client(quota, "c0"))


def test_a_client_with_a_request_under_way_is_not_forgotten() -> None:
    quotas, one = Quotas(clock=Seconds()), client(Quota(concurrent=1), "one")
    with quotas.admit(one, records=1):
        for number in range(REMEMBERED):
            ask(quotas, client(name=f"c{number}"))
        refused(quotas, one)


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("127.0.0.1", ("127.0.0.1",)),
        ("127.1.2.3", ("127.1.2.3",)),
        ("::1", ("::1",)),
        ("[::1]", ("::1",)),
        ("::ffff:127.0.0.1", ("127.0.0.1",)),
        ("localhost", ("127.0.0.1", "::1")),
    ],
)
def test_loopback_needs_no_authentication(host: str, found: tuple[str, ...]) -> None:
    names = {"localhost": ["127.0.0.1", "::1", "127.0.0.1"]}
    assert addresses(host, authenticated=False, resolve=names.__getitem__) == found


@pytest.mark.parametrize(
    ("host", "what"),
    [
        ("0.0.0.0", "all addresses of this machine"),
        ("::", "all addresses of this machine"),
        ("", "all addresses of this machine"),
        ("*", "all addresses of this machine"),
        ("10.0.0.7", "the address 10.0.0.7"),
        ("::ffff:0.0.0.0", "all addresses of this machine"),
        ("::ffff:10.0.0.7", "the address 10.0.0.7"),
        ("gateway", "the address 10.0.0.7"),
    ],
)
def test_elsewhere_authentication_is_needed(host: str, what: str) -> None:
    names = {"gateway": ["127.0.0.1", "10.0.0.7"]}
    with pytest.raises(UnsafeBindingError) as caught:
        addresses(host, authenticated=False, resolve=names.__getitem__)
    assert str(caught.value) == (
        f"the host {host!r} is {what}, and without authentication everybody who reaches it could use every workflow; "
        "set up bearer tokens or JWT, or listen on 127.0.0.1"
    )
    assert addresses(host, authenticated=True, resolve=names.__getitem__)


def test_a_host_that_nobody_knows_is_named() -> None:
    def unknown(_: str) -> list[str]:
        raise OSError("Name or service not known")

    for authenticated in (True, False):
        with pytest.raises(UnsafeBindingError) as caught:
            addresses("gatway", authenticated=authenticated, resolve=unknown)
        assert str(caught.value) == (
            "the host 'gatway' cannot be resolved (Name or service not known); "
            "give an address of this machine, as 127.0.0.1"
        )


def test_localhost_is_resolved_by_this_machine() -> None:
    assert "127.0.0.1" in addresses("localhost", authenticated=False)
