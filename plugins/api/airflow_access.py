"""The rules of Airflow: its login and its auth manager."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.models.dag import DagModel
from fastapi import HTTPException, Request

from airflow_agentic.plugins.api.access import Access
from airflow_agentic.plugins.api.problems import ProblemError

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.models.base_user import BaseUser


def airflow_access() -> Access:
    """Rules that ask Airflow's auth manager."""
    return Access(
        see_workflow=_rule(DagAccessEntity.TASK),
        see_run=_rule(DagAccessEntity.RUN),
        see_records=_rule(DagAccessEntity.XCOM),
        caller=_caller,
    )


def _rule(entity: DagAccessEntity) -> Callable[..., None]:
    allowed: Any = requires_access_dag(method="GET", access_entity=entity)

    def rule(request: Request, user: GetUserDep, dag_id: str) -> None:
        allowed(request, user)
        _refuse_unknown(dag_id)

    return rule


def _refuse_unknown(dag_id: str) -> None:
    """Rights on a Dag that is not there are nobody's: what others left of it below its name is not shown.

    Airflow asks about ``~`` as about all Dags; as the id of one it is unknown.
    """
    if DagModel.get_dagmodel(dag_id) is None:
        raise ProblemError(404, f"Airflow knows no Dag {dag_id[:80]!r}; GET /api/v2/dags lists those that you may see")


@dataclass(frozen=True)
class _Caller:
    request: Request
    user: BaseUser

    @property
    def name(self) -> str:
        return str(self.user.get_id())

    def require_predict(self, workflow: str) -> None:
        allowed: Any = requires_access_dag("POST", DagAccessEntity.RUN, param_dag_id=workflow)
        allowed(self.request, self.user)
        _refuse_unknown(workflow)

    def visible(self, workflows: Iterable[str]) -> set[str]:
        return {name for name in set(workflows) if self._sees(name)}

    def _sees(self, workflow: str) -> bool:
        allowed: Any = requires_access_dag("GET", param_dag_id=workflow)
        try:
            allowed(self.request, self.user)
        except HTTPException:
            return False
        return DagModel.get_dagmodel(workflow) is not None


def _caller(request: Request, user: GetUserDep) -> _Caller:
    return _Caller(request, user)
