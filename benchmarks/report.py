"""Results as a table in the terminal, and as the table of ``docs/performance.md``."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

from rich.table import Table

from benchmarks.base import ROOT, Result

PAGE: Final = ROOT / "docs" / "performance.md"
BEGIN: Final = "<!-- figures: written by `python -m benchmarks --markdown` -->"
END: Final = "<!-- end of figures -->"
MET: Final = {True: "yes", False: "**no**", None: ""}


def table(results: Sequence[Result]) -> Table:
    """For the terminal."""
    found = Table("what", "value", "floor", "ratio", "goal", "met", "note")
    for result in results:
        found.add_row(*cells(result))
    return found


def cells(result: Result) -> tuple[str, ...]:
    """A result as text."""
    return (
        result.name,
        f"{result.value:,.6g} {result.unit}",
        "" if result.floor is None else f"{result.floor:,.6g}",
        "" if result.ratio is None else f"{result.ratio:.3g}",
        result.goal,
        MET[result.met].strip("*"),
        result.note,
    )


def markdown(results: Mapping[str, Sequence[Result]], machine: str) -> str:
    """The page's part: one row a result, by benchmark, with the command that repeats it."""
    lines = [
        BEGIN,
        "",
        machine,
        "",
        "| what | value | floor | ratio | goal | met | note | repeat |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        for result in found:
            row = [cell.replace("|", "\\|") for cell in cells(result)]
            row[5] = MET[result.met]
            lines.append(f"| {' | '.join(row)} | `make bench BENCH={name}` |")
    return "\n".join([*lines, "", END])


def write(part: str, page: Path = PAGE) -> None:
    """Put ``part`` into ``page``, in place of the one before.

    :raises ValueError: the page has no place for it.
    """
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    if pattern.search(text) is None:
        raise ValueError(f"{page} has no lines {BEGIN!r} and {END!r} to write between")
    page.write_text(pattern.sub(lambda _: part, text), encoding="utf-8")


def machine() -> str:
    """What the figures were taken on; the load says whether the machine was quiet."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("apache-airflow", "pyarrow", "pydantic"))
    return (
        f"{os.cpu_count()} cores ({model[1] if model else platform.machine()}), {memory:.0f} GiB, no GPU; "
        f"Python {platform.python_version()}, {versions}; load average before {os.getloadavg()[0]:.1f}."
    )
