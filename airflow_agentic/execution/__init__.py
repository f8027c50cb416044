"""The node functions that both executors call, and a batch run over the artifact store. Never imports Airflow."""

from airflow_agentic.execution.batch import Folder, Run, ShardFile, Unit
from airflow_agentic.execution.counts import count_answers
from airflow_agentic.execution.freeze import card_of, node_card, snapshot
from airflow_agentic.execution.units import Start, UnitSummary, infer_unit

__all__ = [
    "Folder",
    "Run",
    "ShardFile",
    "Start",
    "Unit",
    "UnitSummary",
    "card_of",
    "count_answers",
    "infer_unit",
    "node_card",
    "snapshot",
]
