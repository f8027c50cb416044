"""What a benchmark reports, and how it measures: a floor and a subject take turns in one run.

A result is a line of JSON in ``results.jsonl`` and a row of the table. Ratios are robust where absolute times are not:
what else the machine does hits both sides alike, and a median forgets the odd hiccup.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
RESULTS: Final = Path(__file__).with_name("results.jsonl")
WORK: Final = ROOT / ".bench"
"""What benchmarks build for themselves: environments, an Airflow home. Ignored by git."""


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
    note: str = ""
    """What the figure needs to be understood: an interval, a version, a size."""

    def record(self) -> Result:
        """Append it to ``results.jsonl``."""
        with RESULTS.open("a") as file:
            file.write(json.dumps(asdict(self), ensure_ascii=False) + "\n")
        return self


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Times of floor and subject, measured in turns."""

    floor: Sequence[float]
    subject: Sequence[float]

    @property
    def ratios(self) -> list[float]:
        """Subject over floor, a pair each."""
        return [subject / floor for floor, subject in zip(self.floor, self.subject, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the pairs' ratios."""
        return statistics.median(self.ratios)

    def interval(self) -> tuple[float, float]:
        """About 95 % confidence for the median ratio, from order statistics: no distribution is assumed."""
        ordered = sorted(self.ratios)
        count = len(ordered)
        reach = 0.98 * count**0.5
        low, high = int(count / 2 - reach), int(count / 2 + reach)
        return ordered[max(low, 0)], ordered[min(high, count - 1)]


def pairs(floor: Callable[[], object], subject: Callable[[], object], *, runs: int) -> Pairs:
    """``runs`` pairs after one that is not counted; who goes first alternates."""
    floor()
    subject()
    times: dict[str, list[float]] = {"floor": [], "subject": []}
    for run in range(runs):
        order = [("floor", floor), ("subject", subject)]
        for name, work in order if run % 2 == 0 else reversed(order):
            times[name].append(timed(work))
    return Pairs(**times)


def timed(work: Callable[[], object], *, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds ``work`` takes; garbage of before is collected before the clock starts.

    :param clock: ``time.process_time`` for work of one thread that waits for nothing: what others do does not count.
    """
    gc.collect()
    start = clock()
    work()
    return clock() - start


def seconds(work: Callable[[], object], *, runs: int = 5) -> float:
    """The median time of ``work``, after one run that is not counted."""
    work()
    return statistics.median(timed(work) for _ in range(runs))


def in_python(module: str, *arguments: str, python: str = sys.executable, core: int | None = None) -> Any:
    """What ``python -m module`` prints last, a line of JSON.

    :param core: that it is pinned to.
    :raises RuntimeError: it fails; with what it said.
    """
    done = subprocess.run(
        [*([] if core is None else ["taskset", "-c", str(core)]), python, "-m", module, *arguments],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module} {' '.join(arguments)} failed:\n{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def environment() -> dict[str, str]:
    """Of a child: nothing of the caller's Airflow, and bytecode is written, or every import would compile anew."""
    dropped = ("AIRFLOW", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "AIRFLOW_HOME": str(WORK / "airflow"), "TF_CPP_MIN_LOG_LEVEL": "3"}


@contextmanager
def without_gc() -> Iterator[None]:
    """No collection inside: for works so short that one would be most of them."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
