"""Where a server without authentication may listen: where nobody but this machine can reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


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
    raise NotImplementedError
