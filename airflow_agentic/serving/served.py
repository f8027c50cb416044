"""One version of a model as it is served: loaded, asked, restarted when its process dies, unloaded.

Everything here runs on the event loop, but for the model itself, which has a thread of its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal

from airflow_agentic.exceptions import ModelUnavailableError, ProtocolError
from airflow_agentic.openinference.tensors import InferResponse, ModelMetadata, Tensor
from airflow_agentic.serving.batching import Batcher, BatchLimit, Bounds
from airflow_agentic.serving.loaded import Inputs, Loaded
from airflow_agentic.serving.model_thread import ModelThread

if TYPE_CHECKING:
    from airflow_agentic.openinference.tensors import InferRequest, RequestedOutput, TensorSpec
    from airflow_agentic.runtime.base import Arrays
    from airflow_agentic.spec.model import ModelCard

log = logging.getLogger(__name__)

State = Literal["loading", "ready", "restarting", "failed", "unloaded"]
Load = Callable[["ModelCard"], Loaded]

WATCH_SECONDS: Final = 1.0
"""How often it is looked whether a model's process lives, while nobody asks it."""
FIRST_PAUSE: Final = 0.5
"""Seconds before a model that died soon, or could not be loaded, is loaded again; doubled each time."""
LAST_PAUSE: Final = 60.0
STABLE_SECONDS: Final = 60.0
"""A model that answered for so long and then died is loaded again at once."""
END_SECONDS: Final = 6.0
"""How long an end of a model is waited for; a child process that does not end by itself is killed after five."""
LAST_WORDS_SECONDS: Final = 1.0
"""How long the batch that a dead process had may take to say why it failed."""
DIRECT_SECONDS: Final = 0.001
"""An inline model that takes longer runs in its thread, so that it holds up no other request."""
SLOW_CALLS: Final = 5
"""So many in a row: one or two may be slow because the machine is busy."""
SLOW_SECONDS: Final = 60.0
"""How long it then stays in its thread."""
ROWS_SMOOTHING: Final = 0.1
"""Weight of the newest call in the time that a row takes."""


