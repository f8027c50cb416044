"""One version of a model as it is served: loaded, asked, restarted when its process dies, unloaded."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Literal

from airflow_agentic.exceptions import AgenticError, ModelUnavailableError, ProtocolError
from airflow_agentic.openinference.tensors import InferResponse, ModelMetadata, Tensor
from airflow_agentic.serving.batching import Batcher, BatchLimit, Bounds
from airflow_agentic.serving.loaded import Inputs, Loaded

if TYPE_CHECKING:
    from airflow_agentic.openinference.tensors import InferRequest, RequestedOutput
    from airflow_agentic.runtime.base import Arrays
    from airflow_agentic.spec.model import ModelCard

log = logging.getLogger(__name__)

State = Literal["loading", "ready", "restarting", "failed", "unloaded"]
Load = Callable[["ModelCard"], Loaded]

WATCH_SECONDS: Final = 1.0
"""How often it is looked whether a model's process lives."""
FIRST_RESTART: Final = 0.5
"""Seconds before a model is loaded again; doubled after each time that fails."""
LAST_RESTART: Final = 60.0
DIRECT_SECONDS: Final = 0.001
"""An inline model that takes longer runs in a thread, so that it holds up no other request."""
SLOW_CALLS: Final = 5
"""So many in a row: one may be slow because the machine is busy."""


class ServedModel:
    """A model of the server.

    :param load: loads it; blocks.
    """

    def __init__(
        self, card: ModelCard, load: Load, bounds: Bounds, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.card = card
        self.state: State = "loading"
        self.why = ""
        """What is wrong, where it is not ready."""
        self._load = load
        self._bounds = bounds
        self._clock = clock
        self._loaded: Loaded | None = None
        self._batcher: Batcher | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._direct = card.isolation == "inline"
        self._slow_calls = 0

    @property
    def ready(self) -> bool:
        """Whether it answers."""
        return self.state == "ready"

    @property
    def metadata(self) -> ModelMetadata:
        """What it says of itself; the tensors are those of the model, once it is loaded."""
        loaded = self._loaded
        return ModelMetadata(
            self.card.name,
            (self.card.version,),
            f"airflow-agentic_{self.card.runtime.framework}",
            () if loaded is None else loaded.inputs,
            () if loaded is None else loaded.outputs,
        )

    async def start(self) -> None:
        """Load it.

        :raises AgenticError: it cannot be loaded; ``state`` is ``failed`` then.
        """
        try:
            await self._open()
        except AgenticError as error:
            self.state, self.why = "failed", str(error)
            raise
        self._watcher = asyncio.create_task(self._watch())

    async def _open(self) -> None:
        loaded = self._loaded = await asyncio.to_thread(self._load, self.card)
        self._inputs = Inputs(loaded)
        batch = self.card.batch
        self._batcher = Batcher(loaded.run, BatchLimit(batch.rows, batch.latency), self._bounds, clock=self._clock)
        self.state, self.why = "ready", ""

    def infer_now(self, request: InferRequest) -> InferResponse | None:
        """The answer, if this model gives it here, without waiting for anything.

        :returns: ``None`` where :meth:`infer` has to be asked.
        """
        loaded = self._loaded
        if not self._direct or loaded is None or self.state != "ready":
            return None
        self._inputs.rows(request.inputs)
        began = self._clock()
        answered = loaded.run({one.name: one.array for one in request.inputs})
        self._slow_calls = self._slow_calls + 1 if self._clock() - began > DIRECT_SECONDS else 0
        self._direct = self._slow_calls < SLOW_CALLS
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
            raise ModelUnavailableError(self._not_ready())
        rows = self._inputs.rows(request.inputs)
        arrays = {one.name: one.array for one in request.inputs}
        try:
            answered = await batcher.submit(arrays, rows, request.size, until)
        except ModelUnavailableError:
            self._look()
            raise
        return self._response(loaded, request, answered)

    def _not_ready(self) -> str:
        name = f"model {self.card.name!r} version {self.card.version!r}"
        return f"{name} is {self.state}" + (f": {self.why}" if self.why else "")

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

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self._look()
            if self.state == "restarting":
                await self._restart()

    async def _restart(self) -> None:
        pause = FIRST_RESTART
        log.error("model %r: %s; it is loaded again", self.card.name, self.why)
        self._end(ModelUnavailableError(self._not_ready()))
        while self.state != "ready":
            try:
                await self._open()
            except AgenticError as error:
                self.why = str(error)
                log.error("model %r cannot be loaded again, next try in %g s: %s", self.card.name, pause, error)
                await asyncio.sleep(pause)
                pause = min(LAST_RESTART, pause * 2)
        log.warning("model %r answers again", self.card.name)

    async def close(self) -> None:
        """Answer what waits, then free the model."""
        if self._batcher is not None:
            await self._batcher.close()
        await asyncio.to_thread(self.stop)

    def stop(self) -> None:
        """Free the model at once."""
        self.state, self.why = "unloaded", ""
        if self._watcher is not None:
            self._watcher.cancel()
        self._end(ModelUnavailableError(self._not_ready()))

    def _end(self, why: Exception) -> None:
        loaded, self._loaded = self._loaded, None
        batcher, self._batcher = self._batcher, None
        if batcher is not None:
            batcher.stop(why)
        if loaded is not None:
            loaded.close()


def _asked(outputs: Sequence[RequestedOutput], answered: Arrays) -> list[str]:
    unknown = next((one.name for one in outputs if one.name not in answered), None)
    if unknown is not None:
        raise ProtocolError(f"outputs: the model has no output {unknown!r}, only {', '.join(answered)}")
    return [one.name for one in outputs]
