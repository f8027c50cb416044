"""``multipart/form-data``: files as they are, one record each.

Fields beside the files are those of a request (``task``, ``workflow``, ``mode``) and, where there is one file only, of
a record (``record_id``, ``language``, limits as numbers). A part of type ``text/plain`` is a text, every other part
with a file name is bytes. With several files a record's id is its file's name, if all differ.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from airflow_agentic.serving.gateway.documents import LIMITS, RecordFields, invalid
from airflow_agentic.serving.gateway.problems import INVALID_JSON, FieldError, ProblemError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_FIELD: Final = 64 * 1024
"""Bytes of a field that is no file."""


@dataclass(slots=True)
class _Part:
    headers: dict[str, bytes] = field(default_factory=dict)
    content: bytearray = field(default_factory=bytearray)

    @property
    def disposition(self) -> dict[bytes, bytes]:
        return parse_options_header(self.headers.get("content-disposition", b""))[1]

    @property
    def name(self) -> str:
        return self.disposition.get(b"name", b"").decode("utf-8", "replace")

    @property
    def filename(self) -> str | None:
        given = self.disposition.get(b"filename")
        return None if given is None else given.decode("utf-8", "replace")

    @property
    def is_text(self) -> bool:
        return self.headers.get("content-type", b"").partition(b";")[0].strip().lower() == b"text/plain"


def form_document(body: bytes, content_type: str, *, most: int) -> dict[str, Any]:
    """A form as the document that JSON would have been; files are ``bytes`` objects.

    :param most: files.
    :raises ProblemError: it is no form, has no file or too many, or a field is wrong.
    """
    parts = _parts(body, content_type, most + 16)
    files = [part for part in parts if part.filename is not None]
    if not files:
        raise invalid([FieldError("", "the form has no file; send one, as curl -F file=@photo.jpg does")])
    if len(files) > most:
        raise invalid([FieldError("", f"{len(files):,} files are more than the {most:,} of one request; send NDJSON")])
    document: dict[str, Any] = {}
    for part in parts:
        if part.filename is None:
            document[part.name] = _value(part)
    if len(files) == 1:
        return {**document, **_record(files[0])}
    names = [part.filename for part in files]
    ids = names if len(set(names)) == len(names) and all(names) else [None] * len(names)
    named = [{} if name is None else {"record_id": name} for name in ids]
    return {**document, "records": [{**own, **_record(part)} for own, part in zip(named, files, strict=True)]}


def _record(part: _Part) -> RecordFields:
    if not part.is_text:
        return {"bytes": bytes(part.content)}
    try:
        return {"text": part.content.decode()}
    except UnicodeDecodeError as error:
        detail = f"the file {part.filename!r} says text/plain and is no UTF-8 ({error.reason} at byte {error.start})"
        raise invalid([FieldError(f"/{part.name}", detail)]) from error


def _value(part: _Part) -> str | float:
    if len(part.content) > MAX_FIELD:
        raise invalid([FieldError(f"/{part.name}", f"a field has at most {MAX_FIELD:,} bytes; send it as a file")])
    text = part.content.decode("utf-8", "replace")
    if part.name not in LIMITS:
        return text
    try:
        return float(text)
    except ValueError:
        return text


def _parts(body: bytes, content_type: str, most: int) -> list[_Part]:
    boundary = parse_options_header(content_type.encode("latin-1"))[1].get(b"boundary", b"")
    if not 0 < len(boundary) <= 256:
        raise ProblemError(INVALID_JSON, "the form's Content-Type names no boundary; let your client write it")
    collector = _Collector(most)
    parser = MultipartParser(boundary, collector.callbacks)
    try:
        parser.write(body)
        parser.finalize()
    except MultipartParseError as error:
        raise ProblemError(INVALID_JSON, f"the body is no form, as its Content-Type says: {error}") from error
    if not collector.ended:
        raise ProblemError(INVALID_JSON, "the form is cut off before its last boundary; send it whole")
    return collector.parts


class _Collector:
    """The parser's callbacks."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.parts: list[_Part] = []
        self.ended = False
        self._name = bytearray()
        self._value = bytearray()

    @property
    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) >= self.most:
            raise invalid([FieldError("", f"the form has more than {self.most:,} parts; send NDJSON")])
        self.parts.append(_Part())

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].content += data[start:end]

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self.parts[-1].headers[self._name.decode("latin-1").lower()] = bytes(self._value)
        self._name, self._value = bytearray(), bytearray()

    def _end(self) -> None:
        self.ended = True
