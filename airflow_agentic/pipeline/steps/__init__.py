"""Preprocessing steps, by the names a workflow uses; ``base`` has the contract."""

from __future__ import annotations

from airflow_agentic.pipeline.steps import custom, image, language, tabular, text, validation
from airflow_agentic.pipeline.steps.base import STEPS, Step, StepModel, parse_step, register, step_schema

__all__ = [
    "STEPS",
    "Step",
    "StepModel",
    "custom",
    "image",
    "language",
    "parse_step",
    "register",
    "step_schema",
    "tabular",
    "text",
    "validation",
]
