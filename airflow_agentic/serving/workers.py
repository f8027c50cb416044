"""Several processes that do the same: one that dies is replaced, a signal to their parent ends them all."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Final

STARTUP_FAILURE: Final = 3
"""The exit status of a worker that cannot begin: another one would fail, too, so that all are ended."""


def supervise(work: Callable[[], None], count: int) -> bool:
    """Run ``work`` in so many processes until a signal, which each of them is sent, has ended them.

    To be called by the main thread.

    :param work: can be pickled. Its process has a group of its own, so that Ctrl-C reaches it once.
    :returns: whether all went well: ``False`` if one ended by :data:`STARTUP_FAILURE`.
    """
    good = True
    told = False
    with _signals() as (wake, signals):
        running = [_start(work) for _ in range(count)]
        while running:
            if wake in wait([wake, *(one.sentinel for one in running)]):
                wake.recv(4096)
            for sent in _taken(signals):
                told = True
                _tell(running, sent)
            ended = [one for one in running if not one.is_alive()]
            running = [one for one in running if one not in ended]
            if good and any(one.exitcode == STARTUP_FAILURE for one in ended):
                good, told = False, True
                _tell(running, signal.SIGTERM)
            elif not told:
                running += [_start(work) for _ in ended]
    return good


def _start(work: Callable[[], None]) -> SpawnProcess:
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(work,))
    process.start()
    return process


def _run(work: Callable[[], None]) -> None:
    os.setpgrp()
    work()


def _tell(running: list[SpawnProcess], sent: int) -> None:
    for one in running:
        with suppress(ProcessLookupError):
            if one.pid is not None:
                os.kill(one.pid, sent)


def _taken(signals: list[int]) -> Iterator[int]:
    while signals:
        yield signals.pop(0)


@contextmanager
def _signals() -> Iterator[tuple[socket.socket, list[int]]]:
    """A socket that can be read when a signal to end has come, and the signals that came."""
    signals: list[int] = []
    wake, woken = socket.socketpair()
    woken.setblocking(False)
    ending = (signal.SIGTERM, signal.SIGINT)
    before = {one: signal.signal(one, lambda sent, _: signals.append(sent)) for one in ending}
    woken_before = signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    try:
        yield wake, signals
    finally:
        signal.set_wakeup_fd(woken_before)
        for one, handler in before.items():
            signal.signal(one, handler)
        wake.close()
        woken.close()
