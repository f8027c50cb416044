"""The table of ``docs/compatibility.md``: what it says is what the tests expect."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"
HEAD: Final = "| feature |"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One feature: whether each Airflow has it, by minor version, and the test of all its cells."""

    feature: str
    cells: Mapping[str, str]
    fallback: str
    test: str


def rows() -> list[Row]:
    """The table's rows, in order."""
    lines = PAGE.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(HEAD))
    heads = _cells(lines[start])
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        feature, *versions, fallback, test = _cells(line)
        cells = dict(zip(heads[1:-2], versions, strict=True))
        found.append(Row(feature=feature, cells=cells, fallback=fallback, test=test.strip("`")))
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
