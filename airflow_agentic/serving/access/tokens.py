"""Bearer tokens from a file that holds their digests.

A token is 256 random bits, so that its plain SHA-256 tells nothing: who reads the file can use no token. A password
would need a slow hash; the function :func:`new_token` makes what goes in here.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import stat
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from airflow_agentic.exceptions import AgenticError, SpecError, UnauthenticatedError, UnsafeFileError
from airflow_agentic.serving.access.base import NOT_RECOGNISED, Client, Quota
from airflow_agentic.spec.base import Name, Spec, Strict, build
from airflow_agentic.spec.source import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LOOK_SECONDS: Final = 1.0
"""How often the file is looked at."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class NewToken:
    """A token, to be given to its client and kept nowhere."""

    token: str = field(repr=False)
    sha256: str
    """What the file holds."""


def new_token() -> NewToken:
    """A token of 256 random bits."""
    token = f"agentic_{secrets.token_urlsafe(32)}"
    return NewToken(token=token, sha256=_digest(token))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _sha256(value: Any) -> str:
    """Not quoted where it is wrong: it may be a token."""
    if isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef"):
        return value
    raise ValueError("this is no SHA-256\nwrite its 64 lower-case hexadecimal digits, never the token itself")


def _moment(value: Any) -> datetime:
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is no date\nwrite for example 2027-01-31, or 2027-01-31T12:00:00Z") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


class TokenSpec(Strict):
    """A token."""

    sha256: Annotated[str, BeforeValidator(_sha256)]
    expires: Annotated[datetime, BeforeValidator(_moment)] | None = None
    """From this moment on it is not valid; a date is its first moment, UTC."""


class QuotaSpec(Strict):
    """As :class:`Quota`."""

    requests_per_second: Annotated[float, Field(gt=0)] | None = None
    records_per_second: Annotated[float, Field(gt=0)] | None = None
    concurrent: Annotated[int, Field(gt=0)] | None = None
    burst_seconds: Annotated[float, Field(gt=0)] = 10.0


class ClientSpec(Strict):
    """A client; several tokens, so that a new one can be given out before the old one is removed."""

    name: Name
    workflows: list[Name] | Literal["*"]
    tokens: Annotated[list[TokenSpec], Field(min_length=1)]
    quota: QuotaSpec = QuotaSpec()
    acts_for_users: bool = False
    """It has let its users in itself, as Airflow's API server has: ``X-Agentic-User`` of its requests is believed."""


class AccessSpec(Spec):
    """The file."""

    clients: list[ClientSpec]


@dataclass(frozen=True)
class _Entry:
    digest: str
    expires: datetime | None
    client: Client


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
        self._path = path
        self._clock = clock
        self._now = now
        self._problem: str | None = None
        self._version = _version(path)
        self._entries = _entries(path)
        self._looked = clock()

    @property
    def problem(self) -> str | None:
        """See :class:`Authenticator`."""
        return self._problem

    async def client(self, token: str) -> Client:
        """See :class:`Authenticator`. Every token of the file is compared, whichever fits."""
        self._look()
        digest = _digest(token)
        found = None
        for entry in self._entries:
            if hmac.compare_digest(entry.digest, digest):
                found = entry
        if found is None or (found.expires is not None and found.expires <= self._now()):
            raise UnauthenticatedError(NOT_RECOGNISED)
        return found.client

    async def close(self) -> None:
        """See :class:`Authenticator`."""

    def _look(self) -> None:
        """Read the file again if it has changed."""
        now = self._clock()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        version = _version(self._path)
        if version == self._version:
            return
        self._version = version
        try:
            self._entries = _entries(self._path)
        except AgenticError as error:
            self._problem = f"the clients are still those of before: {error}"
            log.error("%s", self._problem)
        else:
            self._problem = None
            log.info("read %s again: %d tokens", self._path, len(self._entries))


def _version(path: Path) -> tuple[int, ...]:
    """What is another one once the file has changed: by writing, by renaming, by a link elsewhere, by ``chmod``."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _entries(path: Path) -> Sequence[_Entry]:
    data, source = read(path, shown=str(path))
    _refuse_unsafe(path)
    spec = build(AccessSpec, data, source, path.parent)
    _refuse_twice(spec)
    return tuple(_of(spec))


def _of(spec: AccessSpec) -> Iterator[_Entry]:
    for one in spec.clients:
        workflows = None if one.workflows == "*" else frozenset(one.workflows)
        quota = Quota(**dict(one.quota))
        client = Client(name=one.name, workflows=workflows, quota=quota, acts_for_users=one.acts_for_users)
        for token in one.tokens:
            yield _Entry(token.sha256, token.expires, client)


def _refuse_unsafe(path: Path) -> None:
    """:raises UnsafeFileError: somebody else could add a client."""
    try:
        found = path.stat()
    except OSError as error:
        raise UnsafeFileError(f"{path} cannot be looked at: {error.strerror}") from error
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UnsafeFileError(
            f"{path} has the mode {stat.S_IMODE(found.st_mode):04o}, so that others could give themselves access; "
            f"run: chmod go-w {path}"
        )
    if found.st_uid not in (0, os.geteuid()):
        raise UnsafeFileError(
            f"{path} belongs to the user {found.st_uid}, who could give itself access; run: chown {os.geteuid()} {path}"
        )


def _refuse_twice(spec: AccessSpec) -> None:
    """:raises SpecError: a client or a token stands twice."""
    seen: dict[str, str] = {}
    problems = []
    for number, client in enumerate(spec.clients):
        own = ("clients", number)
        if client.name in {one.name for one in spec.clients[:number]}:
            message = f"the client {client.name!r} stands twice"
            problems.append(spec.problem((*own, "name"), message, "give it several tokens instead"))
        for place, token in enumerate(client.tokens):
            if token.sha256 in seen:
                message = f"this token is also one of {seen[token.sha256]!r}"
                problems.append(spec.problem((*own, "tokens", place, "sha256"), message, "make a token for each"))
            seen[token.sha256] = client.name
    if problems:
        raise SpecError(problems)
