"""The gateway as an ASGI application: the inference path first, everything else by FastAPI."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from airflow_agentic.serving.bodies import ClientGoneError
from airflow_agentic.serving.gateway.admission import Admissions
from airflow_agentic.serving.gateway.answering import Answering
from airflow_agentic.serving.gateway.door import Door
from airflow_agentic.serving.gateway.exchange import Exchange
from airflow_agentic.serving.gateway.modes import Modes
from airflow_agentic.serving.gateway.predict import Predict
from airflow_agentic.serving.gateway.problems import ProblemError
from airflow_agentic.serving.gateway.readiness import Readiness
from airflow_agentic.serving.gateway.routes import PUBLIC, framework
from airflow_agentic.serving.gateway.views import Views

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from airflow_agentic.serving.access import Authenticator
    from airflow_agentic.serving.bodies import Message, Receive, Scope, Send
    from airflow_agentic.serving.gateway.catalog import Catalog
    from airflow_agentic.serving.gateway.dags import DagRuns
    from airflow_agentic.serving.gateway.settings import Settings
    from airflow_agentic.serving.jobs import JobStore

PREDICT = "/predict"


class Gateway:
    """The ASGI application.

    :param store: of jobs and idempotency keys; it is given back at the end.
    :param authenticator: ``None``: everybody on this machine may ask.
    :param dags: ``None``: there is no Airflow.
    :raises InputError: a setting cannot be.
    """

    def __init__(
        self,
        catalog: Catalog,
        settings: Settings,
        *,
        store: JobStore,
        authenticator: Authenticator | None = None,
        dags: DagRuns | None = None,
    ) -> None:
        limits = settings.limits
        self.catalog = catalog
        self.door = Door(authenticator)
        self.admissions = Admissions(running=limits.running, waiting=limits.waiting)
        self.readiness = Readiness(catalog)
        self.answering = Answering(settings, self.admissions)
        self.modes = Modes(catalog, self.answering, store, limits, dags=dags)
        self.predict = Predict(catalog, self.modes, self.door, settings)
        self.framework = framework(Views(catalog, self.readiness), self.readiness, self.modes)
        self._watch: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def running(self, started: Callable[[], None]) -> AsyncIterator[None]:
        """While it lasts, models are loaded and jobs are taken.

        :param started: is called once requests are taken.
        """
        try:
            self.start()
            started()
            yield
        finally:
            await self.stop()

    def start(self) -> None:
        """Begin to load the models, and to take jobs."""
        self.modes.jobs.start()
        self._watch = asyncio.create_task(self.readiness.watch())

    def drain(self) -> None:
        """Say that no more requests are wanted; those that come are answered, and their connections closed."""
        self.readiness.draining = True

    async def stop(self) -> None:
        """End the models, and give back what else it holds."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await self.modes.stop()
        await self.answering.close()
        await self.door.close()
        for one in self.catalog.served.values():
            await one.coordinator.pool.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong is a problem document."""
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send)
        exchange.closing = self.readiness.draining
        try:
            if scope["path"] == PREDICT and scope["method"] == "POST":
                await self.predict.answer(exchange, await self.door.client(exchange))
            else:
                await self._framework(exchange)
        except ProblemError as error:
            await exchange.refuse(error)
        except ClientGoneError:
            exchange.logged(499)
        except Exception:  # noqa: BLE001  # the last one to catch it: it is logged, and answered as a problem
            with contextlib.suppress(RuntimeError):  # the answer had begun
                await exchange.fail()

    async def _framework(self, exchange: Exchange) -> None:
        scope = exchange.scope
        if not scope["path"].startswith(PUBLIC):
            scope["agentic.client"] = await self.door.client(exchange)
        scope["agentic.exchange"] = exchange

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *exchange.own_headers()]
                exchange.logged(message["status"])
            await exchange.send(message)

        await self.framework(scope, exchange.receive, send)
