"""Models that are served: records go to their model server, results come back.

The servers are ours (``airflow-agentic serve``). They take records (:mod:`airflow_agentic.runtime.record_tensors`), for
cards with ``input: tensor`` tensors as they are. A model's version stands in the path: no other one answers, unless
the service has ``other_versions``.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import pyarrow as pa

from airflow_agentic.coordinator.asking import Asking
from airflow_agentic.coordinator.codecs import Codec, RecordCodec, TensorCodec
from airflow_agentic.exceptions import ModelUnavailableError
from airflow_agentic.openinference.client import ServiceClient
from airflow_agentic.pipeline.plain import plain_rows
from airflow_agentic.runtime.batching import ROW, cuts, plain_prediction, predictions
from airflow_agentic.spec.service import ServiceSpec, layered
from airflow_agentic.tables import RESULT

if TYPE_CHECKING:
    from airflow_agentic.pipeline.plain import PlainRecords
    from airflow_agentic.spec.model import ModelCard

T = TypeVar("T")

URL_VARIABLE: Final = "AIRFLOW_AGENTIC_SERVICE_URL"
"""Base URLs, by comma, of a service for which neither card nor workflow names any: each ``URL``, or ``MODEL=URL`` for
one model alone."""

Connect = Callable[[ServiceSpec], ServiceClient]


def located(services: Mapping[str, ServiceSpec]) -> dict[str, ServiceSpec]:
    """Services by the model's name, outside Airflow: those without a URL get those of the environment."""
    of_all: list[str] = []
    of_one: dict[str, list[str]] = {}
    for entry in os.environ.get(URL_VARIABLE, "").split(","):
        model, equals, url = entry.strip().partition("=")
        if equals and "/" not in model:
            of_one.setdefault(model, []).append(url)
        elif model:
            of_all.append(entry.strip())
    return {name: _at(of_one.get(name, of_all), service) for name, service in services.items()}


def _at(urls: list[str], service: ServiceSpec) -> ServiceSpec:
    return layered(ServiceSpec.model_validate({"url": urls}), service) if urls else service


