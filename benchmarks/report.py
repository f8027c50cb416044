"""Results as a table in the terminal, and as the table of ``docs/performance.md``."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

from rich.table import Table

from benchmarks.base import ROOT, Result

PAGE: Final = ROOT / "docs" / "performance.md"
BEGIN: Final = "<!-- figures: written by `python -m benchmarks --markdown` -->"
HEAD: Final = (
    "| what | value | floor | ratio | goal | met | note | revision | repeat |",
    "|---|---|---|---|---|---|---|---|---|",
)
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
        f"{_figure(result.value)} {result.unit}",
        "" if result.floor is None else _figure(result.floor),
        "" if result.ratio is None else f"{result.ratio:.3g}",
        result.goal,
        MET[result.met].strip("*"),
        result.note,
    )


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def rows(name: str, results: Sequence[Result], revision: str) -> list[str]:
    """A benchmark's rows of the page, with the command that repeats them."""
    found = []
    for result in results:
        row = [cell.replace("|", "\\|") for cell in cells(result)]
        row[5] = MET[result.met]
        found.append(f"| {' | '.join([*row, revision])} | {command(name)} |")
    return found


def command(name: str) -> str:
    """What repeats a benchmark."""
    return f"`make bench BENCH={name}`"


def write(results: Mapping[str, Sequence[Result]], machine: str, revision: str, page: Path = PAGE) -> None:
    """Put ``results`` into ``page``, in place of older ones of the same benchmarks; the others' rows stay.

    :raises ValueError: the page has no place for it.
    """
    text = page.read_text(encoding="utf-8")
    place = re.search(f"{re.escape(BEGIN)}.*{re.escape(END)}", text, re.DOTALL)
    if place is None:
        raise ValueError(f"{page} has no lines {BEGIN!r} and {END!r} to write between")
    old = [line for line in place[0].splitlines() if line.endswith("` |")]
    kept = [line for line in old if not any(line.endswith(f"{command(name)} |") for name in results)]
    new = [row for name, found in results.items() for row in rows(name, found, revision)]
    part = "\n".join([BEGIN, "", machine, "", *HEAD, *kept, *new, "", END])
    page.write_text(text.replace(place[0], part), encoding="utf-8")


def revision() -> str:
    """What is measured: the commit, with a plus sign where files differ from it."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", "*.py", "setup.cfg"], capture_output=True, text=True, check=True
    )
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")


def machine() -> str:
    """What the figures were taken on."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("apache-airflow", "pyarrow", "pydantic"))
    return (
        f"{os.cpu_count()} cores ({model[1] if model else platform.machine()}), {memory:.0f} GiB, no GPU; "
        f"Python {platform.python_version()}, {versions}."
    )
