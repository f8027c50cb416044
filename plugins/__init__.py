"""The Airflow plugin.

Every Airflow task process loads this module: it imports ``AirflowPlugin`` and nothing else. What the API server alone
needs is imported there, when it is asked for.

``airflow_agentic/plugins`` is a symbolic link to this folder; it is importable under that name only.
"""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

if __name__ != "airflow_agentic.plugins":
    raise ImportError(f"import airflow_agentic.plugins, not {__name__}: one class must not exist under two names")


class AgenticPlugin(AirflowPlugin):
    """Registered by the entry point group ``airflow.plugins``."""

    name = "airflow_agentic"
