"""``python -m airflow_agentic``: the same as the console script."""

from __future__ import annotations

from airflow_agentic.cli import main

if __name__ == "__main__":
    main()
