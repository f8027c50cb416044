"""Running models: cards to predictors, records to predictions. Never imports Airflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_agentic.lazy import exports

if TYPE_CHECKING:
    from airflow_agentic.runtime.artifacts import resolve
    from airflow_agentic.runtime.base import Arrays, Predictor, Session
    from airflow_agentic.runtime.batching import predict_records
    from airflow_agentic.runtime.predictor import open_predictor
    from airflow_agentic.runtime.process import ModelProcess, start

__all__ = ["Arrays", "ModelProcess", "Predictor", "Session", "open_predictor", "predict_records", "resolve", "start"]

_MODULES = {
    "resolve": "artifacts",
    "Arrays": "base",
    "Predictor": "base",
    "Session": "base",
    "predict_records": "batching",
    "open_predictor": "predictor",
    "ModelProcess": "process",
    "start": "process",
}
__getattr__ = exports(__name__, _MODULES)
