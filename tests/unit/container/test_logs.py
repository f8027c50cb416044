"""A container's log lines, as written and as a person reads them."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from airflow_agentic.container.logs import JsonLines, shown


def line(text: str, *arguments: object, error: bool = False) -> str:
    information = None
    if error:
        try:
            raise ValueError("bad weights")
        except ValueError:
            information = sys.exc_info()
    record = logging.LogRecord("agentic.model", logging.WARNING, "", 1, text, arguments, information)
    return JsonLines().format(record)


def test_a_line_is_one_json_object() -> None:
    found = json.loads(line("shard %d\nis done", 3))

    assert {key: found[key] for key in ("level", "logger", "event")} == {
        "level": "warning",
        "logger": "agentic.model",
        "event": "shard 3\nis done",
    }
    assert found["timestamp"].endswith("+00:00")
    assert "\n" not in line("shard %d\nis done", 3)


def test_a_person_reads_text() -> None:
    assert shown(line("shard %d", 3)) == "WARNING agentic.model  shard 3"
    assert shown(line("failed", error=True)).splitlines()[0] == "WARNING agentic.model  failed"
    assert shown(line("failed", error=True)).splitlines()[-1] == "ValueError: bad weights"


@pytest.mark.parametrize("text", ["plain", "{}", "[1]", '{"level": 3, "logger": "x", "event": "y"}', "3", ""])
def test_other_lines_stay_as_they_are(text: str) -> None:
    assert shown(text) == text
