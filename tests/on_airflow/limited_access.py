"""An auth manager for the tests' Airflow, which it imports: one user has rights on one Dag only."""

from __future__ import annotations

from typing import Any, Final

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

USER: Final = "limited"
DAG: Final = "reviews-compact"


class LimitedAuthManager(SimpleAuthManager):
    """As Airflow's simple one; what it allows to :data:`USER` holds for :data:`DAG`, and for no Dag in particular."""

    def is_authorized_dag(self, *, user: Any, details: Any = None, **asked: Any) -> bool:
        """Whether ``user`` may do this with the Dag of ``details``."""
        if user.username == USER and details is not None and details.id not in (None, DAG):
            return False
        return bool(super().is_authorized_dag(user=user, details=details, **asked))
