"""What a workflow reads: a file, a folder, a glob, a URI or standard input, as tables of records.

Containers (JSON lines, JSON, CSV, Parquet, and a single text file) hold many records. In a folder or glob every other
file is one record: ``.txt`` as its text, anything else (an image, a recording) by its URI, unopened. Reading streams:
memory is bounded by a chunk, except for ``.json``, which is one value.

Remote files are read by fsspec with the credentials of the process; its library for the scheme must be installed.
"""

from __future__ import annotations

import itertools
import os
import sys
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Final, Literal

import pyarrow as pa

from airflow_agentic.exceptions import InputError, RecordError
from airflow_agentic.pipeline import formats
from airflow_agentic.pipeline.features import KINDS
from airflow_agentic.pipeline.files import File, Found, find, identity, lost
from airflow_agentic.pipeline.formats import Line, Place
from airflow_agentic.pipeline.records import CHUNK_BYTES, CHUNK_ROWS, FileRef, Row, RowRules, normalise, normalise_one
from airflow_agentic.pipeline.uris import AllowedUris

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from airflow_agentic.pipeline.plain import PlainRecords
    from airflow_agentic.spec.workflow import ColumnType

Format = Literal["auto", "jsonl", "json", "csv", "parquet", "text", "files"]

_SUFFIXES: Final[dict[str, Format]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".txt": "text",
}
_COMPRESSED: Final = frozenset({".gz", ".bz2", ".xz"})
_BY_LINES: Final[dict[str, Callable[[Iterable[Line], Place], Iterator[Row]]]] = {
    "jsonl": formats.read_jsonl,
    "json": formats.read_json,
    "csv": formats.read_csv,
    "text": formats.read_text,
}


