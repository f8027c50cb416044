"""The terminal: ``airflow-agentic``.

Calls the core; nothing of the core imports it. A command imports what it needs when it runs:
``--help`` is quick.
"""

from __future__ import annotations


def main() -> None:
    """The console script."""
    from airflow_agentic.cli.app import app

    app(prog_name="airflow-agentic")