class ServicePool:
    """The :class:`~airflow_agentic.coordinator.pool.Pool` of models that are served.

    :param services: by the model's name.
    :param connect: makes a client; models of one service share it, its connections and what it knows of the servers.
    """

    def __init__(
        self,
        services: Mapping[str, ServiceSpec],
        *,
        connect: Connect = ServiceClient,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._services = {name: (service.model_dump_json(), service) for name, service in services.items()}
        self._connect = connect
        self._clock = clock
        self._clients: dict[str, ServiceClient] = {}
        self._codecs: dict[tuple[str, str, int], Codec] = {}
        self._under_way: dict[str, int] = {}
        self._callers: dict[asyncio.Task[object], asyncio.AbstractEventLoop] = {}
        self._killed = False

    @property
    def load(self) -> Mapping[str, int]:
        """Calls under way, by model."""
        return self._under_way

    @property
    def loaded(self) -> tuple[str, ...]:
        """All of them: loading is their servers' work."""
        return tuple(self._services)

    @property
    def killed(self) -> bool:
        """Whether :meth:`kill` was called: it answers nothing any more."""
        return self._killed

    async def predict(self, card: ModelCard, records: pa.Table, *, timeout: float | None) -> pa.Table:
        """Answer ``records`` (``tables.PREDICTION``) within ``timeout`` seconds, in requests of at most ``card.batch``.

        A record that cannot be sent, or that the server refuses, is an error row of its own.

        :raises ServiceRefusedError: no server has the model, or takes our token.
        :raises ModelUnavailableError: none answered in time.
        """
        return await self._unless_killed(card.name, self._answer(card, records, self._until(timeout)))

    async def predict_few(
        self, card: ModelCard, records: PlainRecords, *, timeout: float | None
    ) -> list[dict[str, Any]]:
        """:meth:`predict` in plain values; one record goes without Arrow."""
        return await self._unless_killed(card.name, self._answer_few(card, records, self._until(timeout)))

    async def _unless_killed(self, name: str, answering: Coroutine[Any, Any, T]) -> T:
        """``answering``, counted as a call of the model ``name``.

        :raises ModelUnavailableError: :meth:`kill` was called.
        """
        caller = asyncio.current_task()
        if self._told_to_stop() or caller is None:
            answering.close()
            raise ModelUnavailableError(f"{name!r} was not asked: whoever runs this was told to stop")
        self._under_way[name] = self._under_way.get(name, 0) + 1
        self._callers[caller] = caller.get_loop()
        try:
            return await answering
        except asyncio.CancelledError:
            if not self._told_to_stop():
                raise
            caller.uncancel()
            raise ModelUnavailableError(f"{name!r} was asked, but whoever runs this was told to stop") from None
        finally:
            del self._callers[caller]
            self._under_way[name] -= 1

    async def prepare(self, card: ModelCard) -> None:
        """Ask the servers whether one has the model, ready.

        :raises ModelUnavailableError: none has.
        """
        client = self.client(card.name)
        found = await client.health(card.name, version=card.version)
        if client.service.other_versions and not any(one.ready for one in found):
            found = await client.health(card.name)
        if not any(one.ready for one in found):
            said = "; ".join(f"{one.url}: {one.why}" for one in found)
            raise ModelUnavailableError(f"no server has {card.name!r} version {card.version!r} ready ({said})")

    def kill(self) -> None:
        """Calls under way, and all later ones, raise :class:`ModelUnavailableError`; from any thread."""
        self._killed = True
        for caller, loop in list(self._callers.items()):
            loop.call_soon_threadsafe(caller.cancel)

    async def close(self) -> None:
        """Close the connections; a later call makes new ones."""
        for client in self._clients.values():
            await client.close()

    def client(self, model: str) -> ServiceClient:
        """The client of a model's service."""
        key, service = self._services[model]
        found = self._clients.get(key)
        if found is None:
            found = self._clients[key] = self._connect(service)
        return found

    async def _answer(self, card: ModelCard, records: pa.Table, until: float | None) -> pa.Table:
        client = self.client(card.name)
        asking = Asking(card, await self._codec(card, client, until), client, until, self._clock)
        count = records.num_rows
        inputs = records.drop_columns([ROW]) if ROW in records.column_names else records
        latencies = np.empty(count)
        parts: dict[int, pa.Table] = {}
        waiting = cuts(inputs, card)

        async def work(left: Iterator[tuple[int, int]]) -> None:
            for start, stop in left:
                began = self._clock()
                parts[start] = await asking.answer(inputs.slice(start, stop - start))
                latencies[start:stop] = (self._clock() - began) * 1000.0 / (stop - start)

        await _together([work(waiting) for _ in range(min(client.capacity, max(1, -(-count // card.batch.rows))))])
        found = pa.concat_tables([parts[start] for start in sorted(parts)]) if parts else RESULT.empty_table()
        return predictions(asking.answered_by, records, found, latencies)

    async def _answer_few(self, card: ModelCard, records: PlainRecords, until: float | None) -> list[dict[str, Any]]:
        client = self.client(card.name)
        codec = await self._codec(card, client, until)
        if len(records.rows) != 1 or not codec.alone:
            return plain_rows(await self._answer(card, records.table, until))
        (record,) = records.rows
        asking = Asking(card, codec, client, until, self._clock)
        began = self._clock()
        answer = await asking.answer_alone(record)
        made = plain_prediction(asking.answered_by, answer, (self._clock() - began) * 1000.0)
        return [{"row": record["row"], "record_id": record["record_id"], **made}]

    def _until(self, timeout: float | None) -> float | None:
        return None if timeout is None else self._clock() + timeout

    def _told_to_stop(self) -> bool:
        return self._killed

    async def _codec(self, card: ModelCard, client: ServiceClient, until: float | None) -> Codec:
        key = (card.name, card.version, card.output.top_k)
        if key not in self._codecs:
            self._codecs[key] = await self._new_codec(card, client, until)
        return self._codecs[key]

    async def _new_codec(self, card: ModelCard, client: ServiceClient, until: float | None) -> Codec:
        if card.input != "tensor":
            return RecordCodec(card)
        left = None if until is None else until - self._clock()
        version = None if client.service.other_versions else card.version
        metadata = await client.metadata(card.name, version=version, timeout=left)
        return await asyncio.to_thread(TensorCodec, card, metadata)


async def _together(workers: list[Coroutine[Any, Any, None]]) -> None:
    """Run all; the first error ends the others and is raised as it is."""
    tasks = [asyncio.ensure_future(worker) for worker in workers]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
