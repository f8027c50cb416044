"""Where a server without authentication may listen: where nobody but this machine can reach it."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

from airflow_agentic.exceptions import UnsafeBindingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def addresses(
    host: str, *, authenticated: bool, resolve: Callable[[str], Sequence[str]] | None = None
) -> tuple[str, ...]:
    """The IP addresses to listen on for ``host``: those that were judged, so that no name is resolved twice.

    A Unix socket is not a host and needs no judgement: the file's permissions say who may connect.

    :param host: an address, a name, or ``""`` for all addresses.
    :param authenticated: whether the server asks who calls.
    :param resolve: a name's addresses; the machine's own resolver where absent.
    :raises UnsafeBindingError: others could reach it, and nobody would be asked who they are; or no such host.
    """
    name = host.strip().removeprefix("[").removesuffix("]")
    found = _all(name, host, resolve or _resolve)
    if not authenticated:
        for address in found:
            if not address.is_loopback:
                raise UnsafeBindingError(_refusal(host, address))
    return tuple(dict.fromkeys(map(str, found)))


def _all(name: str, host: str, resolve: Callable[[str], Sequence[str]]) -> list[Address]:
    if name in ("", "*"):
        return [ipaddress.IPv6Address("::"), ipaddress.IPv4Address("0.0.0.0")]  # noqa: S104  # named, to be refused
    try:
        return [_address(name)]
    except ValueError:
        pass
    try:
        found = [_address(address) for address in resolve(name)]
    except (OSError, UnicodeError) as error:
        raise UnsafeBindingError(
            f"the host {host!r} cannot be resolved ({error}); give an address of this machine, as 127.0.0.1"
        ) from error
    if not found:
        raise UnsafeBindingError(f"the host {host!r} has no address; give one of this machine, as 127.0.0.1")
    return found


def _resolve(name: str) -> list[str]:
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [str(entry[4][0]) for entry in found]


def _address(text: str) -> Address:
    """An IPv4 address within an IPv6 one is the IPv4 address.

    :raises ValueError: it is none.
    """
    found = ipaddress.ip_address(text)
    return (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found


def _refusal(host: str, address: Address) -> str:
    what = "all addresses of this machine" if address.is_unspecified else f"the address {address}"
    return (
        f"the host {host!r} is {what}, and without authentication everybody who reaches it could use every workflow; "
        "set up bearer tokens or JWT, or listen on 127.0.0.1"
    )
