from __future__ import annotations

import asyncio
import threading

import pytest

from airflow_agentic.exceptions import ModelError
from airflow_agentic.serving.model_thread import ModelThread


async def test_calls_are_made_one_after_the_other_in_one_daemon_thread() -> None:
    thread = ModelThread("model-x")
    called: list[tuple[int, str, bool]] = []

    def call(number: int) -> int:
        current = threading.current_thread()
        called.append((number, current.name, current.daemon))
        return number

    assert await asyncio.gather(*(thread.call(call, number) for number in range(3))) == [0, 1, 2]
    assert called == [(number, "model-x", True) for number in range(3)]


async def test_what_is_raised_there_is_raised_here() -> None:
    def fail() -> None:
        raise KeyError("no")

    with pytest.raises(KeyError, match="no"):
        await ModelThread("x").call(fail)


@pytest.mark.parametrize("error", [SystemExit(3), StopIteration("end")])
async def test_what_would_end_the_loop_is_a_models_error(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(ModelError) as raised:
        await ModelThread("x").call(fail)
    assert str(raised.value) == f"the model raised {error!r}"


async def test_its_end_comes_after_what_was_asked_and_calls_the_last_function() -> None:
    thread = ModelThread("x")
    called: list[str] = []
    first = asyncio.ensure_future(thread.call(called.append, "asked"))
    await asyncio.sleep(0)
    thread.end(lambda: called.append("last"))
    await thread.ended
    await first
    assert called == ["asked", "last"]


async def test_a_failing_end_is_logged_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    thread = ModelThread("x")

    def fail() -> None:
        raise ValueError("of a record")

    thread.end(fail)
    await thread.ended
    assert caplog.messages == ["a model could not be freed: ValueError"]


def test_a_result_for_a_loop_that_is_closed_is_dropped() -> None:
    begun, go, done = threading.Event(), threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        go.wait()

    async def ask() -> None:
        thread = ModelThread("x")
        call = asyncio.ensure_future(thread.call(wait))
        await asyncio.sleep(0)
        thread._calls.put((asyncio.get_running_loop().create_future(), done.set, ()))
        begun.wait()
        call.cancel()

    asyncio.run(ask())
    go.set()
    assert done.wait(10.0)
