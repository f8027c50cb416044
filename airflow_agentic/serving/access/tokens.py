"""Bearer tokens from a file that holds their digests."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_agentic.serving.access.base import Client


@dataclass(frozen=True, kw_only=True)
class NewToken:
    """A token, to be given to its client and kept nowhere."""

    token: str = field(repr=False)
    sha256: str
    """What the file holds."""


def new_token() -> NewToken:
    """A token of 256 random bits."""
    raise NotImplementedError


class TokenFile:
    """An :class:`Authenticator`: the clients of a YAML file, read again when it changes.

    ::

        clients:
          - name: web-shop
            workflows: [mixed-inbox]          # or "*"
            tokens: [{sha256: 9f86d081…, expires: 2027-01-01}]
            quota: {requests_per_second: 20, records_per_second: 200, concurrent: 8}

    A file that cannot be used any more leaves the clients as they were, and :attr:`problem` says so.

    :param path: must belong to this user or root, and be writable by nobody else.
    :raises SpecError: the file is wrong.
    :raises UnsafeFileError: somebody else could write it.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        raise NotImplementedError

    @property
    def problem(self) -> str | None:
        raise NotImplementedError

    async def client(self, token: str) -> Client:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
