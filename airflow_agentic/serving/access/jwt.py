"""JSON Web Tokens, whose keys an issuer publishes as a JWKS."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_agentic.serving.access.base import Client, Quota

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, kw_only=True)
class JwtRules:
    """Which tokens are good, and what they say.

    :raises AccessSettingsError: an algorithm is not one of those with a public key, or issuer, audience or JWKS is
        missing or no usable address.
    """

    issuer: str
    audience: str
    jwks: str
    """URL (``https``; ``http`` on loopback only) or path of the key set."""
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    client_claim: str = "sub"
    workflows_claim: str = "scope"
    """A list, or names with spaces between; ``*`` is every workflow. Without the claim: none."""
    workflows_prefix: str = ""
    """Only entries that begin so count, as ``agentic:``; the rest is a workflow's name."""
    leeway: float = 30.0
    """Seconds that clocks may differ."""
    quota: Quota = field(default_factory=Quota)
    """Of every client."""


class JwtAuthenticator:
    """An :class:`Authenticator`.

    Keys are fetched when first needed, again after ``cached`` seconds, and when a token names an unknown one, but not
    more often than every ``pause`` seconds. Where they cannot be fetched, known keys go on for ``stale`` seconds.
    """

    def __init__(
        self,
        rules: JwtRules,
        *,
        cached: float = 300.0,
        stale: float = 3600.0,
        pause: float = 10.0,
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
