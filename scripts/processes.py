"""What runs on this Linux machine, read from /proc."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

DEAD: Final = frozenset("ZX")
POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process as it was when it was looked at.

    ``started`` counts clock ticks since boot: with it an id is never mistaken for a later process of the same id.
    """

    pid: int
    session: int
    started: int
    state: str

    @property
    def alive(self) -> bool:
        """Whether it is still there, and no zombie of the operating system's."""
        now = look_at(self.pid)
        return now is not None and now.started == self.started and now.state not in DEAD

    def send(self, sign: signal.Signals) -> None:
        """Send a signal, if it is still there."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, sign)


def look_at(pid: int) -> Process | None:
    """The process ``pid``, if there is one."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = status.rpartition(")")[2].split()  # the name before it may hold spaces and parentheses
    return Process(pid=pid, session=int(fields[3]), started=int(fields[19]), state=fields[0])


def in_session(session: int) -> list[Process]:
    """The living processes of the session that ``start_new_session`` made, whatever group they are in."""
    found = (look_at(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [each for each in found if each is not None and each.session == session and each.state not in DEAD]


def gone(found: Callable[[], list[Process]], seconds: float) -> list[Process]:
    """Wait until ``found`` finds nothing; returns what it found at the end."""
    deadline = time.monotonic() + seconds
    while (left := found()) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return left
