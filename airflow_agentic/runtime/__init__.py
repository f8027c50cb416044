"""Running models: cards to predictors, records to predictions. Never imports Airflow."""

from airflow_agentic.runtime.artifacts import resolve
from airflow_agentic.runtime.base import Arrays, Predictor, Session
from airflow_agentic.runtime.batching import predict_records
from airflow_agentic.runtime.predictor import open_predictor
from airflow_agentic.runtime.process import ModelProcess, start

__all__ = ["Arrays", "ModelProcess", "Predictor", "Session", "open_predictor", "predict_records", "resolve", "start"]
