"""The formats an input can have: an open file as rows, one at a time.

A reader never raises for one bad line: it yields a row that says what is wrong. It raises :class:`InputError` where the
rest of the file is lost with it (a truncated archive, a Parquet file without its footer).
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airflow_agentic.exceptions import InputError
from airflow_agentic.pipeline.records import CHUNK_BYTES, CHUNK_ROWS, MAX_INPUT, TEXT_FIELDS, Row, too_large

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

MAX_LINE: Final = MAX_INPUT
MAX_JSON: Final = 256 * 2**20
CSV_SAMPLE: Final = 1000
"""Rows that decide what type a CSV column has; fewer where they hold more than ``CHUNK_BYTES``."""

_BOM: Final = b"\xef\xbb\xbf"
_INTEGER: Final = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,17})")  # 007 is a code, not a number; 18 digits fit 64 bits
_NUMBER: Final = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_MISSING: Final = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "NULL"})

Line = tuple[int, bytes | None]
"""Its number, from 1, and its bytes with the line's end; ``None`` where it is longer than ``MAX_LINE``."""


class Place:
    """Where the rows of one file come from, and what it states about their columns."""

    def __init__(
        self, name: str, folder: str | None, columns: Mapping[str, str], hints: dict[str, pa.DataType]
    ) -> None:
        self.name = name
        self.folder = folder
        self._columns = columns
        self._hints = hints

    def row(self, number: int, value: object, size: int, error: str | None = None) -> Row:
        """A row of this file."""
        return Row(value, f"{self.name}:{number}", self.folder, size, error)

    def field(self, column: str) -> str:
        """The field a column of the file means."""
        return self._columns.get(column, column)

    def decide(self, column: str, kind: pa.DataType | None) -> pa.DataType | None:
        """The type of a column: as declared, else as the first file has it that knows, else ``kind``."""
        if kind is None:
            return self._hints.get(self.field(column))
        return self._hints.setdefault(self.field(column), kind)


def lines(file: IO[bytes]) -> Iterator[Line]:
    """The lines of a file, without a byte order mark; memory is bounded by ``MAX_LINE``."""
    for number in itertools.count(1):
        raw: bytes | None = file.readline(MAX_LINE + 1)
        if not raw:
            return
        if len(raw) > MAX_LINE:
            while raw and not raw.endswith(b"\n"):
                raw = file.readline(MAX_LINE)
            raw = None
        elif number == 1:
            raw = raw.removeprefix(_BOM)
        yield number, raw


def read_jsonl(source: Iterable[Line], place: Place) -> Iterator[Row]:
    """One JSON value a line; blank lines are none."""
    for number, raw in source:
        if raw is None:
            yield place.row(number, "", 0, f"the line is longer than {MAX_LINE:,} bytes; name large inputs by uri")
        elif content := raw.strip():
            try:
                yield place.row(number, parse_json(content), len(raw))
            except ValueError as error:
                yield place.row(number, content, len(raw), str(error))


def read_text(source: Iterable[Line], place: Place) -> Iterator[Row]:
    """One record a line, without its end; blank lines are none."""
    for number, raw in source:
        if raw is None:
            yield place.row(number, "", 0, f"the line is longer than {MAX_LINE:,} bytes; name large inputs by uri")
        elif raw.strip():
            try:
                yield place.row(number, raw.rstrip(b"\r\n").decode(), len(raw))
            except UnicodeDecodeError as error:
                yield place.row(number, raw, len(raw), _not_utf8(error))


def read_json(source: Iterable[Line], place: Place) -> Iterator[Row]:
    """A whole file: one list of rows, or one row.

    :raises InputError: not JSON, or longer than ``MAX_JSON``.
    """
    parts: list[bytes] = []
    size = 0
    for _, raw in source:
        size += MAX_JSON if raw is None else len(raw)
        if size > MAX_JSON:
            raise InputError(f"{place.name} is longer than {MAX_JSON:,} bytes of JSON; write it as JSON lines (.jsonl)")
        parts.append(raw or b"")
    try:
        value = parse_json(b"".join(parts))
    except ValueError as error:
        raise InputError(f"{place.name}: {error}") from error
    items = value if isinstance(value, list) else [value]
    for number, item in enumerate(items, 1):
        yield place.row(number, item, size // max(len(items), 1))


def parse_json(raw: bytes) -> Any:
    """JSON as the standard has it.

    :raises ValueError: it is not, and says where.
    """
    try:
        return _JSON.decode(raw.decode())
    except UnicodeDecodeError as error:
        raise ValueError(_not_utf8(error)) from error
    except json.JSONDecodeError as error:
        at = f"line {error.lineno} column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise ValueError(f"not valid JSON: {error.msg} at {at}") from error
    except RecursionError as error:
        raise ValueError("not usable JSON: it is nested too deeply") from error
    except ValueError as error:
        if "integer string conversion" in str(error):
            raise ValueError("not usable JSON: it holds a number of thousands of digits; give it as text") from error
        raise


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"not valid JSON: {name} is no JSON number; write null")


