"""Where a run's answers go: the screen, JSON lines on stdout, or a file."""

from __future__ import annotations

import fcntl
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from airflow_agentic.cli.render import HEADINGS, Line, Lines, aligned
from airflow_agentic.exceptions import InputError
from airflow_agentic.pipeline.document import answer_document

if TYPE_CHECKING:
    from io import BufferedRandom

    import pyarrow as pa

    from airflow_agentic.plan import Plan

FEW: Final = 8
"""Up to so many answers are lines, more are a table."""
SHOWN: Final = 25
"""A terminal shows so many; a pipe all of them."""


class Sink(Protocol):
    """Takes the answers, batch by batch."""

    def write(self, records: pa.Table, answers: pa.Table) -> None:
        """Take a batch."""

    def close(self, *, complete: bool) -> None:
        """The end; ``complete`` is false after an error or Ctrl-C."""


class JsonLines:
    """One JSON object a line, on stdout."""

    def write(self, records: pa.Table, answers: pa.Table) -> None:
        """See :class:`Sink`."""
        del records
        sys.stdout.writelines(_json_lines(answers))
        sys.stdout.flush()

    def close(self, *, complete: bool) -> None:
        """See :class:`Sink`."""


class Screen:
    """Lines on stdout; on a terminal the first :data:`SHOWN`, as a table where they are many."""

    def __init__(self, plan: Plan) -> None:
        from rich.console import Console

        self._lines = Lines(plan)
        self._console = Console(file=sys.stdout, highlight=False)
        self._held: list[Line] = []
        self._more = 0

    def write(self, records: pa.Table, answers: pa.Table) -> None:
        """See :class:`Sink`."""
        if not self._console.is_terminal:
            self._print(list(self._lines.of(records, answers)))
            return
        free = max(0, SHOWN - len(self._held))
        self._held += self._lines.of(records.slice(0, free), answers.slice(0, free))
        self._more += max(0, len(answers) - free)

    def close(self, *, complete: bool) -> None:
        """See :class:`Sink`."""
        if len(self._held) <= FEW:
            self._print(self._held)
            return
        self._table()
        if self._more:
            self._console.print(f"… and {self._more:,} more: see all with --output FILE or --json", style="dim")

    def _print(self, lines: list[Line]) -> None:
        from rich.text import Text

        for line, text in zip(lines, aligned(lines), strict=True):
            self._console.print(Text(text, style="red" if line.failed else ""), soft_wrap=True)

    def _table(self) -> None:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        shown = [index for index in range(len(HEADINGS)) if any(line[index] for line in self._held)]
        for index in shown:
            name = HEADINGS[index]
            number = name in {"score", "time"}
            shrinks = name in {"record", "why"}  # where the terminal is too narrow
            table.add_column(name, justify="right" if number else "left", no_wrap=not shrinks)
        for line in self._held:
            cells = (Text(line[index], no_wrap=True, overflow="ellipsis") for index in shown)
            table.add_row(*cells, style="red" if line.failed else "")
        self._console.print(table)


class JsonLinesFile:
    """A file of JSON lines; it appears when it is complete."""

    def __init__(self, path: Path) -> None:
        self._part = _Part(path)
        self._file = io.TextIOWrapper(self._part.file, encoding="utf-8")

    def write(self, records: pa.Table, answers: pa.Table) -> None:
        """See :class:`Sink`."""
        del records
        with _writing(self._part.path):
            self._file.writelines(_json_lines(answers))

    def close(self, *, complete: bool) -> None:
        """See :class:`Sink`."""
        self._part.close(self._file.flush, complete=complete)


class ParquetFile:
    """A Parquet file of ``tables.ANSWER``; it appears when it is complete."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        from airflow_agentic.tables import ANSWER

        self._part = _Part(path)
        self._writer: Any = pq.ParquetWriter(self._part.file, ANSWER, compression="zstd")

    def write(self, records: pa.Table, answers: pa.Table) -> None:
        """See :class:`Sink`."""
        del records
        with _writing(self._part.path):
            self._writer.write_table(answers)

    def close(self, *, complete: bool) -> None:
        """See :class:`Sink`."""
        self._part.close(self._writer.close, complete=complete)


class _Part:
    """What is written of a file that is not complete: ``.NAME.part`` beside it, locked by its writer.

    A killed run leaves it, and its lock ends with it: the next run takes it over, so that none pile up.

    :raises InputError: another run holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._place = path, path.with_name(f".{path.name}.part")
        while (file := self._locked()) is None:
            pass
        file.truncate()
        self.file = file

    def close(self, finish: Callable[[], object], *, complete: bool) -> None:
        """Give it its name, or remove it; only then let go of the lock.

        :param finish: writes what is still held back. Where an error came before, that of writing is not raised, too.
        """
        named = False
        try:
            with _writing(self.path):
                finish()
                self.file.flush()
                if complete:
                    self._place.replace(self.path)
                    named = True
        except InputError:
            if complete:
                raise
        finally:
            if not named:
                self._place.unlink()
            with suppress(OSError):  # there is still no room for what it holds back
                self.file.close()

    def _locked(self) -> BufferedRandom | None:
        """The file, ours alone; ``None`` where its writer was just finishing: it has another name by now."""
        file = os.fdopen(os.open(self._place, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), self._place.stat()):
                return file
        except BlockingIOError:
            file.close()
            raise InputError(
                f"--output {str(self.path)!r} is being written by another run: wait for it, or name another file"
            ) from None
        except FileNotFoundError:
            pass
        file.close()
        return None


def open_file(path: Path) -> Sink:
    """The sink of ``--output``.

    :raises InputError: not a suffix that we write, or the file cannot be written.
    """
    kinds: dict[str, type[JsonLinesFile] | type[ParquetFile]] = {".jsonl": JsonLinesFile, ".parquet": ParquetFile}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"--output {str(path)!r}: name a file that ends in .jsonl or .parquet")
    with _writing(path):
        return kind(path)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        raise InputError(f"--output {str(path)!r} cannot be written: {why}") from error


def _json_lines(answers: pa.Table) -> list[str]:
    return [json.dumps(answer_document(answer), ensure_ascii=False) + "\n" for answer in answers.to_pylist()]