class Quickness:
    """Whether an inline model may answer on the event loop, by the calls that it answered there."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._row_seconds = 0.0
        self._slow_calls = 0
        self._again = 0.0

    def allows(self, rows: int) -> bool:
        """Whether a request of ``rows`` will be quick enough."""
        if self._slow_calls >= SLOW_CALLS:
            if self._clock() < self._again:
                return False
            self._slow_calls -= 1
        return rows == 1 or rows * self._row_seconds <= DIRECT_SECONDS

    def took(self, rows: int, seconds: float) -> None:
        """A request of ``rows`` took ``seconds``."""
        self._row_seconds += (seconds / max(1, rows) - self._row_seconds) * ROWS_SMOOTHING
        if seconds <= DIRECT_SECONDS:
            self._slow_calls = 0
            return
        self._slow_calls += 1
        if self._slow_calls >= SLOW_CALLS:
            self._again = self._clock() + SLOW_SECONDS


class ServedModel:
    """A model of the server.

    :param load: loads it; blocks.
    """

    def __init__(
        self,
        card: ModelCard,
        load: Load,
        bounds: Bounds,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.card = card
        self.state: State = "loading"
        self.why = ""
        """What is wrong, where it is not ready."""
        self._load = load
        self._bounds = bounds
        self._clock = clock
        self._sleep = sleep
        self._limit = BatchLimit(card.batch.rows, card.batch.latency)
        self._loaded: Loaded | None = None
        self._batcher: Batcher | None = None
        self._thread: ModelThread | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._inline = card.isolation == "inline"
        self._quickness = Quickness(clock)
        self._tensors: tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]] = ((), ())
        self._failures = 0
        self._ready_since = 0.0
        self._next_try = 0.0
        self._load_seconds = 1.0

    @property
    def ready(self) -> bool:
        """Whether it answers."""
        return self.state == "ready"

    @property
    def metadata(self) -> ModelMetadata:
        """What it says of itself; the tensors are known once it was loaded."""
        platform = f"airflow-agentic_{self.card.runtime.framework}"
        return ModelMetadata(self.card.name, (self.card.version,), platform, *self._tensors)

    async def start(self) -> None:
        """Load it.

        :raises Exception: it cannot be loaded; ``state`` is ``failed`` then.
        """
        try:
            await self._open()
        except Exception as error:
            self.state, self.why = "failed", str(error)
            raise
        self._watcher = asyncio.create_task(self._watch())

    async def _open(self) -> None:
        began = self._clock()
        log.info("model %r version %r is being loaded", self.card.name, self.card.version)
        thread = ModelThread(f"model-{self.card.name}")
        held: list[Loaded] = []
        try:
            await thread.call(lambda: held.append(self._load(self.card)))
        except BaseException:  # also cancelled: what is loaded later is freed at once
            thread.end(lambda: _free(held))
            raise
        loaded = held[0]
        self._thread, self._loaded = thread, loaded
        self._inputs = Inputs(loaded)
        self._tensors = loaded.inputs, loaded.outputs
        self._batcher = Batcher(
            lambda arrays: thread.call(loaded.run, arrays), self._limit, self._bounds, clock=self._clock
        )
        self.state, self.why = "ready", ""
        self._ready_since = self._clock()
        self._load_seconds = self._ready_since - began
        log.info("model %r version %r answers, after %.1f s", self.card.name, self.card.version, self._load_seconds)

    def infer_now(self, request: InferRequest) -> InferResponse | None:
        """The answer, if this model gives it here, without waiting for anything.

        :returns: ``None`` where :meth:`infer` has to be asked.
        """
        loaded, batcher = self._loaded, self._batcher
        if not self._inline or loaded is None or batcher is None or self.state != "ready":
            return None
        rows = self._inputs.rows(request.inputs)
        if not batcher.idle or not self._quickness.allows(rows):
            return None
        began = self._clock()
        answered = loaded.run({one.name: one.array for one in request.inputs})
        self._quickness.took(rows, self._clock() - began)
        return self._response(loaded, request, answered)

    async def infer(self, request: InferRequest, until: float | None = None) -> InferResponse:
        """Answer ``request``.

        :param until: when its time is over, by the clock.
        :raises ProtocolError: it is not what the model takes.
        :raises RecordError: a record has no answer.
        :raises ModelUnavailableError: the model is not ready, its process died, too much waits, or the time is over.
        """
        loaded, batcher = self._loaded, self._batcher
        if loaded is None or batcher is None or self.state != "ready":
            raise self._unavailable()
        rows = self._inputs.rows(request.inputs)
        arrays = {one.name: one.array for one in request.inputs}
        try:
            answered = await batcher.submit(arrays, rows, request.size, until)
        except ModelUnavailableError:
            self._look()
            raise
        return self._response(loaded, request, answered)

    def _unavailable(self) -> ModelUnavailableError:
        name = f"model {self.card.name!r} version {self.card.version!r}"
        error = ModelUnavailableError(f"{name} is {self.state}" + (f": {self.why}" if self.why else ""))
        error.retry_after = max(0.0, self._next_try - self._clock()) + self._load_seconds
        return error

    def _response(self, loaded: Loaded, request: InferRequest, answered: Arrays) -> InferResponse:
        loaded.refuse(answered, request.outputs)
        if request.outputs:
            tensors = [Tensor.of(name, answered[name]) for name in _asked(request.outputs, answered)]
        else:
            tensors = [Tensor.of(name, array) for name, array in answered.items() if name not in loaded.hidden]
        return InferResponse(self.card.name, tensors, self.card.version, request.id)

    def _look(self) -> None:
        """Whether its process is gone: then it is loaded again."""
        process = self._loaded.process if self._loaded is not None else None
        if process is not None and not process.running and self.state == "ready":
            self.state = "restarting"
            self.why = "its process ended"
            self._wake.set()

    async def _watch(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCH_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            self._look()
            if self.state == "restarting":
                await self._restart()

    async def _restart(self) -> None:
        """Load it again, at once if it had answered for long, else after a pause that grows."""
        log.error("model %r: %s; it is loaded again", self.card.name, self.why)
        if self._batcher is not None:
            await self._batcher.settle(LAST_WORDS_SECONDS)
        await self._end(self._unavailable())
        self._failures = 0 if self._clock() - self._ready_since > STABLE_SECONDS else self._failures + 1
        while self.state == "restarting":
            pause = min(LAST_PAUSE, FIRST_PAUSE * 2.0 ** (self._failures - 1)) if self._failures else 0.0
            self._next_try = self._clock() + pause
            await self._sleep(pause)
            try:
                await self._open()
            except Exception as error:  # noqa: BLE001  # whatever it is, the next try may go well
                self._failures += 1
                self.why = str(error)
                log.error("model %r cannot be loaded again (%d. try): %s", self.card.name, self._failures, error)

    async def close(self) -> None:
        """Answer what waits, then free the model; nothing new is taken."""
        self.state, self.why = "unloaded", ""
        if self._batcher is not None:
            await self._batcher.close()
        await self.stop()

    async def stop(self) -> None:
        """Free the model at once; what waits fails."""
        self.state, self.why = "unloaded", ""
        if self._watcher is not None:
            self._watcher.cancel()
        await self._end(self._unavailable())

    async def _end(self, why: Exception) -> None:
        loaded, self._loaded = self._loaded, None
        batcher, self._batcher = self._batcher, None
        thread, self._thread = self._thread, None
        if batcher is not None:
            batcher.stop(why)
        if loaded is not None and thread is not None:
            if loaded.process is not None and loaded.process.busy:
                loaded.process.kill()
            thread.end(loaded.close)
            await asyncio.wait([thread.ended], timeout=END_SECONDS)


def _free(held: Sequence[Loaded]) -> None:
    for loaded in held:
        loaded.close()


def _asked(outputs: Sequence[RequestedOutput], answered: Arrays) -> list[str]:
    unknown = next((one.name for one in outputs if one.name not in answered), None)
    if unknown is not None:
        raise ProtocolError(f"outputs: the model has no output {unknown!r}, only {', '.join(answered)}")
    return [one.name for one in outputs]
