"""Log lines of a container: one JSON object a line, which Airflow's task log shows as text."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from airflow_agentic.container.parcel import LINE


class JsonLines(logging.Formatter):
    """``{"timestamp", "level", "logger", "event"}``, and ``"exception"`` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_json(level: int = logging.INFO) -> None:
    """Have this process log JSON lines to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def shown(line: str) -> str:
    """A line of a container as a person reads it: ``WARNING airflow_agentic.model.lite0  text``; others as they are."""
    if line.startswith(LINE):
        return f"answers in {len(line):,} characters"
    try:
        found = json.loads(line)
        text = f"{found['level'].upper()} {found['logger']}  {found['event']}"
        return f"{text}\n{found['exception']}" if "exception" in found else text
    except (ValueError, KeyError, TypeError, AttributeError):
        return line
