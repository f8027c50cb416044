"""The application inside Airflow's API server: its login, its database, its configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow.models.serialized_dag import SerializedDagModel

from airflow_agentic.hooks.gateway import gateway_address
from airflow_agentic.hooks.store import ArtifactStoreHook, setting
from airflow_agentic.plugins.api.airflow_access import airflow_access
from airflow_agentic.plugins.api.app import create
from airflow_agentic.plugins.api.desk import Desk
from airflow_agentic.plugins.api.kept import Kept
from airflow_agentic.plugins.api.shelf import Place, Shelf
from airflow_agentic.plugins.api.upstream import Upstream

if TYPE_CHECKING:
    from fastapi import FastAPI


def _place() -> Place:
    hook = ArtifactStoreHook()
    return Place(base=hook.get_conn(), deployment=setting("deployment", "default"), open_store=hook.open)


def _find_dag(dag_id: str) -> Any:
    return SerializedDagModel.get_dag(dag_id)


def _application() -> FastAPI:
    desk = Desk()
    return create(
        airflow_access(),
        shelf=Shelf(Kept(_place)),
        find_dag=_find_dag,
        upstream=Upstream(Kept(gateway_address), desk),
        desk=desk,
    )


application: Final = _application()
"""One for the process: importing this module again gives the same."""
