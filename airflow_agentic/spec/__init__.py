"""Model cards and workflows as typed values, and errors that point into their files.

Imports nothing of the project but the errors; never Airflow, a framework or a handler.
"""

from airflow_agentic.spec.load import load_model, load_workflow, model_from, spec_files, workflow_from
from airflow_agentic.spec.model import ModelCard
from airflow_agentic.spec.pattern import Pattern
from airflow_agentic.spec.workflow import WorkflowSpec

__all__ = [
    "ModelCard",
    "Pattern",
    "WorkflowSpec",
    "load_model",
    "load_workflow",
    "model_from",
    "spec_files",
    "workflow_from",
]
