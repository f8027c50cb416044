"""Who asks, and whether they may: before anything else of a request is read."""

from __future__ import annotations

import ipaddress
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from airflow_agentic.exceptions import (
    AccessError,
    AgenticError,
    AuthenticationUnavailableError,
    ForbiddenError,
    QuotaExceededError,
    QuotaTooSmallError,
    UnauthenticatedError,
)
from airflow_agentic.serving.access import ANYBODY, Quotas, bearer
from airflow_agentic.serving.gateway.problems import (
    FORBIDDEN,
    MISDIRECTED,
    NOT_READY,
    QUOTA_EXCEEDED,
    TOO_LARGE,
    UNAUTHENTICATED,
    ProblemError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_agentic.serving.access import Authenticator, Client
    from airflow_agentic.serving.gateway.exchange import Exchange

RETRY_SECONDS: Final = 5.0
USER: Final = b"x-agentic-user"
"""For whom a client asks that has let its users in itself."""


class Door:
    """Recognises clients, and counts what they ask.

    Without an authenticator everybody is let in who speaks to this machine as itself: a page in a browser, whose name
    for this machine is another one (DNS rebinding), or that comes from elsewhere, is not.

    :param authenticator: ``None`` lets everybody in; the server then listens on loopback only.
    """

    def __init__(self, authenticator: Authenticator | None = None) -> None:
        self.authenticator = authenticator
        self._quotas = Quotas()

    async def client(self, exchange: Exchange) -> Client:
        """Who asks.

        :raises ProblemError: nobody who is known, or who may ask here.
        """
        if self.authenticator is None:
            _check_origin(exchange)
            return self._acting(exchange, ANYBODY)
        try:
            client = await self.authenticator.client(bearer(exchange.header(b"authorization")))
        except AccessError as error:
            raise refusal(error) from error
        return self._acting(exchange, client)

    @staticmethod
    def _acting(exchange: Exchange, client: Client) -> Client:
        """``client``, or the user that it asks for."""
        exchange.client = client.name
        user = exchange.header(USER)
        if user is None:
            return client
        try:
            found = client.acting_for(user)
        except AccessError as error:
            raise refusal(error) from error
        exchange.client = found.name
        return found

    @contextmanager
    def admitted(self, client: Client, *, records: int) -> Iterator[None]:
        """Count a request of so many records, and hold its place until the context ends.

        :raises ProblemError: it is more than the client's quota.
        """
        if client is ANYBODY:
            yield
            return
        with ExitStack() as held:
            try:
                held.enter_context(self._quotas.admit(client, records=records))
            except AccessError as error:
                raise refusal(error) from error
            yield

    async def close(self) -> None:
        """End its connections."""
        if self.authenticator is not None:
            await self.authenticator.close()


def require(client: Client, workflow: str) -> None:
    """:raises ProblemError: ``client`` may not use ``workflow``, whether or not there is one."""
    try:
        client.require(workflow)
    except AccessError as error:
        raise refusal(error) from error


def refusal(error: AgenticError) -> ProblemError:
    """An error of access as a problem."""
    detail = str(error)
    if isinstance(error, UnauthenticatedError):
        challenge = 'Bearer realm="airflow-agentic"'
        return ProblemError(UNAUTHENTICATED, detail, headers=[("www-authenticate", challenge)])
    if isinstance(error, AuthenticationUnavailableError):
        return ProblemError(NOT_READY, detail, retry_after=RETRY_SECONDS)
    if isinstance(error, QuotaExceededError):
        return ProblemError(QUOTA_EXCEEDED, detail, retry_after=error.retry_after)
    if isinstance(error, QuotaTooSmallError):
        return ProblemError(TOO_LARGE, detail)
    if isinstance(error, ForbiddenError):
        return ProblemError(FORBIDDEN, detail)
    raise error


def _check_origin(exchange: Exchange) -> None:
    host = exchange.header(b"host") or ""
    name = urlsplit(f"//{host}").hostname or ""
    if name and not _is_this_machine(name):
        detail = f"the host {host[:80]!r} is another name than this machine's own; ask 127.0.0.1 or localhost"
        raise ProblemError(MISDIRECTED, detail)
    origin = exchange.header(b"origin")
    if origin is not None and urlsplit(origin).netloc != host:
        detail = f"the page of {origin[:80]!r} may not ask here: requests of other origins are off"
        raise ProblemError(FORBIDDEN, detail)


@lru_cache(maxsize=256)
def _is_this_machine(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
