"""The thread of a loaded model: there it is loaded, called and freed, one call after the other.

It is a daemon: foreign code that hangs keeps neither the event loop nor the end of the process waiting.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from airflow_agentic.exceptions import ModelError

T = TypeVar("T")

log = logging.getLogger(__name__)

_Call = tuple["asyncio.Future[Any]", Callable[..., Any], tuple[Any, ...]]


class ModelThread:
    """A thread for the running event loop."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done once the last call has returned."""
        threading.Thread(target=self._work, name=name, daemon=True).start()

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call ``function`` there, after what was asked before.

        :raises ModelError: it raised what is no :class:`Exception`, as ``SystemExit``.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._calls.put((future, function, arguments))
        return await future

    def end(self, last: Callable[[], object]) -> None:
        """Call ``last`` after what was asked before, and end; nobody waits for it."""
        future: asyncio.Future[object] = self._loop.create_future()
        future.add_done_callback(_report)
        self._calls.put((future, last, ()))
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function, arguments = call
            outcome = _outcome(function, arguments)
            self._tell(_settle, future, *outcome)
            del call, future, function, arguments, outcome  # arrays are not kept until the next call
        self._tell(_settle, self.ended, None, None)

    def _tell(self, function: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(function, *arguments)


def _outcome(function: Callable[..., T], arguments: tuple[Any, ...]) -> tuple[T | None, Exception | None]:
    try:
        return function(*arguments), None
    except StopIteration as error:  # no future takes one
        return None, ModelError(f"the model raised {error!r}")
    except Exception as error:  # noqa: BLE001  # whoever asked is told
        return None, error
    except BaseException as error:  # noqa: BLE001  # a model that calls exit() ends no server
        return None, ModelError(f"the model raised {error!r}")


def _settle(future: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _report(future: asyncio.Future[object]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        log.error("a model could not be freed: %s", type(error).__name__)