_JSON: Final = json.JSONDecoder(parse_constant=_refuse_constant)


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"not UTF-8 (byte {error.start}); convert the file to UTF-8"


def read_csv(source: Iterable[Line], place: Place) -> Iterator[Row]:
    """Comma-separated values with a header, quoted as RFC 4180 has it; an empty field is null.

    The first ``CSV_SAMPLE`` rows say which columns are numbers or true/false; a later value that is not is an error of
    its row. ``id``, ``text`` and the like are always text.

    :raises InputError: a header with a column that is empty or doubled.
    """
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))
    reader = csv.reader((_decoded(raw) for _, raw in source), strict=True)
    try:
        header = next(reader, None)
    except csv.Error as error:
        raise InputError(f"{place.name}:1: the header is not CSV ({error})") from error
    if header is None:
        return
    _check_header(header, place)
    parsed = _csv_rows(reader, header)
    sample = _sample(parsed)
    kinds = {
        name: pa.string()
        if place.field(name) in TEXT_FIELDS
        else _csv_kind(values[index] for _, values, problem in sample if problem is None)
        for index, name in enumerate(header)
    }
    kinds = {name: place.decide(name, kind) for name, kind in kinds.items()}
    for number, values, problem in itertools.chain(sample, parsed):
        value, misfit = _typed(values, kinds) if problem is None else (values, problem)
        yield place.row(number, value, sum(map(len, values)), misfit)


def _decoded(raw: bytes | None) -> str:
    return "\udc80\n" if raw is None else raw.decode("utf-8", "surrogateescape")


def _check_header(header: list[str], place: Place) -> None:
    seen: set[str] = set()
    for index, name in enumerate(header):
        if not name.strip() or name in seen:
            problem = "has no name" if not name.strip() else f"is the second {name!r}"
            raise InputError(f"{place.name}:1: column {index + 1} of the header {problem}; give each its own name")
        seen.add(name)


def _sample(parsed: Iterator[tuple[int, list[str], str | None]]) -> list[tuple[int, list[str], str | None]]:
    """The first rows, held together until the columns' types are decided."""
    sample = []
    size = 0
    for row in itertools.islice(parsed, CSV_SAMPLE):
        sample.append(row)
        size += sum(map(len, row[1]))
        if size > CHUNK_BYTES:
            break
    return sample


def _csv_rows(reader: Any, header: list[str]) -> Iterator[tuple[int, list[str], str | None]]:
    """Line, fields and what is wrong with them."""
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num, [], f"not CSV: {error}"
            continue
        if not values:
            continue
        problem = None
        if len(values) != len(header):
            problem = f"the row has {len(values)} fields and the header {len(header)}"
        elif any("\udc80" <= character <= "\udcff" for value in values if not value.isascii() for character in value):
            problem = f"not UTF-8 (or a line longer than {MAX_LINE:,} bytes); convert the file to UTF-8"
        yield reader.line_num, values, problem


def _csv_kind(values: Iterable[str]) -> pa.DataType | None:
    """The type of a column; ``None`` where it is empty throughout."""
    present = {value for value in values if value not in _MISSING}
    if not present:
        return None
    if all(value.lower() in {"true", "false"} for value in present):
        return pa.bool_()
    if all(_INTEGER.fullmatch(value) for value in present):
        return pa.int64()
    return pa.float64() if all(_NUMBER.fullmatch(value) for value in present) else pa.string()


def _typed(values: list[str], kinds: Mapping[str, pa.DataType | None]) -> tuple[dict[str, object], str | None]:
    row: dict[str, object] = {}
    for (name, kind), value in zip(kinds.items(), values, strict=True):
        if value == "" or (value in _MISSING and kind not in {pa.string(), None}):
            row[name] = None
        elif kind == pa.bool_() and value.lower() in {"true", "false"}:
            row[name] = value.lower() == "true"
        elif kind == pa.int64() and _INTEGER.fullmatch(value):
            row[name] = int(value)
        elif kind == pa.float64() and _NUMBER.fullmatch(value):
            row[name] = float(value)
        elif kind in {pa.string(), None}:
            row[name] = value
        else:
            return row, f"the column {name!r} is {kind} in the first rows (or declared so) and holds {value!r} here"
    return row, None


