"""Quotas: how much each client may ask of this process.

A client is counted where it asks: with several gateway processes it has its quota at each.
"""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from airflow_agentic.exceptions import QuotaExceededError, QuotaTooSmallError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_agentic.serving.access.base import Client, Quota

BUSY_SECONDS: Final = 1.0
"""When to ask again where too many requests are under way: nobody knows when one ends."""
REMEMBERED: Final = 1000
"""Clients, beyond which those that have used nothing lately are forgotten."""


class _Bucket:
    """A token bucket, full at first. Without a rate it is never empty."""

    def __init__(self, rate: float | None, seconds: float, now: float) -> None:
        self.rate = rate
        self.size = math.inf if rate is None else max(1.0, rate * seconds)
        self._left = self.size
        self._seen = now

    def wait(self, amount: float, now: float) -> float:
        """Seconds until it holds ``amount``, which is at most its size."""
        if self.rate is None:
            return 0.0
        self._left = min(self.size, self._left + max(0.0, now - self._seen) * self.rate)
        self._seen = max(now, self._seen)
        return max(0.0, (amount - self._left) / self.rate)

    def take(self, amount: float) -> None:
        """Take it out."""
        if self.rate is not None:
            self._left -= amount

    def full(self, now: float) -> bool:
        """Whether nothing was taken out lately."""
        return self.rate is None or self.wait(self.size, now) == 0.0


class _Account:
    """What one client has left."""

    def __init__(self, quota: Quota, now: float) -> None:
        self.under_way = 0
        self.adopt(quota, now)

    def adopt(self, quota: Quota, now: float) -> None:
        """Begin anew with this quota; what is under way still is."""
        self.quota = quota
        self.requests = _Bucket(quota.requests_per_second, quota.burst_seconds, now)
        self.records = _Bucket(quota.records_per_second, quota.burst_seconds, now)

    def idle(self, now: float) -> bool:
        """Whether forgetting it changes nothing."""
        return not self.under_way and self.requests.full(now) and self.records.full(now)


class Quotas:
    """What clients have left. For one thread: that of the event loop.

    :param clock: seconds, monotonic.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._accounts: dict[str, _Account] = {}

    @contextmanager
    def admit(self, client: Client, *, records: int) -> Iterator[None]:
        """Count a request with so many records, and hold its place until the context ends.

        What is refused costs nothing.

        :raises QuotaExceededError: not now; ``retry_after`` is in how many seconds.
        :raises QuotaTooSmallError: never: the request has more records than the quota lets through at once.
        """
        account = self._account(client)
        now = self._clock()
        _check(client, account, records, now)
        account.requests.take(1)
        account.records.take(records)
        account.under_way += 1
        try:
            yield
        finally:
            account.under_way -= 1

    def _account(self, client: Client) -> _Account:
        found = self._accounts.get(client.name)
        now = self._clock()
        if found is None:
            if len(self._accounts) >= REMEMBERED:
                self._accounts = {name: one for name, one in self._accounts.items() if not one.idle(now)}
            found = self._accounts[client.name] = _Account(client.quota, now)
        elif found.quota != client.quota:
            found.adopt(client.quota, now)
        return found


def _check(client: Client, account: _Account, records: int, now: float) -> None:
    quota = account.quota
    if records > account.records.size:
        raise QuotaTooSmallError(
            f"the request has {records:,} records, and the quota of {client.name!r} lets at most "
            f"{math.floor(account.records.size):,} through at once; send smaller requests"
        )
    if quota.concurrent is not None and account.under_way >= quota.concurrent:
        raise QuotaExceededError(
            f"{client.name!r} has {account.under_way} requests under way, as many as its quota allows at once; "
            "wait for their answers",
            BUSY_SECONDS,
        )
    for bucket, amount, what in ((account.requests, 1, "requests"), (account.records, records, "records")):
        seconds = bucket.wait(amount, now)
        if seconds > 0:
            raise QuotaExceededError(
                f"{client.name!r} asks more than the {bucket.rate:g} {what} a second of its quota; "
                f"ask again in {seconds:.3g} s",
                seconds,
            )
