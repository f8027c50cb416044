"""The node functions that both executors call, and a batch run over the artifact store. Never imports Airflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_agentic.lazy import exports

if TYPE_CHECKING:
    from airflow_agentic.execution.batch import Folder, Run, ShardFile, Unit
    from airflow_agentic.execution.counts import count_answers
    from airflow_agentic.execution.freeze import card_of, node_card, snapshot
    from airflow_agentic.execution.units import Start, UnitSummary, collect_unit, infer_unit

__all__ = [
    "Folder",
    "Run",
    "ShardFile",
    "Start",
    "Unit",
    "UnitSummary",
    "card_of",
    "collect_unit",
    "count_answers",
    "infer_unit",
    "node_card",
    "snapshot",
]

_MODULES = {
    "Folder": "batch",
    "Run": "batch",
    "ShardFile": "batch",
    "Unit": "batch",
    "count_answers": "counts",
    "card_of": "freeze",
    "node_card": "freeze",
    "snapshot": "freeze",
    "Start": "units",
    "UnitSummary": "units",
    "collect_unit": "units",
    "infer_unit": "units",
}
__getattr__ = exports(__name__, _MODULES)
