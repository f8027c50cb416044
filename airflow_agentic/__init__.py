"""Multi-model inference for Apache Airflow: one spec, routed per record over many models.

Names are imported on first use (PEP 562), so that ``import airflow_agentic`` costs nothing in a Dag processor and a
model process never imports Airflow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_agentic._version import __version__
from airflow_agentic.lazy import exports

if TYPE_CHECKING:
    from airflow_agentic.dagbuilder.load import load_workflows
    from airflow_agentic.dagbuilder.maintenance import maintenance_dag
    from airflow_agentic.project import Workflow

__all__ = ["Workflow", "__version__", "load_workflows", "maintenance_dag"]

_MODULES = {
    "Workflow": "project",
    "load_workflows": "dagbuilder.load",
    "maintenance_dag": "dagbuilder.maintenance",
}
__getattr__ = exports(__name__, _MODULES)
