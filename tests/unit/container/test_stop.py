"""SIGTERM: what is in hand goes on, what follows does not begin, and what takes too long is cut off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from airflow_agentic.container.exits import Exit
from airflow_agentic.container.stop import Stop
from airflow_agentic.exceptions import ModelUnavailableError


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """The test's own handler of SIGTERM is put back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


class Model:
    """A model in a process of its own, as far as ending it goes."""

    def __init__(self) -> None:
        self.killed = threading.Event()

    def kill(self) -> None:
        self.killed.set()


def test_nothing_is_stopped_unasked() -> None:
    stop = Stop()
    stop.listen()
    stop.check()
    stop.close()


def test_the_next_shard_is_not_begun() -> None:
    stop = Stop(grace=60)
    stop.listen()
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(ModelUnavailableError) as caught:
        stop.check()

    stop.close()
    assert str(caught.value) == "the container was asked to stop (SIGTERM)"


def test_a_batch_that_takes_too_long_is_cut_off() -> None:
    stop, model = Stop(grace=0.01), Model()
    stop.listen()
    stop.watch(model)
    os.kill(os.getpid(), signal.SIGTERM)

    assert model.killed.wait(10)
    stop.close()


def test_a_unit_that_ends_in_time_is_not_cut_off() -> None:
    stop, model = Stop(grace=0.2), Model()
    stop.listen()
    stop.watch(model)
    os.kill(os.getpid(), signal.SIGTERM)
    stop.close()

    assert not model.killed.wait(0.6)


def test_an_inline_model_ends_with_its_process() -> None:
    code = (
        "import os, signal, time\n"
        "from airflow_agentic.container.stop import Stop\n"
        "stop = Stop(grace=0.01)\n"
        "stop.listen()\n"
        "stop.watch(object())\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)

    assert done.returncode == Exit.RETRY
