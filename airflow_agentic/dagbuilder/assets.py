"""The Airflow assets of workflows, and those that a schedule names."""

from __future__ import annotations

from typing import Any, Final

from airflow.sdk import Asset

PREFIX: Final = "airflow-agentic/"


def asset_of(workflow: str) -> Asset:
    """The asset that a workflow's runs update; the answers' real URI is in each event's extra."""
    return Asset(name=f"{PREFIX}{workflow}", uri=f"x-airflow-agentic://workflow/{workflow}")


def named_asset(value: Any) -> Asset:
    """The asset of a schedule: a name, a URI, or ``{name: NAME, uri: URI}``.

    Airflow knows an asset by both: of two with one name and different URIs only one is active. So one that another Dag
    defines must be given as it is there; ``airflow-agentic/WORKFLOW`` is another workflow's.

    :raises ValueError: anything else.
    """
    if isinstance(value, str) and value.startswith(PREFIX):
        return asset_of(value.removeprefix(PREFIX))
    if isinstance(value, str) and value:
        return Asset(value)
    if isinstance(value, dict) and value.keys() == {"name", "uri"}:
        return Asset(name=value["name"], uri=value["uri"])
    raise ValueError(f"{value!r} is no asset\nwrite its name, or {{name: NAME, uri: URI}}")
