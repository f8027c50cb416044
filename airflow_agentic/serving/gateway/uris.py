"""What requests name by URI: read here, once, bounded, before any model sees the record.

Whoever sends a request chooses the URI, and it is opened with the gateway's rights. So nothing may be named that is
not below an allowed prefix; the record goes on as the bytes that were read, and no model process opens it again.

``http`` and ``https`` are read without following redirects, and only from addresses of the wide network or of a private
one: never from this machine, its link (where clouds keep their metadata) or a group. A prefix that itself names such
an address, as ``http://127.0.0.1:9000/photos/``, says that it is meant. The address that was looked up is the one that
is connected to, so that a name that changes its mind between look-up and connection gains nothing.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from airflow_agentic import foreign
from airflow_agentic.exceptions import InputError, RecordError
from airflow_agentic.pipeline.uris import AllowedUris, resolve

if TYPE_CHECKING:
    import aiohttp

THREADS: Final = 8
"""Of its own: a store that hangs takes no thread from the models."""

_WEB: Final = ("http://", "https://")
_METADATA: Final = frozenset({"100.100.100.200", "168.63.129.16", "fd00:ec2::254"})
"""Where clouds answer who asks, outside of the link: Alibaba's, Azure's, and Amazon's over IPv6."""


class UriReader:
    """Reads what is below allowed prefixes.

    :param prefixes: absolute paths or URIs; none allows nothing.
    :param most: bytes of one.
    :param seconds: one may take.
    :raises InputError: a prefix is no URI.
    """

    def __init__(self, prefixes: Sequence[str], *, most: int, seconds: float) -> None:
        try:
            self.allowed = AllowedUris.under(None, prefixes)
        except RecordError as error:
            raise InputError(f"--allow-uri: {error}") from error
        self.most = most
        self.seconds = seconds
        self._meant = {host for prefix in self.allowed.prefixes or () if (host := _literal(prefix)) is not None}
        self._web: aiohttp.ClientSession | None = None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="gateway-uris")

    def check(self, uri: str) -> str:
        """``uri`` made absolute.

        :raises RecordError: ``bad_record`` or ``uri_not_allowed``.
        """
        try:
            return self.allowed.check(resolve(uri, None))
        except RecordError as error:
            if error.code != "uri_not_allowed":
                raise
            known = "this gateway reads no URIs" if not self.allowed.prefixes else "it is below no allowed prefix"
            raise RecordError(
                "uri_not_allowed",
                f"the uri {uri!r} may not be read: {known}; send the content itself, "
                "or have the gateway started with --allow-uri PREFIX",
            ) from None

    async def read(self, uri: str) -> bytes:
        """The content behind ``uri``, which :meth:`check` gave.

        :raises RecordError: ``unreadable``, ``too_large``.
        """
        try:
            async with asyncio.timeout(self.seconds):
                if uri.startswith(_WEB):
                    return await self._fetch(uri)
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, uri)
        except TimeoutError:
            raise RecordError("unreadable", f"the input's URI {uri!r} was not read within {self.seconds:g} s") from None

    def _read(self, uri: str) -> bytes:
        return foreign.read(uri, most=self.most)

    async def close(self) -> None:
        """End its connections."""
        if self._web is not None:
            await self._web.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _fetch(self, uri: str) -> bytes:
        import aiohttp

        try:
            host = _literal(uri)
            if host is not None:
                self._permit(host)
            async with self._session().get(uri, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise RecordError("unreadable", f"the input's URI {uri!r} {_status(answer.status)}")
                content = await answer.content.read(self.most + 1)
                while len(content) <= self.most and (more := await answer.content.read(self.most + 1 - len(content))):
                    content += more
        except RecordError:
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            why = f"{type(error).__name__}: {error}"
            raise RecordError("unreadable", f"the input's URI {uri!r} cannot be read: {why}") from error
        if len(content) > self.most:
            raise RecordError("too_large", f"the input's URI {uri!r} has more than {self.most:,} bytes")
        return content

    def _session(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._web is None:
            connector = aiohttp.TCPConnector(resolver=_resolver(self._permit), use_dns_cache=False)
            self._web = aiohttp.ClientSession(
                connector=connector, trust_env=False, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._web

    def _permit(self, address: str) -> None:
        """:raises OSError: the address is none that a request may make the gateway connect to."""
        if address not in self._meant and not reachable(address):
            raise OSError(errno.EACCES, f"{address} is an address of this machine, its link or a group")


class Held:
    """How much the URIs of one request hold together.

    :param most: bytes.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = 0

    def add(self, content: bytes) -> bytes:
        """``content`` itself.

        :raises RecordError: ``too_large``: with it, it is too much.
        """
        if self.size + len(content) > self.most:
            raise RecordError(
                "too_large",
                f"the URIs of one request hold more than {self.most:,} bytes together; send several, or NDJSON",
            )
        self.size += len(content)
        return content


def _status(status: int) -> str:
    if status in range(300, 400):
        return f"is redirected (HTTP {status}), which is not followed; name where it leads"
    return f"is answered with HTTP {status}; name a file that can be read"


def reachable(address: str) -> bool:
    """Whether an IP address is one of the wide network or of a private one."""
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return reachable(str(inner))
    local = ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_reserved
    return not local and str(ip) not in _METADATA and ip not in ipaddress.ip_network("0.0.0.0/8")


def _literal(uri: str) -> str | None:
    """The IP address that a web URI names; ``None`` where it names a host, or is none."""
    if not uri.startswith(_WEB):
        return None
    host = urlsplit(uri).hostname or ""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def _resolver(permit: Any) -> Any:
    """aiohttp's resolver, which refuses addresses: what it returns is what is connected to."""
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Permitted(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM, family=family, proto=socket.IPPROTO_TCP
            )
            results = []
            for kind, _, _, _, place in found:
                address = str(place[0])
                permit(address)
                results.append(
                    ResolveResult(
                        hostname=host,
                        host=address,
                        port=port,
                        family=kind,
                        proto=socket.IPPROTO_TCP,
                        flags=socket.AI_NUMERICHOST,
                    )
                )
            return results

        async def close(self) -> None:
            """Nothing to give back."""

    return Permitted()
