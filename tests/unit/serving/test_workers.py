"""Real processes, which say what they do by files."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

from airflow_agentic.serving.workers import STARTUP_FAILURE, supervise


def sleep(folder: Path) -> None:
    """Works until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    (folder / str(os.getpid())).touch()
    while True:
        time.sleep(60)


def fail(folder: Path) -> None:
    """The first that comes fails; the others work."""
    try:
        (folder / "first").touch(exist_ok=False)
    except FileExistsError:
        sleep(folder)
    sys.exit(STARTUP_FAILURE)


def pids(folder: Path, count: int) -> list[int]:
    """Once so many have begun."""
    while len(found := [int(path.name) for path in folder.iterdir()]) < count:
        time.sleep(0.01)
    return found


def test_a_worker_that_is_killed_is_replaced_and_a_signal_ends_all(tmp_path: Path) -> None:
    seen: list[int] = []

    def end() -> None:
        os.kill(pids(tmp_path, 2)[0], signal.SIGKILL)
        seen.extend(pids(tmp_path, 3))
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    ending = threading.Thread(target=end)
    ending.start()
    assert supervise(partial(sleep, tmp_path), 2)
    ending.join()
    assert len(seen) == 3
    assert not any(Path(f"/proc/{pid}").exists() for pid in seen)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_worker_that_cannot_begin_ends_all(tmp_path: Path) -> None:
    assert not supervise(partial(fail, tmp_path), 2)
