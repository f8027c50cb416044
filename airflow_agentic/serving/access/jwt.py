"""JSON Web Tokens, whose keys an issuer publishes as a JWKS.

Only algorithms with a public key: what can check a token can make none. The token chooses neither its algorithm (it
must be one of the rules', and that of the key) nor where the key comes from (its headers ``jku``, ``x5u`` and ``jwk``
are not looked at).
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import jwt
from jwt.exceptions import PyJWTError

from airflow_agentic.exceptions import AccessSettingsError, UnauthenticatedError
from airflow_agentic.serving.access.base import NOT_RECOGNISED, Client, Quota
from airflow_agentic.serving.access.keys import IssuerKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
"""Those with a public key."""
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
MAX_NAME: Final = 255

log = logging.getLogger(__name__)


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

    def __post_init__(self) -> None:
        for name in ("issuer", "audience", "jwks", "client_claim", "workflows_claim"):
            if not getattr(self, name):
                raise AccessSettingsError(f"{name} is empty: without it tokens of others would be good here; set it")
        wrong = [name for name in self.algorithms if name not in ALGORITHMS]
        if wrong or not self.algorithms:
            known = ", ".join(ALGORITHMS)
            raise AccessSettingsError(
                f"algorithms is {list(self.algorithms)!r}; give some of those with a public key: {known}"
            )
        if not 0 <= self.leeway <= 300:
            raise AccessSettingsError(f"leeway is {self.leeway!r}; give 0 to 300 seconds")
        self._check_place()

    def _check_place(self) -> None:
        if "://" not in self.jwks:
            if not Path(self.jwks).is_file():
                raise AccessSettingsError(f"jwks is {self.jwks!r}, and there is no such file; give a URL or a path")
            return
        parts = urlsplit(self.jwks)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise AccessSettingsError(
                f"jwks is {self.jwks!r}: whoever stands between could send other keys; give an https URL, or a path"
            )


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
    ) -> None:
        self._rules = rules
        self._keys = IssuerKeys(rules.jwks, cached=cached, stale=stale, pause=pause, clock=clock)

    @property
    def problem(self) -> str | None:
        """See :class:`Authenticator`."""
        return self._keys.problem

    async def client(self, token: str) -> Client:
        """See :class:`Authenticator`. The log says why a token is refused."""
        try:
            claims = await self._claims(token)
            return self._client(claims)
        except (PyJWTError, ValueError, TypeError) as error:
            log.info("a token is refused: %s: %.200r", type(error).__name__, str(error))
            raise UnauthenticatedError(NOT_RECOGNISED) from error

    async def close(self) -> None:
        """See :class:`Authenticator`."""

    async def _claims(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        algorithm, kid = header.get("alg"), header.get("kid")
        unknown = "crit" in header  # what must be understood; PyJWT 2.8 does not look at it
        if algorithm not in self._rules.algorithms or unknown or not isinstance(kid, str):
            raise ValueError(f"its header is {header!r}")
        key = await self._keys.key(kid)
        if key is None or key.get("alg", algorithm) != algorithm:
            raise ValueError(f"no key {kid!r} for {algorithm}")
        found: dict[str, Any] = jwt.decode(
            token,
            jwt.PyJWK(key, algorithm).key,  # refused if the key is of another kind
            algorithms=[algorithm],
            audience=self._rules.audience,
            issuer=self._rules.issuer,
            leeway=self._rules.leeway,
            options={"require": ["exp", "iss", "aud"]},
        )
        return found

    def _client(self, claims: Mapping[str, Any]) -> Client:
        name = claims.get(self._rules.client_claim)
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise ValueError(f"its claim {self._rules.client_claim!r} names no client")
        granted = claims.get(self._rules.workflows_claim, [])
        entries = granted.split() if isinstance(granted, str) else granted
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise ValueError(f"its claim {self._rules.workflows_claim!r} is no list of names")
        prefix = self._rules.workflows_prefix
        names = frozenset(entry.removeprefix(prefix) for entry in entries if entry.startswith(prefix))
        return Client(name=name, workflows=None if "*" in names else names, quota=self._rules.quota)
