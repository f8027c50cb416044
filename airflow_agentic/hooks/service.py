"""Services that models are asked at, as Airflow's configuration and connections describe them."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final

from airflow.sdk import BaseHook

from airflow_agentic.exceptions import AgenticError, InputError
from airflow_agentic.hooks.store import setting
from airflow_agentic.spec.service import ServiceSpec, layered

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from airflow_agentic.openinference.client import ServiceClient
    from airflow_agentic.openinference.gateway import GatewayClient

_EXTRA: Final = ("urls", "ca_file", "concurrency", "timeout", "connect_timeout", "max_response")
"""Keys of the connection's extra that are read; all others are ignored by name."""


class InferenceServiceHook(BaseHook):
    """Opens a client of model servers (Open Inference Protocol v2 on HTTP).

    :param agentic_service_conn_id: a connection with the servers' addresses and their bearer token (as password).
        Without one the service's own ``connection`` or ``url``, else ``[agentic] service_conn_id``.
    :param service: what card and workflow say of the service; its keys go over those of the connection's extra.
    """

    conn_name_attr: ClassVar[str] = "agentic_service_conn_id"
    default_conn_name: ClassVar[str] = "agentic_service_default"
    conn_type: ClassVar[str] = "agentic_service"
    hook_name: ClassVar[str] = "Inference service (Open Inference Protocol)"

    def __init__(self, agentic_service_conn_id: str | None = None, service: ServiceSpec | None = None) -> None:
        super().__init__()
        said = service or ServiceSpec()
        own = None if said.url is not None else said.connection or setting("service_conn_id")
        self.agentic_service_conn_id = agentic_service_conn_id or own or None
        self._said = said

    @cached_property
    def service(self) -> ServiceSpec:
        """Where the servers are; without a secret.

        :raises InputError: the connection names no server.
        """
        return self._resolved[0]

    def get_conn(self) -> ServiceClient:
        """A client, for one event loop."""
        service, token = self._resolved
        return _client(service, token)

    async def aget_conn(self) -> ServiceClient:
        """A client, where the event loop must not be blocked (the triggerer)."""
        name = self.agentic_service_conn_id
        connection = None if name is None else await self.aget_connection(name)
        return _client(*self._merged(connection))

    def gateway(self) -> GatewayClient:
        """A client of the gateway that is described in place of model servers, for one event loop."""
        return _gateway(*self._resolved)

    async def agateway(self) -> GatewayClient:
        """The same, where the event loop must not be blocked."""
        name = self.agentic_service_conn_id
        return _gateway(*self._merged(None if name is None else await self.aget_connection(name)))

    def test_connection(self) -> tuple[bool, str]:
        """Asks every server whether it is ready; no model is asked."""
        try:
            return asyncio.run(self._tested())
        except AgenticError as error:
            return False, str(error)

    async def _tested(self) -> tuple[bool, str]:
        client = self.get_conn()
        try:
            found = await client.health()
            said = "; ".join(f"{one.url} is ready" if one.ready else f"{one.url}: {one.why}" for one in found)
            return all(one.ready for one in found), said
        finally:
            await client.close()

    @cached_property
    def _resolved(self) -> tuple[ServiceSpec, str | None]:
        name = self.agentic_service_conn_id
        return self._merged(None if name is None else self.get_connection(name))

    def _merged(self, connection: Connection | None) -> tuple[ServiceSpec, str | None]:
        """The service, and the token of its connection."""
        if connection is None:
            return self._said, None
        extra = connection.extra_dejson
        said = {key: extra[key] for key in _EXTRA if extra.get(key) not in (None, "")}
        urls = said.pop("urls", None) or _url(connection)
        if isinstance(urls, str):
            urls = [url.strip() for url in urls.split(",") if url.strip()]
        try:
            own = ServiceSpec.model_validate({**{key: _number(value) for key, value in said.items()}, "url": urls})
        except ValueError as error:
            raise InputError(f"the connection {connection.conn_id!r} describes no service: {error}") from error
        over = {key: value for key, value in self._said.stated.items() if key not in {"url", "connection"}}
        return layered(own, ServiceSpec.model_validate(over)), connection.password or None


def _url(connection: Connection) -> str:
    """The one server of a connection: its host may be a whole URL."""
    host = connection.host or ""
    if "://" in host:
        return host
    if not host:
        raise InputError(
            f"the connection {connection.conn_id!r} names no server; fill in its host, or urls in its extra"
        )
    port = f":{connection.port}" if connection.port else ""
    return f"{connection.schema or 'http'}://{host}{port}"


def _number(value: Any) -> Any:
    """Forms give numbers as text."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _client(service: ServiceSpec, token: str | None) -> ServiceClient:
    from airflow_agentic.openinference.client import ServiceClient  # Dag files import this module and ask nobody

    return ServiceClient(service, token=token)


def _gateway(service: ServiceSpec, token: str | None) -> GatewayClient:
    from airflow_agentic.openinference.gateway import GatewayClient

    return GatewayClient(service, token=token)


def connect(service: ServiceSpec) -> ServiceClient:
    """The client of ``service``, inside Airflow: its ``connection`` is resolved here.

    What a run commits is its plan's: no other version answers, whatever ``other_versions`` says.
    """
    exact = service.model_copy(update={"other_versions": False})
    return InferenceServiceHook(service=exact).get_conn()
