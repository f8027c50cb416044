"""Who may do what: the rules that routes depend on. Must never import Airflow; :mod:`.airflow_access` has its rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol


class Caller(Protocol):
    """Somebody who is logged in."""

    @property
    def name(self) -> str:
        """Who it is, to others."""

    def require_predict(self, workflow: str) -> None:
        """Refuse who may not trigger the workflow's Dag; may look into the database.

        :raises ProblemError: there is no such Dag.
        """

    def visible(self, workflows: Iterable[str]) -> set[str]:
        """Those whose Dags it may see; may look into the database."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """Dependencies of FastAPI. The first three look at ``dag_id`` in the path, and refuse a Dag that is not there."""

    see_workflow: Callable[..., Any]
    """Read the Dag's Airflow tasks."""
    see_run: Callable[..., Any]
    """Read its runs."""
    see_records: Callable[..., Any]
    """Read its XComs: what is said of records is no less."""
    caller: Callable[..., Caller]
    """Be logged in."""
