"""The table of features and its tests hold together."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

import test_matrix
from environment import RELEASES
from table import PAGE, rows

if TYPE_CHECKING:
    from collections.abc import Iterator


def features() -> Iterator[tuple[str, str]]:
    """The features that tests name, each with its test."""
    for name, function in inspect.getmembers(test_matrix, inspect.isfunction):
        for mark in getattr(function, "pytestmark", ()) if name.startswith("test_") else ():
            if mark.name == "feature":
                yield mark.args[0], name
            for parameter in mark.args[1] if mark.name == "parametrize" else ():
                yield from ((one.args[0], f"{name}[{parameter.id}]") for one in parameter.marks)


def test_every_row_has_its_test_and_every_test_its_row() -> None:
    assert sorted((row.feature, row.test) for row in rows()) == sorted(features())


def test_every_cell_says_yes_or_no() -> None:
    minors = [release.minor for release in RELEASES]

    assert all(list(row.cells) == minors for row in rows())
    assert {cell for row in rows() for cell in row.cells.values()} == {"yes", "no"}


def test_what_is_missing_somewhere_has_a_fallback() -> None:
    assert [row.feature for row in rows() if ("no" in row.cells.values()) == (row.fallback == "–")] == []


def test_the_page_names_the_tested_versions() -> None:
    named = re.findall(r"\d+\.\d+\.\d+", PAGE.read_text().split("##")[0])

    assert named == [release.version for release in RELEASES]
