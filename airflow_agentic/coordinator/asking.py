"""A batch of records, asked of our own model server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from airflow_agentic.exceptions import DeadlineError, ModelError, RecordError, ServiceRefusedError
from airflow_agentic.openinference.client import OF_THE_RECORDS
from airflow_agentic.runtime.results import as_record_error, results, with_errors
from airflow_agentic.runtime.single import failed

if TYPE_CHECKING:
    from airflow_agentic.coordinator.codecs import Codec
    from airflow_agentic.openinference.client import ServiceClient
    from airflow_agentic.runtime.base import Arrays
    from airflow_agentic.runtime.single import Answer
    from airflow_agentic.spec.model import ModelCard

AT_ONCE: Final = 32
"""Rows that are encoded and decoded on the event loop; more go to a thread."""


class Asking:
    """How the records of one call are asked.

    :param until: when the call's time is over, on ``clock``.
    """

    def __init__(
        self, card: ModelCard, codec: Codec, client: ServiceClient, until: float | None, clock: Callable[[], float]
    ) -> None:
        self._card = card
        self._codec = codec
        self._client = client
        self._until = until
        self._clock = clock
        self._version: str | None = card.version
        self.answered_by = card
        """The card, with the version that answered last."""

    async def answer(self, records: pa.Table) -> pa.Table:
        """``tables.RESULT``, one row a record; one that the server refuses, or that has no answer, is an error row.

        :raises ModelError: the model as such cannot answer.
        """
        try:
            return await self._answer(records)
        except ServiceRefusedError as error:
            if error.status not in OF_THE_RECORDS:
                raise
            # halves of it are tried, down to one record
            return await self._apart(records, RecordError("model_error", str(error)))
        except ModelError:
            raise
        except Exception as problem:  # noqa: BLE001  # as of a local model: what an array brings about is its record's
            return await self._apart(records, problem)

    async def answer_alone(self, record: Mapping[str, Any]) -> Answer:
        """The row of :meth:`answer` to one record, both in plain values; for a codec that can."""
        codec = self._codec
        try:
            if codec.blocks:
                encoded = await asyncio.to_thread(codec.encode_alone, record)
            else:
                encoded = codec.encode_alone(record)
            return codec.decode_alone(await self._ask(encoded))
        except ServiceRefusedError as error:
            if error.status not in OF_THE_RECORDS:
                raise
            return failed(RecordError("model_error", str(error)))
        except ModelError:
            raise
        except Exception as problem:  # noqa: BLE001  # as above
            return failed(as_record_error(problem))

    async def _ask(self, encoded: Any) -> Arrays:
        """Of the card's version; of the current one where that is gone, and the service allows it."""
        request, name = self._codec.request(encoded), self._card.name
        try:
            response = await self._client.infer(name, request, version=self._version, timeout=self._left())
        except ServiceRefusedError as error:
            if error.status != 404 or self._version is None or not self._client.service.other_versions:
                raise
            self._version = None
            response = await self._client.infer(name, request, timeout=self._left())
        if self._version is None and response.model_version:
            self.answered_by = self._card.model_copy(update={"version": response.model_version})
        return {one.name: one.array for one in response.outputs}

    def _left(self) -> float | None:
        left = None if self._until is None else self._until - self._clock()
        if left is not None and left <= 0:
            raise DeadlineError(f"no time was left for {self._card.name!r}")
        return left

    async def _answer(self, records: pa.Table) -> pa.Table:
        codec, count = self._codec, records.num_rows
        elsewhere = count > AT_ONCE
        if elsewhere or codec.blocks:
            encoded, rows, errors = await asyncio.to_thread(codec.encode, records)
        else:
            encoded, rows, errors = codec.encode(records)
        if not rows:
            return with_errors(results(0), errors, count)
        arrays = await self._ask(encoded)
        if elsewhere:
            found = await asyncio.to_thread(codec.decode, arrays, encoded, rows)
        else:
            found = codec.decode(arrays, encoded, rows)
        return with_errors(found, errors, count)

    async def _apart(self, records: pa.Table, problem: Exception) -> pa.Table:
        count = records.num_rows
        if count == 1:
            return with_errors(results(0), {0: as_record_error(problem)}, 1)
        half = count // 2
        return pa.concat_tables([await self.answer(records.slice(0, half)), await self.answer(records.slice(half))])
