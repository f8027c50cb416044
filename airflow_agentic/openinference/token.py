"""The bearer token of a server, where its reference says; read again when it changes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_agentic.exceptions import ServiceRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_agentic.spec.service import TokenReference


class BearerToken:
    """Gives the header ``Authorization``.

    :param given: the token itself, for a service without a reference to one.
    :param environment: of this process (tests replace it).
    """

    def __init__(
        self, reference: TokenReference | None, given: str | None = None, environment: Mapping[str, str] = os.environ
    ) -> None:
        self._reference = reference
        self._given = given
        self._environment = environment
        self._seen: tuple[int, int, int] | None = None
        self._value = ""

    def headers(self) -> dict[str, str]:
        """The header; none without a reference.

        :raises ServiceRefusedError: the token is not where the reference says.
        """
        reference = self._reference
        if reference is None:
            return {} if self._given is None else self._header(self._given, "its connection")
        if reference.file is not None:
            return self._header(self._from_file(Path(reference.file)), f"the file {reference.file!r}")
        return self._header(self._environment.get(str(reference.env), ""), f"the variable {reference.env!r}")

    def _from_file(self, path: Path) -> str:
        try:
            found = path.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen != self._seen:
                self._value = path.read_text(encoding="utf-8")
                self._seen = seen
        except (OSError, UnicodeDecodeError) as error:
            raise ServiceRefusedError(f"the service's token cannot be read: {error}; fix token.file") from error
        return self._value

    @staticmethod
    def _header(value: str, where: str) -> dict[str, str]:
        token = value.strip()
        if not token or not token.isprintable() or not token.isascii():
            what = "is empty or not set" if not token else "is more than one line, or no plain text"
            raise ServiceRefusedError(f"the service's token in {where} {what}; write the token there, or fix token")
        return {"Authorization": f"Bearer {token}"}
