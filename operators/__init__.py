"""Airflow operators: thin edges of the core, one node of a plan each.

``airflow_agentic/operators`` is a symbolic link to this folder; it is importable under that name only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_agentic.lazy import exports

if __name__ != "airflow_agentic.operators":
    raise ImportError(f"import airflow_agentic.operators, not {__name__}: one class must not exist under two names")

if TYPE_CHECKING:
    from airflow_agentic.operators.aggregate import AggregateOperator
    from airflow_agentic.operators.gate import GateOperator
    from airflow_agentic.operators.infer import LocalInferenceOperator
    from airflow_agentic.operators.model import ModelOperator
    from airflow_agentic.operators.preprocess import PreprocessOperator
    from airflow_agentic.operators.prune import PruneOperator
    from airflow_agentic.operators.publish import PublishOperator
    from airflow_agentic.operators.route import RouteOperator
    from airflow_agentic.operators.service import ServiceInferenceOperator
    from airflow_agentic.operators.service_sensor import InferenceServiceSensor
    from airflow_agentic.operators.workflow import WorkflowOperator

_MODULES = {
    "AggregateOperator": "aggregate",
    "GateOperator": "gate",
    "LocalInferenceOperator": "infer",
    "ModelOperator": "model",
    "PreprocessOperator": "preprocess",
    "PruneOperator": "prune",
    "PublishOperator": "publish",
    "RouteOperator": "route",
    "ServiceInferenceOperator": "service",
    "InferenceServiceSensor": "service_sensor",
    "WorkflowOperator": "workflow",
}

__all__ = [
    "AggregateOperator",
    "GateOperator",
    "InferenceServiceSensor",
    "LocalInferenceOperator",
    "ModelOperator",
    "PreprocessOperator",
    "PruneOperator",
    "PublishOperator",
    "RouteOperator",
    "ServiceInferenceOperator",
    "WorkflowOperator",
]

__getattr__ = exports(__name__, _MODULES)
