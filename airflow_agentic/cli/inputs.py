"""What ``--input`` means, as batches of records.

``-`` is standard input. An existing file, folder or glob, or a URI with a scheme, is read: JSON lines, JSON, CSV,
Parquet and text files hold many records, any other file is one. Everything else is a text, unless it looks like a path.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic.exceptions import InputError
from airflow_agentic.pipeline.inputs import Input, inline_records, read_records

if TYPE_CHECKING:
    from airflow_agentic.spec.workflow import InputSpec, WorkflowSpec

MAX_PATH: Final = 1024
"""Longer arguments are text, whatever they hold."""

_SUFFIXES: Final = frozenset(
    {".jsonl", ".ndjson", ".json", ".csv", ".parquet", ".txt", ".gz", ".bz2", ".xz", ".npy", ".pdf"}
    | {".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"}
    | {".wav", ".mp3", ".flac", ".ogg", ".mp4"}
)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")


@dataclass(frozen=True, kw_only=True)
class Source:
    """What to read, and how."""

    arguments: Sequence[str]
    """The values of ``--input``; none: the workflow's own input."""
    workflow: WorkflowSpec
    task: str | None = None
    """Of records that state none."""
    limit: int | None = None
    rows: int = 1000
    """Of a batch."""
    allowed_uris: Sequence[str] = ()
    stdin: IO[bytes] | None = field(default=None, repr=False)

    def batches(self) -> Iterator[pa.Table]:
        """Tables of records of at most :attr:`rows` rows, positions counted over all of them.

        :raises InputError: an argument looks like a file and there is none, or the input cannot be read. What is wrong
            with the arguments themselves is raised before anything is read.
        """
        tables = self._own() if not self.arguments else self._given([(text, _kind(text)) for text in self.arguments])
        return _cut(self._finished(tables), self.rows)

    def _given(self, arguments: Sequence[tuple[str, str]]) -> Iterator[pa.Table]:
        texts: list[str] = []
        for value, kind in arguments:
            if kind == "text":
                texts.append(value)
                continue
            yield from self._inline(texts)
            texts = []
            yield from self._read(value, Path.cwd())
        yield from self._inline(texts)

    def _inline(self, texts: list[str]) -> Iterator[pa.Table]:
        if texts:
            declared = self.workflow.input
            yield inline_records(texts, features=declared.features if declared else None)

    def _own(self) -> Iterator[pa.Table]:
        declared = self.workflow.input
        if declared is None:
            raise InputError(f"the workflow {self.workflow.name!r} states no input; give one with --input")
        if "{" in declared.uri:
            raise InputError(f"the workflow's input {declared.uri!r} is filled in by a Dag run; give one with --input")
        return self._read(declared.uri, self.workflow.folder)

    def _read(self, uri: str, base: Path) -> Iterator[pa.Table]:
        declared: InputSpec | None = self.workflow.input
        source = Input(
            uri=uri,
            format=declared.format if declared and not self.arguments else "auto",
            base=base,
            columns=declared.columns if declared else {},
            features=declared.features if declared else {},
            limit=self.limit,
        )
        return read_records(source, stdin=self.stdin, allowed_uris=tuple(self.allowed_uris))

    def _finished(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The first :attr:`limit` records, each with a task and its place in the whole."""
        start = 0
        for table in tables:
            kept = table if self.limit is None else table.slice(0, self.limit - start)
            columns = {"position": pa.array(np.arange(start, start + len(kept), dtype=np.int64))}
            if self.task is not None:
                columns["task"] = pc.fill_null(kept.column("task"), self.task)
            for name, column in columns.items():
                index = kept.schema.get_field_index(name)
                kept = kept.set_column(index, kept.schema.field(index), column)
            yield kept
            start += len(kept)
            if start == self.limit:
                return


def _cut(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Tables of exactly ``rows`` rows, as far as neighbours are of one schema: one call answers many small inputs."""
    held: list[pa.Table] = []
    for table in tables:
        if held and not held[0].schema.equals(table.schema):
            yield pa.concat_tables(held)
            held = []
        held.append(table)
        if sum(map(len, held)) >= rows:
            whole = pa.concat_tables(held)
            full = len(whole) // rows * rows
            yield from (whole.slice(start, rows) for start in range(0, full, rows))
            held = [whole.slice(full)] if full < len(whole) else []
    if held:
        yield pa.concat_tables(held)


def _kind(value: str) -> str:
    """``read`` or ``text``.

    :raises InputError: it looks like a path and nothing is there.
    """
    if value == "-" or _SCHEME.fullmatch(value):
        return "read"
    if not value.strip():
        raise InputError("an --input is empty; give a text, a file, a folder, a glob or -")
    if len(value) > MAX_PATH or not value.isprintable():
        return "text"
    if Path(value).exists() or (glob.has_magic(value) and next(glob.iglob(value, recursive=True), None) is not None):
        return "read"
    path = PurePath(value)
    if not any(map(str.isspace, value)) and (path.suffix.lower() in _SUFFIXES or "/" in value or "\\" in value):
        raise InputError(
            f"no such file: {value!r} (relative paths start at this folder); "
            "if it is meant as text, pipe it in: echo TEXT | airflow-agentic --input -"
        )
    return "text"
