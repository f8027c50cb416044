"""Multi-model inference for Apache Airflow: one spec, routed per record over many models.

Names are imported on first use (PEP 562), so that ``import airflow_agentic`` costs nothing in a Dag processor and a
model process never imports Airflow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_agentic._version import __version__

if TYPE_CHECKING:
    from airflow_agentic.dagbuilder.load import load_workflows
    from airflow_agentic.dagbuilder.maintenance import maintenance_dag
    from airflow_agentic.project import Workflow

__all__ = ["Workflow", "__version__", "load_workflows", "maintenance_dag"]

_LAZY = {
    "Workflow": "airflow_agentic.project",
    "load_workflows": "airflow_agentic.dagbuilder.load",
    "maintenance_dag": "airflow_agentic.dagbuilder.maintenance",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
