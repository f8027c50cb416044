"""Run every benchmark and print the table of their results."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from benchmarks import routing

MODULES = (routing,)


def main() -> None:
    """Measure, record, print."""
    table = Table("what", "value", "floor", "ratio", "goal", "met")
    for module in MODULES:
        for result in module.run():
            result.record()
            floor = "" if result.floor is None else f"{result.floor:,.6g}"
            ratio = "" if result.ratio is None else f"{result.ratio:.3f}"
            table.add_row(
                result.name,
                f"{result.value:,.6g} {result.unit}",
                floor,
                ratio,
                result.goal,
                {True: "yes", False: "no", None: ""}[result.met],
            )
    Console().print(table)


if __name__ == "__main__":
    main()