@dataclass(frozen=True, kw_only=True)
class Input:
    """What to read."""

    uri: str
    """A path, glob, folder or URI; ``-`` is standard input."""
    format: Format = "auto"
    """``auto`` goes by each file's suffix (``.gz``, ``.bz2`` and ``.xz`` may follow it), on standard input by its first
    character."""
    base: Path = field(default_factory=Path.cwd)
    """Where a relative ``uri`` starts: the workflow's folder."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """The user's column → the field it means, as ``{"body": "text"}``."""
    features: Mapping[str, ColumnType] = field(default_factory=dict)
    """Feature columns that conditions use: they exist in every table, of this type."""
    limit: int | None = None
    """Read the first so many records only."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise InputError(f"the limit is {self.limit!r}; give a whole number from 1, or none")
        fields = list(self.columns.values())
        for name in fields:
            if fields.count(name) > 1:
                raise InputError(f"two columns mean the field {name!r}; see columns")


def read_records(
    source: Input, *, stdin: IO[bytes] | None = None, allowed_uris: Sequence[str] | None = ()
) -> Iterator[pa.Table]:
    """The records of ``source``, in chunks of ``tables.RECORD`` and feature columns, all of one schema.

    :param stdin: what ``-`` reads; the process's own where absent.
    :param allowed_uris: prefixes of URIs that records may name beside the input's own folder; ``None`` allows all.
    :raises InputError: no such file (at once); when read: no record at all, a file that is lost as a whole, or a record
        id that stands twice.
    :raises StoreError: a remote store failed.
    """
    features = {name: KINDS[kind] for name, kind in source.features.items()}
    hints: dict[str, pa.DataType] = dict(features)
    if source.uri == "-":
        folder = os.path.abspath(source.base)
        rows = _stdin_rows(source, stdin or sys.stdin.buffer, Place("<stdin>", folder, source.columns, hints))
    else:
        found = find(source.uri, source.base)
        folder, rows = found.folder, _file_rows(source, found, hints)
    rules = RowRules(allowed=_allowed(folder, allowed_uris), columns=source.columns, features=features, hints=hints)
    return _not_empty(normalise(itertools.islice(rows, source.limit), rules), source)


def inline_records(
    values: Sequence[object],
    *,
    task: str | None = None,
    base: Path | None = None,
    features: Mapping[str, ColumnType] | None = None,
    allowed_uris: Sequence[str] | None = (),
) -> pa.Table:
    """Values that a caller has in hand as one table: text, bytes, a :class:`~pathlib.Path`, or a row (see ``records``).

    A ``Path`` is taken as it is; a URI inside an object must be under ``base`` or in ``allowed_uris``.

    :param task: of records that name none.
    :param features: columns that exist in every case, as in :class:`Input`.
    :raises InputError: no values, or a record id that stands twice.
    """
    if not values:
        raise InputError("there are no records; give at least one")
    folder = None if base is None else os.path.abspath(base)
    rows = (_inline_row(value, index, folder) for index, value in enumerate(values))
    rules = _inline_rules(task, folder, features, allowed_uris)
    return pa.concat_tables(normalise(rows, rules, chunk_rows=max(len(values), CHUNK_ROWS), chunk_bytes=2**62))


def inline_record(
    value: object,
    *,
    task: str | None = None,
    base: Path | None = None,
    features: Mapping[str, ColumnType] | None = None,
    allowed_uris: Sequence[str] | None = (),
) -> PlainRecords:
    """What :func:`inline_records` makes of one value, in plain values; the parameters are the same."""
    folder = None if base is None else os.path.abspath(base)
    return normalise_one(_inline_row(value, 0, folder), _inline_rules(task, folder, features, allowed_uris))


def _inline_row(value: object, index: int, folder: str | None) -> Row:
    size = len(value) if isinstance(value, str | bytes) else 64
    return Row(_inline(value, folder), f"records[{index}]", folder, size)


def _inline_rules(
    task: str | None, folder: str | None, features: Mapping[str, ColumnType] | None, allowed: Sequence[str] | None
) -> RowRules:
    declared = {name: KINDS[kind] for name, kind in (features or {}).items()}
    return RowRules(allowed=_allowed(folder, allowed), task=task, features=declared)


def fingerprint(source: Input) -> list[dict[str, Any]]:
    """What identifies the input's content: ``uri``, ``size`` and ``etag`` or ``mtime`` of its files, sorted by URI.

    A file of a store that tells neither is read for its ``sha256``.

    :raises InputError: no such file, or standard input, which nobody can read twice.
    """
    if source.uri == "-":
        raise InputError("standard input cannot be read again by a later run; write it to a file and name that")
    return sorted((identity(file) for file in find(source.uri, source.base).files), key=lambda entry: str(entry["uri"]))


def _inline(value: object, folder: str | None) -> object:
    if isinstance(value, Path):
        return FileRef(os.path.abspath(value if folder is None else os.path.join(folder, value)), value.as_posix())
    return bytes(value) if isinstance(value, bytearray | memoryview) else value


def _allowed(folder: str | None, allowed: Sequence[str] | None) -> AllowedUris:
    try:
        return AllowedUris.under(folder, allowed)
    except RecordError as error:
        raise InputError(f"allowed_uris: {error}") from error


def _not_empty(chunks: Iterator[pa.Table], source: Input) -> Iterator[pa.Table]:
    first = next(chunks, None)
    if first is None:
        raise InputError(f"the input {source.uri!r} holds no record; check that it is the right one")
    yield first
    yield from chunks


def _format(source: Input, file: File, *, single: bool) -> Format:
    """How a file is read; ``files`` is as one record."""
    if source.format != "auto":
        return source.format
    name = PurePosixPath(file.path)
    suffixes = [suffix.lower() for suffix in name.suffixes]
    suffix = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] in _COMPRESSED else name.suffix.lower()
    kind = _SUFFIXES.get(suffix, "files")
    return "files" if kind == "text" and not single else kind


def _file_rows(source: Input, found: Found, hints: dict[str, pa.DataType]) -> Iterator[Row]:
    base = f"{os.path.abspath(source.base)}/"
    for file in found.files:
        place = Place(file.uri.removeprefix(base), file.uri.rpartition("/")[0] or "/", source.columns, hints)
        kind = _format(source, file, single=found.single)
        if kind == "files":
            yield _file_record(file, place)
            continue
        try:
            with file.system.open(file.path, "rb", compression=None if kind == "parquet" else "infer") as opened:
                if kind == "parquet":
                    yield from formats.read_parquet(opened, place)
                else:
                    yield from _BY_LINES[kind](formats.lines(opened), place)
        except (OSError, EOFError, zlib.error) as error:
            raise lost(file.uri, error) from error


def _file_record(file: File, place: Place) -> Row:
    if PurePosixPath(file.path).suffix.lower() != ".txt":
        return place.row(1, FileRef(file.uri, file.name), 64)
    size = int(file.info.get("size") or 0)
    if size > CHUNK_BYTES:
        return place.row(1, file.name, 64, f"the file has {size:,} bytes; a text is at most {CHUNK_BYTES:,}")
    try:
        with file.system.open(file.path, "rb") as opened:
            return place.row(1, opened.read().decode("utf-8-sig"), size)
    except (OSError, UnicodeDecodeError) as error:
        return place.row(1, file.name, 64, f"the file cannot be read as UTF-8 text ({error})")


def _stdin_rows(source: Input, stdin: IO[bytes], place: Place) -> Iterator[Row]:
    kind, lines = source.format, formats.lines(stdin)
    if kind in {"parquet", "files"}:
        raise InputError(f"standard input cannot be {kind!r}; write it to a file, or give jsonl, json, csv or text")
    if kind == "auto":
        first = next(((number, raw) for number, raw in lines if raw is None or raw.strip()), None)
        lines = itertools.chain([] if first is None else [first], lines)
        kind = "jsonl" if first is not None and (first[1] or b"").lstrip()[:1] in {b"{", b'"'} else "text"
    return _BY_LINES[kind](lines, place)
