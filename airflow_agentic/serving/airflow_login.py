"""How the gateway logs in to Airflow."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_agentic.exceptions import AccessSettingsError, AirflowApiError, AirflowRefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@dataclass(frozen=True, kw_only=True)
class AirflowLogin:
    """How to reach an Airflow: one of ``token``, ``token_file``, or ``user`` and ``password``.

    :raises AccessSettingsError: none of them, several, or a URL that is no http one.
    """

    url: str
    """Of the API server, as ``https://airflow.example.com``; a path before ``/api/v2`` stays."""
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    """Read again when Airflow refuses the token."""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    """Exchanged at ``/auth/token``; again when Airflow refuses the token."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise AccessSettingsError(
                "the URL of Airflow is none; write for example https://airflow.example.com, "
                "without user, password or query"
            )
        if (self.user is None) != (self.password is None):
            raise AccessSettingsError("of Airflow's user and password one is missing; give both, or a token")
        given = [name for name in ("token", "token_file", "user") if getattr(self, name)]
        if len(given) != 1:
            raise AccessSettingsError(
                f"to log in to Airflow {' and '.join(given) or 'nothing'} is set; "
                "give one of: token, token_file, user with password"
            )

    @property
    def base(self) -> str:
        """The URL without a slash at its end."""
        return self.url.rstrip("/")


class Tokens:
    """The bearer token for Airflow's API, made anew when Airflow refuses it. For one event loop.

    :param exchange: user and password for a token.
    """

    def __init__(self, login: AirflowLogin, exchange: Callable[[str, str], Awaitable[str]]) -> None:
        self._login = login
        self._exchange = exchange
        self._token: str | None = None
        self._lock = asyncio.Lock()

    async def get(self, refused: str | None = None) -> str:
        """A token.

        :param refused: one that Airflow has just refused: give another.
        :raises AirflowRefusedError: there is no other.
        """
        async with self._lock:  # of many that were refused at once, the first renews
            if self._token is None or self._token == refused:
                self._token = await self._fresh()
                if self._token == refused:
                    raise AirflowRefusedError(
                        f"Airflow at {self._login.base} does not accept the token; {self._way_out()}", 401
                    )
            return self._token

    async def _fresh(self) -> str:
        login = self._login
        if login.user is not None and login.password is not None:
            return await self._exchange(login.user, login.password)
        if login.token_file is None:
            return str(login.token)
        try:
            token = (await asyncio.to_thread(login.token_file.read_text)).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise AirflowApiError(
                f"the file {str(login.token_file)!r} with Airflow's token cannot be read ({error}); "
                "check its path and mode"
            ) from error
        if not token.isascii() or not token.isprintable() or not token:
            raise AirflowApiError(f"the file {str(login.token_file)!r} holds no token; write one line with the token")
        return token

    def _way_out(self) -> str:
        if self._login.token_file is not None:
            return f"write a new one to {str(self._login.token_file)!r}"
        if self._login.user is not None:
            return "check that the user may use the API"
        return "it may have expired: set a new one, or give user and password, which are renewed"
