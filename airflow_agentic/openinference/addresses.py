"""The servers behind the URLs of a service: a host name with several addresses is several servers."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from airflow_agentic.openinference.balance import Server

LOOKUP_SECONDS: Final = 30.0
"""How long an answer of the name service is believed."""

LookUp = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port → its addresses."""


async def look_up(host: str, port: int) -> list[str]:
    """The host's addresses; none where the name service fails.

    A name with one address of each family is one server: whoever connects tries both.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    families = [list(dict.fromkeys(str(one[4][0]) for one in found if one[0] == family)) for family in _FAMILIES]
    return next((addresses for addresses in families if len(addresses) > 1), [])


_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)


async def servers(urls: Sequence[str], find: LookUp) -> list[Server]:
    """One server a URL, or one an address of its host."""
    made: list[Server] = []
    for url in urls:
        parts = urlsplit(url)
        host = str(parts.hostname)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        addresses = [] if _is_address(host) else sorted(await find(host, port))
        if len(addresses) < 2:
            made.append(Server(url))
            continue
        for address in addresses:
            at = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
            made.append(Server(urlunsplit((parts.scheme, at, parts.path, "", "")), host))
    return made


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
