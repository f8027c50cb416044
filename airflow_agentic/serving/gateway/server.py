"""The gateway's process: a server on a port, until it is told to stop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from airflow_agentic.coordinator import ModelPool
    from airflow_agentic.serving.gateway.app import Gateway


def serve(app: Gateway, pool: ModelPool, *, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    config = uvicorn.Config(app, host=host, port=port, access_log=False, server_header=False, lifespan="off")
    server = uvicorn.Server(config)

    async def whole() -> None:
        try:
            await server.serve()
        finally:
            await pool.close()

    asyncio.run(whole())
