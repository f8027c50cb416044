"""Clients, and the seam of what recognises them. Must never import a web framework.

What a client hears when it is not recognised is one sentence for every reason: whether a name or a token exists is
nobody's business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from airflow_agentic.exceptions import ForbiddenError, UnauthenticatedError

NOT_RECOGNISED: Final = (
    "the token is not valid here: it is unknown, it has expired, or it was made for somebody else; "
    "ask whoever runs this gateway for one"
)
"""What is said of every token that is refused."""
MAX_TOKEN: Final = 16_384
"""Characters."""

_USER: Final = re.compile(r"[A-Za-z0-9._~@+%-]{1,300}")
_BEARER: Final = re.compile(rf"bearer +([A-Za-z0-9._~+/-]{{1,{MAX_TOKEN}}}=*)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Quota:
    """How much a client may ask of one gateway process; ``None`` is any amount.

    Rates are token buckets that hold ``burst_seconds`` of their rate, at least one: so a request may have as many
    records as the bucket holds.
    """

    requests_per_second: float | None = None
    records_per_second: float | None = None
    concurrent: int | None = None
    """Requests under way at the same time."""
    burst_seconds: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Client:
    """Somebody who was recognised."""

    name: str
    workflows: frozenset[str] | None
    """What it may use; ``None`` is every workflow."""
    quota: Quota = field(default_factory=Quota)
    """Each user that it asks for has one of its own."""
    acts_for_users: bool = False
    """Whether it is believed when it says for whom it asks."""

    def acting_for(self, user: str) -> Client:
        """This client as one of its users: jobs, keys and quotas are that user's alone.

        :raises ForbiddenError: it is not believed, or ``user`` is no name.
        """
        if not self.acts_for_users:
            raise ForbiddenError(
                f"{self.name!r} may not ask for others; ask without X-Agentic-User, "
                "or have whoever runs this gateway give the client acts_for_users"
            )
        if _USER.fullmatch(user) is None:
            raise ForbiddenError("X-Agentic-User is no name of 1 to 300 letters, digits and -._~@+%; percent-encode it")
        return replace(self, name=f"{self.name}/{user}", acts_for_users=False)

    def may(self, workflow: str) -> bool:
        """Whether it may use ``workflow``."""
        return self.workflows is None or workflow in self.workflows

    def require(self, workflow: str) -> None:
        """:raises ForbiddenError: it may not. The message is the same where there is no such workflow."""
        if not self.may(workflow):
            raise ForbiddenError(
                f"{self.name!r} may not use the workflow {workflow[:80]!r}; "
                "ask whoever runs this gateway to add it to the client's workflows"
            )


ANYBODY: Final = Client(name="anybody", workflows=None)
"""Who asks a server without authentication, which listens on loopback only."""


class Authenticator(Protocol):
    """Recognises clients."""

    async def client(self, token: str) -> Client:
        """Whose token it is.

        :raises UnauthenticatedError: it is nobody's, or no longer valid; the message does not say which.
        :raises AuthenticationUnavailableError: what it takes to know cannot be had now; retrying can help.
        """

    async def close(self) -> None:
        """Give its connections back."""

    @property
    def problem(self) -> str | None:
        """What is wrong with it, for readiness and the log: it may still recognise those it knew."""


def bearer(authorization: str | None) -> str:
    """The token of an ``Authorization`` header.

    :raises UnauthenticatedError: there is no header, or it holds no bearer token.
    """
    found = _BEARER.fullmatch(authorization or "")
    if found is None:
        raise UnauthenticatedError("there is no bearer token; send the header 'Authorization: Bearer TOKEN'")
    return found[1]
