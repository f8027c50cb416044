"""A pytest plugin for mutation runs: the quickest tests first, so that most mutants die soon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

STATS = Path("mutmut-stats.json")
"""What mutmut measured, in the folder in which it runs the tests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by measured duration; without a measurement the order stands."""
    seconds = json.loads(STATS.read_text())["duration_by_test"] if STATS.is_file() else {}
    items.sort(key=lambda item: seconds.get(item.nodeid, 0.0))
