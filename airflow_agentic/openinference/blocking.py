"""The client for callers without an event loop: its loop runs in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_agentic.openinference.client import ServiceClient

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from airflow_agentic.openinference.tensors import InferRequest, InferResponse, ModelMetadata
    from airflow_agentic.spec.service import ServiceSpec

T = TypeVar("T")


class BlockingClient:
    """As :class:`~airflow_agentic.openinference.client.ServiceClient`; for any thread, not for a forked process."""

    def __init__(self, service: ServiceSpec) -> None:
        self._client = ServiceClient(service)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="open-inference", daemon=True)
        self._thread.start()

    def infer(self, model: str, request: InferRequest, *, version: str | None = None) -> InferResponse:
        """See the asynchronous client."""
        return self._run(self._client.infer(model, request, version=version))

    def metadata(self, model: str, *, version: str | None = None) -> ModelMetadata:
        """See the asynchronous client."""
        return self._run(self._client.metadata(model, version=version))

    def close(self) -> None:
        """Close the connections, and end the thread."""
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, asked: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result()
