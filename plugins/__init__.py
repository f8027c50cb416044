"""The Airflow plugin.

Every Airflow task process loads this module: it imports ``AirflowPlugin`` and nothing else. What the API server alone
needs is imported there, when it is asked for.

``airflow_agentic/plugins`` is a symbolic link to this folder; it is importable under that name only.
"""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

if __name__ != "airflow_agentic.plugins":
    raise ImportError(f"import airflow_agentic.plugins, not {__name__}: one class must not exist under two names")


class Api:
    """The routes below ``/agentic`` as an ASGI application; imported at the first request."""

    def __init__(self) -> None:
        self._application: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if self._application is None:
            import asyncio

            self._application = await asyncio.to_thread(_application)
        await self._application(scope, receive, send)


def _application() -> Any:
    from airflow_agentic.plugins.api.server import application

    return application


class AgenticPlugin(AirflowPlugin):
    """Registered by the entry point group ``airflow.plugins``."""

    name = "airflow_agentic"
    fastapi_apps: list[Any] = [{"app": Api(), "url_prefix": "/agentic", "name": "airflow-agentic"}]
