"""Which of several servers of one model is asked next.

*Power of two choices*: of two servers drawn by chance the one with fewer requests under way (Mitzenmacher, "The Power
of Two Choices in Randomized Load Balancing", 2001). A *circuit breaker* for each server opens after consecutive
failures; an open one gets nothing until its time is over, and then one request as a probe. *Outlier ejection* opens
that of a server whose share of failures is high although some requests succeed, but never that of the last one left.

Nothing here waits or connects: clock and chance are given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

FAILURES: Final = 5
"""Consecutive ones, after which a breaker opens."""
FIRST_SECONDS: Final = 1.0
MOST_SECONDS: Final = 60.0
"""How long a breaker stays open: doubled each time a probe fails, less up to a half by chance."""
WINDOW: Final = 20
"""Outcomes that the share of failures is counted over."""
LEAST: Final = 10
"""Outcomes that a share needs."""
SHARE: Final = 0.5


class Chance(Protocol):
    """What is needed of :class:`random.Random`."""

    def random(self) -> float:
        """A number from 0 to 1."""

    def sample(self, population: Sequence[Server], k: int) -> list[Server]:
        """``k`` different ones."""


@dataclass(eq=False)
class Server:
    """One server and what is known of it."""

    url: str
    """Base URL as it is connected to: of a name with several addresses, with one of these."""
    host: str | None = None
    """The name that was written, where ``url`` has an address in place of it."""
    in_flight: int = 0
    binary: bool | None = None
    """Whether it knows the binary tensor extension; ``None``: it was not asked yet."""
    open_until: float | None = None
    """On the clock; ``None``: closed. Past: half open, the next request is a probe."""
    probed: bool = False
    """Whether the probe of a half-open one is under way."""
    why: str = ""
    """The last failure."""
    failures: int = 0
    openings: int = 0
    outcomes: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def can_be_asked(self, now: float) -> bool:
        """Whether its breaker is closed, or half open without a probe."""
        return self.open_until is None or (now >= self.open_until and not self.probed)


class Balancer:
    """Chooses among ``servers`` and hears what became of each request."""

    def __init__(self, servers: Sequence[Server], *, clock: Callable[[], float], chance: Chance) -> None:
        self.servers = list(servers)
        self._clock = clock
        self._chance = chance

    def choose(self, *, but: Server | None = None) -> Server | None:
        """The server to ask, whose request is counted as under way; ``None`` where every breaker is open.

        A half-open one comes first: else nobody would ever find out.

        :param but: one that failed just now; asked again only if there is no other.
        """
        now = self._clock()
        able = [server for server in self.servers if server.can_be_asked(now)]
        others = [server for server in able if server is not but] or able
        if not others:
            return None
        probe = next((server for server in others if server.open_until is not None), None)
        if probe is not None:
            probe.probed = True
            chosen = probe
        elif len(others) == 1:
            chosen = others[0]
        else:
            chosen = min(self._chance.sample(others, 2), key=lambda server: server.in_flight)
        chosen.in_flight += 1
        return chosen

    def succeeded(self, server: Server) -> None:
        """It answered: its breaker closes."""
        server.in_flight -= 1
        server.failures = 0
        if server.open_until is not None:
            server.open_until, server.probed, server.openings = None, False, 0
            server.outcomes.clear()
        server.outcomes.append(True)

    def failed(self, server: Server, why: str) -> None:
        """It did not answer, or not as a healthy server does."""
        server.in_flight -= 1
        server.failures += 1
        server.why = why
        server.outcomes.append(False)
        if server.open_until is not None:
            if server.probed:  # else it was asked before its breaker opened, and says nothing new
                self._open(server)
        elif server.failures >= FAILURES or (self._is_outlier(server) and self._is_spare(server)):
            self._open(server)

    def forget(self, server: Server) -> None:
        """A request says nothing of its server: it was cancelled, or refused for what it was."""
        server.in_flight -= 1
        server.probed = False

    def opened_for(self) -> tuple[float, Server] | None:
        """Of the server whose breaker is half open first, and in how many seconds; ``None`` without servers."""
        waiting = [server for server in self.servers if server.open_until is not None]
        if not waiting:
            return None
        first = min(waiting, key=lambda server: server.open_until or 0.0)
        return max(0.0, (first.open_until or 0.0) - self._clock()), first

    def replace(self, servers: Sequence[Server]) -> None:
        """Other servers; those that were there keep what is known of them."""
        known = {(server.url, server.host): server for server in self.servers}
        self.servers = [known.get((server.url, server.host), server) for server in servers]

    def _open(self, server: Server) -> None:
        longest = min(MOST_SECONDS, FIRST_SECONDS * 2.0**server.openings)
        server.openings += 1
        server.open_until = self._clock() + longest * (1.0 - 0.5 * self._chance.random())
        server.probed = False

    def _is_outlier(self, server: Server) -> bool:
        outcomes = server.outcomes
        return len(outcomes) >= LEAST and outcomes.count(False) >= SHARE * len(outcomes)

    def _is_spare(self, server: Server) -> bool:
        return any(other.open_until is None for other in self.servers if other is not server)
