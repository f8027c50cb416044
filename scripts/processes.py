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
    from collections.abc import Callable, Iterable

DEAD: Final = frozenset("ZX")
POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process as it was when it was looked at.

    ``started`` counts clock ticks since boot: with it a process id is never mistaken for a later one.
    """

    pid: int
    parent: int
    session: int
    started: int
    state: str
    command: str
    """The arguments, or the title that the process gave itself."""

    @property
    def stopped(self) -> bool:
        """Whether SIGSTOP holds it."""
        return self.state == "T"

    @property
    def alive(self) -> bool:
        """Whether it is still there, and no zombie of the operating system's."""
        now = look_at(self.pid)
        return now is not None and now.started == self.started and now.state not in DEAD

    def send(self, sign: signal.Signals) -> bool:
        """Send a signal; returns whether it was still there."""
        if not self.alive:
            return False
        with suppress(ProcessLookupError):
            os.kill(self.pid, sign)
            return True
        return False


def look_at(pid: int) -> Process | None:
    """The process ``pid``, if there is one."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = status.rpartition(")")[2].split()  # the name before it may hold spaces and parentheses
    return Process(
        pid=pid,
        parent=int(fields[1]),
        session=int(fields[3]),
        started=int(fields[19]),
        state=fields[0],
        command=command.replace(b"\0", b" ").decode(errors="replace").strip(),
    )


def processes() -> list[Process]:
    """All that live."""
    found = (look_at(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [each for each in found if each is not None and each.state not in DEAD]


def in_sessions(sessions: Iterable[int]) -> list[Process]:
    """The processes of the sessions that ``start_new_session`` made, whatever group they are in."""
    wanted = set(sessions)
    return [each for each in processes() if each.session in wanted]


def with_variable(name: str, value: str) -> list[Process]:
    """The processes that were started with an environment variable; a title of their own may hide it."""
    entry = f"{name}={value}".encode()
    return [each for each in processes() if entry in _environment(each.pid)]


def gone(found: Callable[[], list[Process]], seconds: float) -> list[Process]:
    """Wait until ``found`` finds nothing; returns what it found at the end."""
    deadline = time.monotonic() + seconds
    while (left := found()) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return left


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
