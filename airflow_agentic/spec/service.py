"""Where a model is served, and how it is asked: what cards, workflows and operators say of services.

Layers are put over each other, the later ones win: this provider's defaults, the card's ``service``, the workflow's
``service``, an operator's own. A layer that names ``url`` or ``connection`` replaces both of those below it, and the
``token`` and ``ca_file`` that belong to them: no secret goes to a server for which it was not meant.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from airflow_agentic.spec.base import Bytes, Seconds, Strict
from airflow_agentic.spec.explain import MisfitError

_OF_A_SERVER: Final = frozenset({"url", "connection", "token", "ca_file"})


def _absolute(value: str) -> str:
    if not PurePosixPath(value).is_absolute():
        raise ValueError(f"{value!r} is a relative path, and where it starts depends on who reads it\nwrite it as /…")
    return value


def _server(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{value!r} is no address of a server\nwrite http://HOST:PORT or https://HOST")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(
            f"{value!r} has more than host, port and path\nremove it; a secret is named by token: {{env: NAME}}"
        )
    return value.rstrip("/")


AbsolutePath = Annotated[str, AfterValidator(_absolute)]
ServerUrl = Annotated[str, AfterValidator(_server)]
ServerUrls = Annotated[
    list[ServerUrl] | None,
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value, json_schema_input_type=str | list[str]),
    Field(min_length=1),
]


class TokenReference(Strict):
    """Where the bearer token is, never the token itself. Exactly one of ``env`` and ``file``."""

    env: str | None = Field(default=None, min_length=1)
    """The environment variable of the process that asks."""
    file: AbsolutePath | None = None
    """A file there, read again when it changes."""

    @model_validator(mode="after")
    def _one(self) -> TokenReference:
        if (self.env is None) == (self.file is None):
            raise MisfitError("needs exactly one of env and file")
        return self


class ServiceSpec(Strict):
    """Servers of the Open Inference Protocol v2 (REST) that all serve the same models, and how they are asked."""

    url: ServerUrls = None
    """Base URL, without ``/v2``; or several, of which the less busy healthy one is asked. A host name with several
    addresses is several servers."""
    connection: str | None = Field(default=None, min_length=1)
    """In place of ``url``: an Airflow connection of type ``agentic_service``, for Dags."""
    concurrency: int = Field(default=8, ge=1, le=1024)
    """Requests at once to one server."""
    timeout: Seconds = 60.0
    """Of one request; what a request's own deadline leaves is less."""
    connect_timeout: Seconds = 5.0
    token: TokenReference | None = None
    """Sent as ``Authorization: Bearer``: ``{env: NAME}`` or ``{file: PATH}``."""
    ca_file: AbsolutePath | None = None
    """Certificates that the servers' are checked against, in place of the system's."""
    max_response: Bytes = 64 * 2**20
    """A larger response is refused."""
    other_versions: bool = False
    """Where no server has the card's version, as during a rollout, the one that it has answers, and the answer names
    it. Otherwise the call fails."""

    @model_validator(mode="after")
    def _one_place(self) -> ServiceSpec:
        if self.url is not None and self.connection is not None:
            raise MisfitError("stands beside url\nkeep one of them", at=("connection",))
        return self

    @property
    def stated(self) -> dict[str, Any]:
        """What was said of it, without defaults."""
        return self.model_dump(mode="json", exclude_unset=True)


class GatewaySpec(ServiceSpec):
    """A gateway that answers a run's shards, each as one job."""

    url: ServerUrls = None
    """Its base URL; a single one."""
    concurrency: int = Field(default=8, ge=1, le=1024)
    """Shards that are handed in before the first is taken back."""
    deferrable: bool = True
    """Whether the triggerer waits for the jobs, which holds no worker's slot; else the worker does."""

    @model_validator(mode="after")
    def _one_gateway(self) -> GatewaySpec:
        if self.url is not None and len(self.url) > 1:
            raise MisfitError(
                "is one gateway's: jobs are asked for where they were made\nkeep one of them", at=("url",)
            )
        if self.url is None and self.connection is None:
            raise MisfitError("names no gateway\nwrite url: http://HOST:8000, or connection: NAME")
        return self

    @property
    def service(self) -> ServiceSpec:
        """How it is asked."""
        return ServiceSpec.model_validate({key: said for key, said in self.stated.items() if key != "deferrable"})


def layered(*layers: ServiceSpec | None) -> ServiceSpec:
    """One service of several layers, the lowest first."""
    made: dict[str, Any] = {}
    for layer in layers:
        if layer is None:
            continue
        stated = layer.stated
        if {"url", "connection"} & stated.keys():
            made = {key: value for key, value in made.items() if key not in _OF_A_SERVER}
        made |= stated
    return ServiceSpec.model_validate(made)
