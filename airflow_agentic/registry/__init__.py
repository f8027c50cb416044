"""Model cards by name and by what they can do. Imports the spec only; never Airflow."""

from airflow_agentic.registry.info import ModelInfo, card_digest
from airflow_agentic.registry.registry import Registry

__all__ = ["ModelInfo", "Registry", "card_digest"]
