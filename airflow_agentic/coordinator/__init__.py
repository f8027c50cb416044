"""Runs a plan in process, with asyncio. Never imports Airflow."""

from airflow_agentic.coordinator.coordinator import Coordinator
from airflow_agentic.coordinator.pool import ModelPool, Pool

__all__ = ["Coordinator", "ModelPool", "Pool"]
