"""The public keys of an issuer of JSON Web Tokens: fetched, cached, changed while we run."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from airflow_agentic.exceptions import AuthenticationUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BYTES: Final = 2**20
FETCH_SECONDS: Final = 10.0
PUBLIC_KINDS: Final = frozenset({"RSA", "EC", "OKP"})


class IssuerKeys:
    """A key set (JWKS). For one event loop.

    :param place: URL or path.
    :param cached: seconds after which the set is fetched again.
    :param stale: seconds for which known keys go on where it cannot be fetched.
    :param pause: seconds between two tries at least, whatever key ids tokens name.
    """

    def __init__(self, place: str, *, cached: float, stale: float, pause: float, clock: Callable[[], float]) -> None:
        self._place = place
        self._cached = cached
        self._stale = stale
        self._pause = pause
        self._clock = clock
        self._keys: dict[str, dict[str, Any]] = {}
        self._fetched = self._tried = -math.inf
        self._lock = asyncio.Lock()
        self.problem: str | None = None
        """Why the last try failed."""

    async def key(self, kid: str) -> dict[str, Any] | None:
        """The public key of that id, as a JWK; ``None`` if the issuer has none.

        :raises AuthenticationUnavailableError: the keys cannot be had, so that nobody knows.
        """
        if self._clock() - self._fetched >= self._cached:
            await self._refresh()
        found = self._keys.get(kid)
        if found is None:
            await self._refresh()
            found = self._keys.get(kid)
        gone = self._clock() - self._fetched >= self._stale
        if self.problem is not None and (found is None or gone):
            raise AuthenticationUnavailableError(f"the token cannot be checked now: {self.problem}; ask again later")
        return found

    async def _refresh(self) -> None:
        async with self._lock:
            now = self._clock()
            if now - self._tried < self._pause:
                return
            self._tried = now
            try:
                self._keys = _public(await self._load())
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                why = str(error) or type(error).__name__
                self.problem = f"the issuer's keys cannot be read from {self._place} ({why})"
            else:
                self._fetched = now
                self.problem = None

    async def _load(self) -> bytes:
        if "://" not in self._place:
            return await asyncio.to_thread(Path(self._place).read_bytes)
        timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(self._place, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise ValueError(f"status {answer.status}")
            data = await answer.content.read(MAX_BYTES + 1)
            while len(data) <= MAX_BYTES and (more := await answer.content.read(MAX_BYTES)):
                data += more
        if len(data) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES:,} bytes")
        return data


def _public(data: bytes) -> dict[str, dict[str, Any]]:
    """The keys for signatures that have an id and can be used, by it. Others are left out, as the standard asks.

    :raises ValueError: it is no key set.
    """
    content = json.loads(data)
    keys = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(keys, list):
        raise ValueError("no JSON object with a list 'keys'")
    return {key["kid"]: key for key in keys if isinstance(key, dict) and _usable(key)}


def _usable(key: dict[str, Any]) -> bool:
    if not isinstance(key.get("kid"), str) or key.get("kty") not in PUBLIC_KINDS or key.get("use", "sig") != "sig":
        return False
    try:
        PyJWK(key)
    except (PyJWTError, ValueError, TypeError):
        return False
    return True