def read_parquet(file: IO[bytes], place: Place) -> Iterator[Row]:
    """The rows of a Parquet file; rows are numbered from 1.

    :raises InputError: not a Parquet file, or damaged.
    """
    number = 0
    try:
        header = pq.ParquetFile(file)
        for column in header.schema_arrow:
            place.decide(column.name, _feature_kind(column.type))
        size = sum(header.metadata.row_group(index).total_byte_size for index in range(header.num_row_groups))
        row_size = size // max(header.metadata.num_rows, 1) + 1
        texts = [column.name for column in header.schema_arrow if _is_text(column.type)]
        parquet = pq.ParquetFile(file, metadata=header.metadata, read_dictionary=texts)
        for batch in parquet.iter_batches(batch_size=max(1, min(CHUNK_ROWS, CHUNK_BYTES // row_size))):
            held = [_sizes(column) for column in batch.columns]
            sizes = np.maximum(sum(held, np.zeros(batch.num_rows, np.int64)), row_size)
            for start, stop in _cuts(sizes):
                part, problem = batch.slice(start, stop - start), None
                if stop - start == 1 and (size := sum(int(one[start]) for one in held)) > MAX_INPUT:
                    small = [place for place, one in enumerate(held) if one[start] <= MAX_INPUT // len(held)]
                    part, problem = part.select(small), too_large(size)
                for value, bytes_ in zip(_plain(_spread(part)).to_pylist(), sizes[start:stop].tolist(), strict=True):
                    number += 1
                    yield place.row(number, value, bytes_, problem)
    except pa.ArrowException as error:
        raise InputError(f"{place.name} cannot be read as Parquet ({error}); write the file anew") from error


def _is_text(kind: pa.DataType) -> bool:
    """Text and bytes are read as dictionaries: a large value that many rows share is held once, as in the file."""
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(test(kind) for test in tests)


def _sizes(column: pa.Array) -> npt.NDArray[np.int64]:
    """The bytes of each value once it is spread out; of one that can only be small, 8."""
    kind, types = column.type, pa.types
    if types.is_dictionary(kind) and _is_text(kind.value_type):
        return np.asarray(pc.fill_null(pc.binary_length(column.dictionary).take(column.indices), 0), np.int64)
    if _is_text(kind):
        return np.asarray(pc.fill_null(pc.binary_length(column), 0), np.int64)
    if types.is_struct(kind):
        return sum((_sizes(field) for field in column.flatten()), np.zeros(len(column), np.int64))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0), np.int64)
        if not types.is_nested(kind.value_type) and not _is_text(kind.value_type):
            return lengths * 8
        stops = np.cumsum(lengths)
        ends = np.cumsum(np.concatenate([[0], _sizes(column.flatten())]))[np.concatenate([[0], stops])]
        sizes: npt.NDArray[np.int64] = np.diff(ends)
        return sizes
    return np.full(len(column), 8, np.int64)


def _cuts(sizes: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Where to cut, so that no part holds more than ``CHUNK_BYTES`` but for a row that does so alone."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = ends[start] - sizes[start]
        stop = max(start + 1, int(np.searchsorted(ends, before + CHUNK_BYTES, side="right")))
        yield start, stop
        start = stop


def _spread(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Dictionaries as plain columns, which Python reads faster."""
    columns = [one.dictionary_decode() if pa.types.is_dictionary(one.type) else one for one in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Dates and times as ISO text, decimals as doubles: Python's own types hold less of them than Arrow's."""
    casts: list[tuple[Callable[[pa.DataType], bool], pa.DataType]] = [
        (pa.types.is_temporal, pa.string()),
        (pa.types.is_decimal, pa.float64()),
    ]
    columns = [
        next((pc.cast(column, to) for matches, to in casts if matches(column.type)), column) for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _feature_kind(kind: pa.DataType) -> pa.DataType | None:
    types = pa.types
    if types.is_dictionary(kind):
        return _feature_kind(kind.value_type)
    if types.is_boolean(kind):
        return pa.bool_()
    if types.is_integer(kind):
        return pa.int64()
    if types.is_floating(kind) or types.is_decimal(kind):
        return pa.float64()
    if types.is_string(kind) or types.is_large_string(kind) or types.is_temporal(kind):
        return pa.string()
    return None
