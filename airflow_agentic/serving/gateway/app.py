"""The gateway as an ASGI application: the inference path first, everything else by FastAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI

from airflow_agentic._version import __version__
from airflow_agentic.serving.gateway.admission import Admission
from airflow_agentic.serving.gateway.answering import Answering
from airflow_agentic.serving.gateway.predict import Predict

if TYPE_CHECKING:
    from airflow_agentic.serving.gateway.body import Receive, Scope, Send
    from airflow_agentic.serving.gateway.catalog import Catalog
    from airflow_agentic.serving.gateway.settings import Settings


class Gateway:
    """The ASGI application."""

    def __init__(self, catalog: Catalog, settings: Settings) -> None:
        limits = settings.limits
        self.catalog = catalog
        self.admission = Admission(running=limits.running, waiting=limits.waiting)
        self.predict = Predict(catalog, Answering(settings, self.admission), settings)
        self.framework = FastAPI(title="airflow-agentic gateway", version=__version__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request."""
        if scope["type"] == "http" and scope["path"] == "/predict" and scope["method"] == "POST":
            await self.predict(scope, receive, send)
        else:
            await self.framework(scope, receive, send)
