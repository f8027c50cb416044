"""What is going on, on stderr while it is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_agentic.coordinator import Pool


class Progress:
    """Counts answers; shows nothing by itself."""

    def read(self, rows: int, *, last: bool) -> None:
        """``rows`` more records wait for an answer; ``last``: there are no others."""

    def answered(self, rows: int, failed: int) -> None:
        """``rows`` more answers, ``failed`` of them errors."""


class _Bar(Progress):
    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None, failed="")
        self._rows = self._failed = 0

    def read(self, rows: int, *, last: bool) -> None:
        self._rows += rows
        if last:
            self._bar.update(self._task, total=self._rows)

    def answered(self, rows: int, failed: int) -> None:
        self._failed += failed
        said = f"[red]{self._failed:,} without an answer" if self._failed else ""
        self._bar.update(self._task, advance=rows, failed=said)


@contextmanager
def progress(pool: Pool) -> Iterator[Progress]:
    """A bar with the models at work, where stderr is a terminal; it is gone at the end."""
    if not sys.stderr.isatty():
        yield Progress()
        return
    from rich import progress as rich
    from rich.console import Console
    from rich.text import Text

    class Working(rich.ProgressColumn):
        """``loading lite0-tf``, ``asking vader, minilm-torch``."""

        def render(self, task: rich.Task) -> Text:
            del task
            busy = [name for name, calls in list(pool.load.items()) if calls]
            loading = [name for name in busy if name not in pool.loaded]
            said = f"loading {', '.join(loading)}" if loading else f"asking {', '.join(busy)}" if busy else ""
            return Text(said, style="dim")

    columns = (
        rich.SpinnerColumn(),
        rich.BarColumn(bar_width=24),
        rich.MofNCompleteColumn(),
        rich.TimeElapsedColumn(),
        rich.TextColumn("{task.fields[failed]}"),
        Working(),
    )
    with rich.Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        yield _Bar(bar)
