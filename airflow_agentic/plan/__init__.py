"""Workflow and cards → plan, a small typed graph that both executors run. Pure; never imports Airflow or a handler."""

from airflow_agentic.plan.compile import compile_plan
from airflow_agentic.plan.ir import Plan

__all__ = ["Plan", "compile_plan"]
