"""Run the benchmarks that are named, or all, and print the table of their results."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from typing import Final

from rich.console import Console

from benchmarks.base import Result
from benchmarks.report import machine, revision, table, write

BENCHMARKS: Final = (
    "imports",
    "pick",
    "one_record",
    "routing",
    "memory",
    "dags",
    "inference",
    "airflow_runs",
    "serving",
    "gateway",
)
"""The quick ones first."""
ASKED_FOR: Final = ("kubernetes",)
"""Only where they are named: they need a cluster."""


def main(arguments: list[str] | None = None) -> int:
    """Measure, record, print; 1 where a goal is not met or a benchmark failed."""
    known = (*BENCHMARKS, *ASKED_FOR)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; by default all but the last")
    parser.add_argument("--markdown", action="store_true", help="also write the table into docs/performance.md")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are: {', '.join(known)}")
    console = Console(width=None if sys.stdout.isatty() else 200)
    results: dict[str, list[Result]] = {}
    failed = []
    for name in options.names or BENCHMARKS:
        console.print(f"{name} …")
        try:
            results[name] = [result.record() for result in import_module(f"benchmarks.{name}").run()]
        except Exception:  # noqa: BLE001  # the others are still measured
            console.print_exception()
            failed.append(name)
            continue
        console.print(table(results[name]))
    found = [result for each in results.values() for result in each]
    console.print(table(found))
    if options.markdown:
        write(results, machine(), revision())
    if failed:
        console.print(f"failed: {', '.join(failed)}")
    return int(bool(failed) or any(result.met is False for result in found))


if __name__ == "__main__":
    raise SystemExit(main())
