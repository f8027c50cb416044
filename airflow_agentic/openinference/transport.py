"""One HTTP exchange with one server: pooled connections that stay open, TLS, bounds; no retry, no redirect."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import orjson

from airflow_agentic.exceptions import (
    AgenticError,
    DeadlineError,
    MissingExtraError,
    ModelUnavailableError,
    OverloadedError,
    ServiceRefusedError,
)
from airflow_agentic.openinference.rest import HEADER_LENGTH
from airflow_agentic.openinference.token import BearerToken

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp
    from yarl import URL

    from airflow_agentic.openinference.balance import Server
    from airflow_agentic.spec.service import ServiceSpec

DEADLINE: Final = "X-Request-Timeout-Ms"
"""The header that says how much time a request has left, in whole milliseconds."""

_UNAVAILABLE: Final = frozenset({429, 502, 503, 504})
_SHOWN: Final = 500


class Exchange(NamedTuple):
    """A response as it came."""

    body: bytes
    header_length: int | None
    """Of the JSON, where binary tensors follow it."""


class FailedError(Exception):
    """An exchange that failed; internal to the client.

    :param error: what the caller is told.
    :param again: whether it may be tried once more: ``now``, as nothing of a response was heard, or ``later``, as the
        server is busy; then on another server at once.
    :param unhealthy: whether it tells that the server is not well.
    :param after: seconds that a busy server asks to wait; ``None``: it did not say.
    """

    def __init__(
        self,
        error: AgenticError,
        *,
        again: Literal["never", "now", "later"] = "never",
        unhealthy: bool = False,
        after: float | None = None,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.again = again
        self.unhealthy = unhealthy
        self.after = after


class Transport:
    """Connections to the servers of one service, at most ``concurrency`` to each; for one event loop.

    :raises MissingExtraError: aiohttp is not installed.
    :raises ServiceRefusedError: the CA file cannot be used.
    """

    def __init__(self, service: ServiceSpec, token: str | None = None) -> None:
        try:
            import aiohttp
            from yarl import URL
        except ImportError:
            raise MissingExtraError("aiohttp", "service") from None
        self._aiohttp = aiohttp
        self._url = URL
        self._limit = service.max_response
        self._token = BearerToken(service.token, token)
        self._urls: dict[tuple[str, str], URL] = {}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=service.concurrency, ssl=_tls(service.ca_file)),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=service.connect_timeout),
            headers={"Accept-Encoding": "identity", "User-Agent": "airflow-agentic"},
            auto_decompress=False,
            raise_for_status=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            requote_redirect_url=False,
        )

    async def exchange(
        self,
        server: Server,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        header_length: int | None = None,
        seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Exchange:
        """Ask ``server``.

        :param seconds: that are left, told to the server.
        :param headers: further ones.
        :raises FailedError: anything but a response of status 200 or 202.
        """
        headers = {**self._headers(server, body, header_length, seconds), **(headers or {})}
        try:
            sent = self._session.request(
                method,
                self._place(server.url, path),
                data=body,
                headers=headers,
                allow_redirects=False,
                server_hostname=server.host,
            )
            response = await sent
        except self._aiohttp.ClientConnectorCertificateError as error:
            refusal = ServiceRefusedError(
                f"the server {server.url} is not trusted: {_said(error)}; fix service.ca_file, or its certificate"
            )
            raise FailedError(refusal) from error
        except (self._aiohttp.ClientError, OSError) as error:
            raise FailedError(_unavailable(server, _said(error)), again="now", unhealthy=True) from error
        try:
            async with response:
                found = await self._read(server, response)
                if response.status not in (200, 202):
                    raise _refusal(server, path, response.status, response.headers, found)
                return Exchange(found, _length(server, response.headers))
        except (self._aiohttp.ClientError, OSError) as error:
            why = f"its response broke off: {_said(error)}"
            raise FailedError(_unavailable(server, why), unhealthy=True) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    def _headers(
        self, server: Server, body: bytes | None, header_length: int | None, seconds: float | None
    ) -> dict[str, str]:
        headers = self._token.headers()
        if server.host is not None:
            headers["Host"] = self._url(server.url).with_host(server.host).authority
        if body is not None:
            headers["Content-Type"] = "application/json" if header_length is None else "application/octet-stream"
        if header_length is not None:
            headers[HEADER_LENGTH] = str(header_length)
        if seconds is not None:
            headers[DEADLINE] = str(max(1, int(seconds * 1000)))
        return headers

    def _place(self, base: str, path: str) -> URL:
        found = self._urls.get((base, path))
        if found is None:
            found = self._urls[base, path] = self._url(base + path, encoded=True)
        return found

    async def _read(self, server: Server, response: aiohttp.ClientResponse) -> bytes:
        length = response.content_length
        if length is not None and length <= self._limit:
            return await response.read()
        parts: list[bytes] = []
        held = 0
        while length is None and held <= self._limit:
            part = await response.content.readany()
            if not part:
                return b"".join(parts)
            parts.append(part)
            held += len(part)
        response.close()
        error = ServiceRefusedError(
            f"the response of {server.url} is larger than {self._limit:,} bytes; raise service.max_response, or ask "
            "for fewer records at once (batch.rows)"
        )
        raise FailedError(error)


def _tls(ca_file: str | None) -> ssl.SSLContext | bool:
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ServiceRefusedError(
            f"service.ca_file {ca_file!r} holds no certificates that can be used: {error}"
        ) from None


def _unavailable(server: Server, why: str) -> ModelUnavailableError:
    return ModelUnavailableError(f"the server {server.url} did not answer: {why}")


def _said(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError) or not str(error):
        return (
            f"{type(error).__name__}: no connection in time"
            if isinstance(error, TimeoutError)
            else type(error).__name__
        )
    return str(error)


def _refusal(server: Server, path: str, status: int, headers: Mapping[str, str], body: bytes) -> FailedError:
    said = _message(body)
    if status in _UNAVAILABLE:
        message, after = f"the server {server.url} answered {status}: {said}", _retry_after(headers)
        if status == 429:
            return FailedError(OverloadedError(message, after), again="later", after=after)
        if status == 503:
            return FailedError(ModelUnavailableError(message), again="later", unhealthy=True, after=after)
        error = DeadlineError(message) if status == 504 else ModelUnavailableError(message)
        return FailedError(error, unhealthy=True)
    if 300 <= status < 400:
        said = f"a redirect to {headers.get('Location', 'nowhere')!r}, which is not followed; write that as service.url"
    hint = {401: "; fix service.token", 403: "; fix service.token, or its rights"}.get(status, "")
    message = f"{server.url}{path} answered {status}: {said}{hint}"
    return FailedError(ServiceRefusedError(message, status))


def _message(body: bytes) -> str:
    """What a server says of an error: the protocol's ``error``, others' ``detail``, else the text."""
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = body.decode("utf-8", "replace")
    if isinstance(document, dict):
        document = next((document[key] for key in ("error", "detail", "message") if document.get(key)), document)
    text = " ".join(str(document).split())
    return (text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…") or "nothing"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds; a date is not read."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None


def _length(server: Server, headers: Mapping[str, str]) -> int | None:
    value = headers.get(HEADER_LENGTH)
    if value is None:
        return None
    if not value.isdecimal():
        error = ServiceRefusedError(f"the server {server.url} gave the header {HEADER_LENGTH}: {value!r}, not a number")
        raise FailedError(error)
    return int(value)
