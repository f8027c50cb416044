"""NDJSON in, NDJSON out: records of any number, answered as they come, in their order.

A line is a record (an object, or a text that is its input), and so is every line of the answer: an answer document with
its ``line``. A line that is no record is answered with an ``error``; so is one that no model can answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from airflow_agentic import tables
from airflow_agentic.pipeline.records import Row
from airflow_agentic.serving.gateway.answering import PIECE, Answering, row_of
from airflow_agentic.serving.gateway.documents import Refused, invalid, parse_record
from airflow_agentic.serving.gateway.lines import Lines, Outbox
from airflow_agentic.serving.gateway.problems import OVERLOADED, FieldError, ProblemError

if TYPE_CHECKING:
    from airflow_agentic.serving.access import Client
    from airflow_agentic.serving.gateway.catalog import Served
    from airflow_agentic.serving.gateway.door import Door
    from airflow_agentic.serving.gateway.exchange import Exchange
    from airflow_agentic.serving.gateway.settings import Limits

MEDIA_TYPE: Final = "application/x-ndjson"
MEDIA_TYPES: Final = frozenset({MEDIA_TYPE, "application/ndjson", "application/jsonl", "application/jsonlines"})

Line = tuple[int, bytes | None]


class Streams:
    """Answers streams of records.

    :param limits: how many streams at once, and what each may take.
    """

    def __init__(self, answering: Answering, door: Door, limits: Limits) -> None:
        self.answering = answering
        self.door = door
        self.limits = limits
        self.running = 0

    async def answer(
        self, exchange: Exchange, client: Client, served: Served, *, task: str | None, timeout: float | None
    ) -> None:
        """Answer the lines of a request.

        :param timeout: seconds for the whole stream; without it each part has the time of a request.
        :raises ProblemError: before the first answer: too many streams, no line, no place. Later it is the last line.
        """
        if self.running >= self.limits.streams:
            detail = f"{self.running} streams are being answered, which is the most; try again later"
            raise ProblemError(OVERLOADED, detail, retry_after=1, headers=[("connection", "close")])
        self.running += 1
        outbox: Outbox | None = None
        try:
            lines = Lines(exchange.receive, self.limits.line_bytes, self.limits.body_seconds)
            start = 0
            async for part in lines.parts(PIECE):
                until = self.answering.until(served, timeout if timeout is None else timeout - exchange.seconds)
                with self.door.admitted(client, records=len(part)):
                    answers = await self._answers(part, served, task=task, until=until, start=start)
                start += len(part)
                if outbox is None:
                    await exchange.start(200, MEDIA_TYPE)
                    outbox = Outbox(exchange.send, seconds=self.limits.body_seconds)
                await outbox.put(answers)
            if outbox is None:
                raise invalid([FieldError("", "the body holds no line; send one record a line")])
            await outbox.end()
        except ProblemError as error:
            if outbox is None:
                raise
            await outbox.put(orjson.dumps(error.document(exchange.request_id)) + b"\n")
            await outbox.end()
        finally:
            self.running -= 1
            if outbox is not None:
                await outbox.drop()
        await exchange.send({"type": "http.response.body", "body": b""})
        exchange.logged(200)

    async def _answers(
        self, part: Sequence[Line], served: Served, *, task: str | None, until: float, start: int
    ) -> bytes:
        said = []
        place = start
        for group in _groups([_row(number, content, self.limits.line_bytes) for number, content in part]):
            try:
                said += await self.answering.piece(group, served, task=task, until=until, start=place)
            except ProblemError as error:
                if place == 0:
                    raise
                said += [_lost(row, error) for row in group]
            place += len(group)
        return b"".join(
            orjson.dumps({"line": number, **document}) + b"\n" for (number, _), document in zip(part, said, strict=True)
        )


def _row(number: int, content: bytes | None, most: int) -> Row:
    where = f"line {number}"
    if content is None:
        return row_of(_refused(f"the line has more than {most:,} bytes; send it in a request of its own"), where)
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        return row_of(_refused(f"the line is no JSON: {error.msg} at column {error.colno}"), where)
    return row_of(parse_record(value, ""), where)


def _refused(why: str) -> Refused:
    return Refused(record_id=None, errors=(FieldError("", why),))


def _groups(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows in order, cut before an id that stands there already: in a stream an id may come again."""
    group: list[Row] = []
    seen: set[object] = set()
    for row in rows:
        given = row.value.get("record_id") if isinstance(row.value, Mapping) else None
        if given is not None and given in seen:
            yield group
            group, seen = [], set()
        group.append(row)
        seen.add(given)
    if group:
        yield group


def _lost(row: Row, error: ProblemError) -> dict[str, Any]:
    """The answer to a line that was not let in."""
    given = row.value.get("record_id") if isinstance(row.value, Mapping) else None
    said = tables.error(error.kind.name, error.detail, retryable=error.retry_after is not None)
    return {"record_id": given, "error": said}
