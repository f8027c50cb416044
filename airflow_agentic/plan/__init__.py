"""Workflow and cards → plan, a small typed graph that both executors run. Pure; never imports Airflow or a handler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_agentic.lazy import exports
from airflow_agentic.plan.ir import Plan

if TYPE_CHECKING:
    from airflow_agentic.plan.compile import compile_plan

__all__ = ["Plan", "compile_plan"]

_MODULES = {
    "compile_plan": "compile",
}
__getattr__ = exports(__name__, _MODULES)
