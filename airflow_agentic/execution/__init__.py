"""The node functions that both executors call, and a batch run over the artifact store. Never imports Airflow."""

from airflow_agentic.execution.batch import Folder, Run, ShardFile, Unit
from airflow_agentic.execution.counts import count_answers
from airflow_agentic.execution.freeze import card_of, check_topology, node_card, snapshot

__all__ = ["Folder", "Run", "ShardFile", "Unit", "card_of", "check_topology", "count_answers", "node_card", "snapshot"]
