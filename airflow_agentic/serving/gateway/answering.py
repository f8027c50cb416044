"""From a request to answers: records, a place in the coordinator, a deadline, documents."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from airflow_agentic.exceptions import InputError, RecordError
from airflow_agentic.pipeline.document import answer_document
from airflow_agentic.pipeline.features import KINDS
from airflow_agentic.pipeline.records import Row, RowRules, normalise
from airflow_agentic.pipeline.uris import AllowedUris
from airflow_agentic.serving.gateway.documents import RecordFields, Refused, invalid
from airflow_agentic.serving.gateway.failures import failed
from airflow_agentic.serving.gateway.problems import FieldError

if TYPE_CHECKING:
    from airflow_agentic.serving.gateway.admission import Admission
    from airflow_agentic.serving.gateway.catalog import Served
    from airflow_agentic.serving.gateway.settings import Settings

PIECE: Final = 256
"""Records that go through the coordinator at once: between two pieces others get their turn."""
INLINE: Final = 16
"""So many records are made in the event loop; more in a thread."""

Document = dict[str, Any]


class Answering:
    """Answers records by the workflows of a catalog.

    :param admission: shared by all requests.
    :param clock: seconds; deadlines are compared with it.
    """

    def __init__(
        self, settings: Settings, admission: Admission, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.admission = admission
        self.clock = clock
        self._allowed = allowed_uris(settings.allowed_uris)
        self._seconds = settings.limits.seconds

    def until(self, served: Served, *asked: float | None) -> float:
        """When a request that begins now must be answered: the earliest that it, its workflow or the gateway says."""
        stated = [seconds for seconds in (*asked, served.workflow.spec.deadline) if seconds is not None]
        return self.clock() + min(stated, default=self._seconds)

    async def one(self, record: RecordFields, served: Served, *, task: str | None, until: float) -> Document:
        """The answer of one record.

        :raises ProblemError: it has none.
        """
        (table,) = normalise([_row(record, "record")], self._rules(served, task))
        (document,) = await self._answer(table, served, until)
        if "error" in document:
            raise failed(document, late=self.clock() >= until)
        return document

    async def many(
        self, records: Sequence[RecordFields | Refused], served: Served, *, task: str | None, until: float
    ) -> AsyncIterator[list[Document]]:
        """The answers of many records, in order and in pieces; a record without one has its ``error`` instead.

        :raises ProblemError: two records have the same id; no place was free.
        """
        rows = [_row(record, f"records[{index}]") for index, record in enumerate(records)]
        pieces = normalise(rows, self._rules(served, task), chunk_rows=PIECE)
        while (table := await _next(pieces, small=len(rows) <= INLINE)) is not None:
            yield await self._answer(table, served, until)

    async def _answer(self, table: pa.Table, served: Served, until: float) -> list[Document]:
        async with self.admission:
            answers = await served.coordinator.answer(table, deadline=max(0.0, until - self.clock()))
        return [answer_document(answer) for answer in answers.to_pylist()]

    def _rules(self, served: Served, task: str | None) -> RowRules:
        features = {name: KINDS[kind] for name, kind in served.workflow.features.items()}
        return RowRules(allowed=self._allowed, task=task, features=features)


def allowed_uris(prefixes: Sequence[str]) -> AllowedUris:
    """What requests may name.

    :raises InputError: a prefix is no URI.
    """
    try:
        return AllowedUris.under(None, prefixes)
    except RecordError as error:
        raise InputError(f"--allow-uri: {error}") from error


def _row(record: RecordFields | Refused, where: str) -> Row:
    if isinstance(record, Refused):
        named = {} if record.record_id is None else {"record_id": record.record_id}
        return Row(named, where, None, 64, str(record))
    return Row(record, where, None, 64)


async def _next(pieces: Iterator[pa.Table], *, small: bool) -> pa.Table | None:
    try:
        return next(pieces, None) if small else await asyncio.to_thread(next, pieces, None)
    except InputError as error:
        raise invalid([FieldError("/records", str(error))]) from error
