"""The routes below ``/agentic`` without an Airflow: logins, rights, Dags and the gateway are fakes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import httpx
from fastapi import HTTPException, Request
from starlette.applications import Starlette
from starlette.routing import Mount

from airflow_agentic.artifacts import Store
from airflow_agentic.hooks.gateway import GatewayAddress
from airflow_agentic.plugins.api.access import Access
from airflow_agentic.plugins.api.app import create
from airflow_agentic.plugins.api.desk import Desk
from airflow_agentic.plugins.api.problems import ProblemError
from airflow_agentic.plugins.api.shelf import Place, Shelf
from airflow_agentic.plugins.api.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ADDRESS: Final = GatewayAddress(url="http://gateway:8000/base", token="secret")


@dataclass(frozen=True)
class User:
    """A caller: ``can`` are pairs of a right and a Dag."""

    name: str
    can: frozenset[tuple[str, str]]

    def require_predict(self, workflow: str) -> None:
        if ("predict", workflow) not in self.can:
            raise HTTPException(403, "Forbidden")
        if workflow == "gone":
            raise ProblemError(404, "Airflow knows no Dag 'gone'")

    def visible(self, workflows: Iterable[str]) -> set[str]:
        return {name for name in workflows if ("workflow", name) in self.can}


def user(name: str, *dags: str, rights: Iterable[str] = ("workflow", "run", "records", "predict")) -> User:
    return User(name, frozenset((right, dag) for right in rights for dag in dags))


@dataclass
class Api:
    """An application, and what happened around it."""

    store: Store = field(default_factory=lambda: Store.open("memory://"))
    users: tuple[User, ...] = ()
    dags: dict[str, Any] = field(default_factory=dict)
    address: GatewayAddress | None = ADDRESS
    gateway: Callable[[httpx.Request], httpx.Response] | None = None

    def application(self) -> Starlette:
        """Mounted as Airflow does."""
        known = {one.name: one for one in self.users}

        def caller(request: Request) -> User:
            name = request.headers.get("authorization", "")
            if name not in known:
                raise HTTPException(401, "Not authenticated")
            return known[name]

        def rule(right: str) -> Callable[..., None]:
            def check(request: Request, dag_id: str) -> None:
                if (right, dag_id) not in caller(request).can:
                    raise HTTPException(403, "Forbidden")

            return check

        access = Access(see_workflow=rule("workflow"), see_run=rule("run"), see_records=rule("records"), caller=caller)
        desk = Desk()
        place = Place(base=self.store, deployment="test", open_store=Store.open)
        transport = None if self.gateway is None else httpx.MockTransport(self.gateway)
        upstream = Upstream(lambda: self.address, desk, transport=transport)
        app = create(access, shelf=Shelf(lambda: place), find_dag=self.dags.get, upstream=upstream, desk=desk)
        return Starlette(routes=[Mount("/agentic", app)])

    @asynccontextmanager
    async def client(self, name: str = "") -> AsyncIterator[httpx.AsyncClient]:
        """A client that is logged in as ``name``."""
        headers = {"authorization": name} if name else {}
        transport = httpx.ASGITransport(app=self.application())
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow/agentic", headers=headers) as client:
            yield client
