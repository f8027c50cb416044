"""The table of ``charts/airflow-agentic/README.md`` from the chart's ``values.yaml``: key, default, meaning.

What stands as a comment above a key is its meaning. ``python -m scripts.chart_values`` writes the page; a test refuses
one that is out of date.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

CHART: Final = Path(__file__).parents[1] / "charts" / "airflow-agentic"
PAGE: Final = CHART / "README.md"
MARK: Final = "<!-- values: written by `python -m scripts.chart_values` from values.yaml -->"


def comment(lines: list[str], line: int) -> str:
    """The lines of comment directly above a line, as one text."""
    found: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        found.insert(0, lines[line].lstrip().removeprefix("#").strip())
    return " ".join(found)


def rows(node: yaml.MappingNode, lines: list[str], path: str = "") -> Iterator[tuple[str, str, str]]:
    """Key, default and meaning of each value that is no group of others."""
    for key, value in node.value:
        at = f"{path}{key.value}"
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from rows(value, lines, f"{at}.")
        else:
            default = yaml.safe_load(yaml.serialize(value))
            yield at, json.dumps(default), comment(lines, key.start_mark.line)


def values() -> list[tuple[str, str, str]]:
    """Those of the chart."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    node = yaml.compose(text)
    if not isinstance(node, yaml.MappingNode):
        raise TypeError("values.yaml is no mapping")
    return list(rows(node, text.splitlines()))


def page() -> str:
    """The page with a fresh table."""
    before, _, after = PAGE.read_text(encoding="utf-8").split(MARK)
    table = ["| key | default | meaning |", "|---|---|---|"]
    table += [
        f"| `{key}` | `{default}` | {meaning.replace('|', chr(92) + '|')} |" for key, default, meaning in values()
    ]
    return MARK.join([before, "\n" + "\n".join(table) + "\n", after])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
