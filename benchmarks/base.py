"""What a benchmark reports: one line, as JSON in ``results.jsonl`` and as a row of the table."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

RESULTS: Final = Path(__file__).with_name("results.jsonl")


@dataclass(frozen=True, kw_only=True)
class Result:
    """A figure, what it is compared with, and the goal."""

    name: str
    value: float
    unit: str
    floor: float | None = None
    """The floor or peer, in the same unit, measured in the same run."""
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None

    def record(self) -> Result:
        """Append it to ``results.jsonl``."""
        with RESULTS.open("a") as file:
            file.write(json.dumps(asdict(self)) + "\n")
        return self


def seconds(work: Callable[[], object], *, runs: int = 5) -> float:
    """The median time of ``work``, after one run that is not counted."""
    work()
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)
