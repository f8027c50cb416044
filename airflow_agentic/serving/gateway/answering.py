"""From records to answers: what they name is read, a place in the coordinator, a deadline, documents."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import pyarrow as pa

from airflow_agentic import tables
from airflow_agentic.exceptions import InputError, RecordError
from airflow_agentic.pipeline.document import answer_document
from airflow_agentic.pipeline.features import KINDS
from airflow_agentic.pipeline.identity import derive
from airflow_agentic.pipeline.records import Row, RowRules, normalise, normalise_one
from airflow_agentic.pipeline.uris import AllowedUris
from airflow_agentic.plan.columns import RECORD_COLUMNS
from airflow_agentic.serving.gateway.documents import PredictRequest, RecordFields, Refused, invalid
from airflow_agentic.serving.gateway.failures import failed
from airflow_agentic.serving.gateway.problems import FieldError
from airflow_agentic.serving.gateway.uris import Held, UriReader

if TYPE_CHECKING:
    from airflow_agentic.serving.gateway.admission import Admissions
    from airflow_agentic.serving.gateway.catalog import Served
    from airflow_agentic.serving.gateway.settings import Settings

PIECE: Final = 256
"""Records that go through the coordinator at once: between two pieces others get their turn."""
INLINE: Final = 16
"""So many records are made in the event loop; more in a thread."""
POSITION: Final = tables.RECORD.get_field_index("position")
NO_URIS: Final = AllowedUris(())
"""What a request names is read before its records are made."""

Document = dict[str, Any]


class Terms(NamedTuple):
    """On which terms a request is answered."""

    task: str | None
    """Of the records that name none."""
    until: float
    """When it must be answered, by the clock."""
    patient: bool = False
    """Whether it waits for its turn also under overload."""


class Answering:
    """Answers records by the workflows of a catalog.

    :param admissions: shared by all requests.
    :param clock: seconds; deadlines are compared with it.
    :raises InputError: an allowed prefix is no URI.
    """

    def __init__(
        self, settings: Settings, admissions: Admissions, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        limits = settings.limits
        self.admissions = admissions
        self.clock = clock
        self._uris = UriReader(settings.allowed_uris, most=limits.body_bytes, seconds=limits.uri_seconds)
        self._together = limits.body_bytes
        self._seconds = limits.seconds

    def until(self, served: Served, *asked: float | None) -> float:
        """When a request that begins now must be answered: the earliest that it, its workflow or the gateway says."""
        stated = [seconds for seconds in (*asked, served.workflow.spec.deadline) if seconds is not None]
        return self.clock() + min(stated, default=self._seconds)

    async def one(self, record: RecordFields, served: Served, terms: Terms) -> Document:
        """The answer of one record.

        :raises ProblemError: it has none.
        """
        row = Row(record, "record", None, 64)
        if "uri" in record:
            row = await self._loaded(row, 0, Held(self._together))
        made = normalise_one(row, self._rules(served, terms.task))
        admission = self.admissions.of(served.name)
        await admission.enter(seconds=terms.until - self.clock(), patient=terms.patient)
        began = admission.clock()
        try:
            (answer,) = await served.coordinator.answer_few(made, deadline=max(0.0, terms.until - self.clock()))
        finally:
            admission.leave()
        document = answer_document(answer)
        if "error" in document:
            raise failed(document, late=self.clock() >= terms.until)
        admission.answered(began)
        return document

    async def many(self, records: Sequence[RecordFields | Refused], served: Served, terms: Terms) -> list[Document]:
        """The answers of many records, in order; a record without one has its ``error`` instead.

        :raises ProblemError: two records have the same id; no place was free.
        """
        rows = [row_of(record, f"records[{position}]") for position, record in enumerate(records)]
        await self._load(rows)
        pieces = normalise(rows, self._rules(served, terms.task), chunk_rows=PIECE)
        answers: list[Document] = []
        while (table := await _next(pieces, small=len(rows) <= INLINE)) is not None:
            answers += await self._answer(table, served, terms.until, patient=terms.patient or bool(answers))
        return answers

    async def prepared(
        self, records: Sequence[RecordFields | Refused], served: Served, terms: Terms
    ) -> tuple[list[Document], set[str]]:
        """The answers of records that are preprocessed, as rows of ``tables.ANSWER``; and the models that were lost.

        :raises ProblemError: as :meth:`many`.
        """
        rows = [row_of(_unplaced(record), f"records[{index}]") for index, record in enumerate(records)]
        await self._load(rows)
        columns = served.coordinator.plan.columns.items() - RECORD_COLUMNS.items()
        features = {name.removeprefix("record."): KINDS[kind] for name, kind in sorted(columns)}
        rules = RowRules(allowed=NO_URIS, task=terms.task, features=features)
        whole = await _next(normalise(rows, rules, chunk_rows=len(rows), chunk_bytes=sys.maxsize), small=False)
        places = [
            index if isinstance(one, Refused) else one.get("position", index) for index, one in enumerate(records)
        ]
        table = cast("pa.Table", whole).set_column(
            POSITION, tables.RECORD.field(POSITION), pa.array(places, pa.int64())
        )
        answers: list[Document] = []
        lost: set[str] = set()
        admission = self.admissions.of(served.name)
        for start in range(0, len(table), PIECE):
            await admission.enter(seconds=terms.until - self.clock(), patient=terms.patient or start > 0)
            try:
                left = max(0.0, terms.until - self.clock())
                found, missing = await served.coordinator.answer_prepared(table.slice(start, PIECE), deadline=left)
            finally:
                admission.leave()
            answers += found.to_pylist()
            lost |= missing
        return answers, lost

    async def piece(
        self, rows: list[Row], served: Served, *, task: str | None, until: float, start: int
    ) -> list[Document]:
        """The answers of a part of a stream, no two rows with one id.

        :param start: how many rows came before; a stream that has begun waits for its place.
        """
        await self._load(rows)
        pieces = normalise(rows, self._rules(served, task), chunk_rows=PIECE, start=start)
        (table,) = pieces
        return await self._answer(table, served, until, patient=start > 0)

    def check_uris(self, request: PredictRequest) -> None:
        """Look at what a request names that others will read.

        :raises ProblemError: it may not be named here.
        """
        wrong = []
        for position, record in enumerate(request.records):
            if not isinstance(record, Refused) and "uri" in record:
                try:
                    self._uris.check(record["uri"])
                except RecordError as error:
                    wrong.append(FieldError("/uri" if request.single else f"/records/{position}/uri", str(error)))
        if wrong:
            raise invalid(wrong)

    async def close(self) -> None:
        """End its connections."""
        await self._uris.close()

    async def _answer(self, table: pa.Table, served: Served, until: float, *, patient: bool = False) -> list[Document]:
        admission = self.admissions.of(served.name)
        await admission.enter(seconds=until - self.clock(), patient=patient)
        try:
            answers = await served.coordinator.answer(table, deadline=max(0.0, until - self.clock()))
        finally:
            admission.leave()
        return [answer_document(answer) for answer in answers.to_pylist()]

    async def _load(self, rows: list[Row]) -> None:
        """Read what the rows name by URI, into the rows."""
        named = [position for position, row in enumerate(rows) if row.error is None and "uri" in cast("Any", row.value)]
        if named:
            held = Held(self._together)
            loaded = await asyncio.gather(*(self._loaded(rows[position], position, held) for position in named))
            for position, row in zip(named, loaded, strict=True):
                rows[position] = row

    async def _loaded(self, row: Row, position: int, held: Held) -> Row:
        """The row with the bytes that its URI names; its id is that of the URI, as in a batch."""
        record = cast("Mapping[str, Any]", row.value)
        uri = record["uri"]
        rest = {name: value for name, value in record.items() if name != "uri"}
        rest.setdefault("record_id", derive(b"uri\x00" + uri.encode(), position))
        try:
            content = held.add(await self._uris.read(self._uris.check(uri)))
        except RecordError as error:
            return row._replace(value=rest, error=error)
        return row._replace(value={**rest, "bytes": content}, size=len(content))

    def _rules(self, served: Served, task: str | None) -> RowRules:
        features = {name: KINDS[kind] for name, kind in served.workflow.features.items()}
        return RowRules(allowed=NO_URIS, task=task, features=features)


def row_of(record: RecordFields | Refused, where: str) -> Row:
    """A record as a row of the core.

    :param where: what messages call it.
    """
    if not isinstance(record, Refused):
        return Row(record, where, None, 64)
    return Row({} if record.record_id is None else {"record_id": record.record_id}, where, None, 64, str(record))


def _unplaced(record: RecordFields | Refused) -> RecordFields | Refused:
    """A prepared record without its position, which no row of an input states."""
    if isinstance(record, Refused):
        return record
    return {name: value for name, value in record.items() if name != "position"}


async def _next(pieces: Iterator[pa.Table], *, small: bool) -> pa.Table | None:
    try:
        return next(pieces, None) if small else await asyncio.to_thread(next, pieces, None)
    except InputError as error:
        raise invalid([FieldError("/records", str(error))]) from error
