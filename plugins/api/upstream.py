"""Requests to the configured gateway: nothing of a caller's request says where they go."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import httpx

from airflow_agentic.exceptions import InputError
from airflow_agentic.plugins.api.problems import RETRY_SECONDS, ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_agentic.hooks.gateway import GatewayAddress
    from airflow_agentic.plugins.api.desk import Desk

USER: Final = "X-Agentic-User"
"""Who asks; the gateway takes it from a client with ``acts_for_users`` only."""
MOST_RESPONSE: Final = 64 * 2**20
AT_ONCE: Final = 32
CONNECT_SECONDS: Final = 5.0
KEPT: Final = frozenset({"content-type", "idempotency-replayed", "location", "retry-after", "x-request-id"})
"""Headers of the gateway that its answer keeps."""

OFF: Final = (
    "no gateway is configured: set [agentic] gateway_conn_id "
    "(AIRFLOW__AGENTIC__GATEWAY_CONN_ID) to a connection that names one"
)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the gateway answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Upstream:
    """The gateway, for one event loop.

    :param address: where it is now, ``None``: nowhere. Blocks.
    :param transport: of tests.
    """

    def __init__(
        self,
        address: Callable[[], GatewayAddress | None],
        desk: Desk,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._address = address
        self._desk = desk
        self._transport = transport
        self._free = AT_ONCE
        self._client: tuple[GatewayAddress, httpx.AsyncClient] | None = None

    async def ask(
        self,
        method: str,
        path: str,
        *,
        user: str,
        seconds: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request, for ``user``.

        :param path: one of ours, never a part of the caller's.
        :param seconds: that are left.
        :raises ProblemError: 404: none is configured; 502: what is there is no gateway, or does not know us; 503: it is
            away, or too many requests are under way; 504: no answer in time.
        """
        address = await self._configured()
        sent = {
            **(headers or {}),
            "Authorization": f"Bearer {address.token}",
            USER: quote(user, safe="@+~"),
            "X-Request-Timeout-Ms": str(max(1, int(seconds * 1000))),
        }
        async with self._place():
            try:
                async with asyncio.timeout(seconds):
                    reply = await self._reply(address, method, path, body, sent)
            except TimeoutError:
                detail = f"the gateway gave no answer within {seconds:.3g} s; allow more time, or ask for less"
                raise ProblemError(504, detail) from None
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                detail = f"the gateway cannot be reached ({type(error).__name__}); see [agentic] gateway_conn_id"
                raise ProblemError(503, detail, retry_after=RETRY_SECONDS) from error
        if reply.status in {401, 407} or 300 <= reply.status < 400:
            detail = (
                f"the gateway answers {reply.status} to this Airflow: its connection, [agentic] gateway_conn_id, "
                "needs the address and the token of a gateway's client with acts_for_users"
            )
            raise ProblemError(502, detail)
        return reply

    async def _configured(self) -> GatewayAddress:
        try:
            address = await self._desk(self._address)
        except InputError as error:  # the configuration's, not the caller's
            raise ProblemError(500, str(error)) from error
        if address is None:
            raise ProblemError(404, OFF)
        return address

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._free <= 0:
            detail = "too many requests to the gateway are under way here; try again"
            raise ProblemError(503, detail, retry_after=RETRY_SECONDS)
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1

    async def _reply(
        self, address: GatewayAddress, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Reply:
        client = await self._connected(address)
        async with client.stream(method, f"{address.url}{path}", content=body, headers=headers) as response:
            held = bytearray()
            async for chunk in response.aiter_bytes():
                held += chunk
                if len(held) > MOST_RESPONSE:
                    detail = f"the gateway's answer has more than {MOST_RESPONSE:,} bytes; ask for fewer records"
                    raise ProblemError(502, detail)
            kept = {name: value for name, value in response.headers.items() if name in KEPT}
            return Reply(status=response.status_code, headers=kept, body=bytes(held))

    async def _connected(self, address: GatewayAddress) -> httpx.AsyncClient:
        if self._client is not None and self._client[0] == address:
            return self._client[1]
        verify = await self._desk(lambda: _trusted(address))
        client = httpx.AsyncClient(
            verify=verify,
            transport=self._transport,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        )
        self._client = (address, client)  # requests under way still use the one before; it ends with them
        return client


def _trusted(address: GatewayAddress) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=address.ca_file)
    except OSError as error:
        detail = f"ca_file {address.ca_file!r} of the gateway's connection cannot be used: {error}"
        raise ProblemError(500, detail) from error


def document(reply: Reply) -> Any:
    """The JSON of an answer.

    :raises ProblemError: it is none.
    """
    try:
        return json.loads(reply.body)
    except ValueError:
        raise ProblemError(502, f"what is at the gateway's address answers {reply.status} without JSON") from None
