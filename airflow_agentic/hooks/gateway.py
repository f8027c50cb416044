"""The gateway that Airflow's API server hands requests on to, as its configuration and a connection describe it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow.sdk import BaseHook

from airflow_agentic.compat import AirflowException
from airflow_agentic.exceptions import InputError
from airflow_agentic.hooks.store import setting

if TYPE_CHECKING:
    from airflow.sdk import Connection


@dataclass(frozen=True, kw_only=True)
class GatewayAddress:
    """Where a gateway is, and how to be known there."""

    url: str
    """Without a slash at its end."""
    token: str = field(repr=False)
    """Of a client with ``acts_for_users``."""
    ca_file: str | None = None


def gateway_address() -> GatewayAddress | None:
    """The gateway of ``[agentic] gateway_conn_id``; ``None`` where nothing is set.

    :raises InputError: there is no such connection, or it describes none.
    """
    name = setting("gateway_conn_id")
    if not name:
        return None
    try:
        connection = BaseHook.get_connection(name)
    except AirflowException as error:
        raise InputError(f"[agentic] gateway_conn_id is {name!r}, and there is no such connection; make it") from error
    return address_of(connection)


def address_of(connection: Connection) -> GatewayAddress:
    """What a connection says: its host (a URL, or a name with schema and port), its password and ``ca_file``.

    :raises InputError: it names no server or has no token.
    """
    name, host = connection.conn_id, connection.host or ""
    port = f":{connection.port}" if connection.port else ""
    url = (host if "://" in host else f"{connection.schema or 'http'}://{host}{port}").rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise InputError(f"the connection {name!r} names no gateway; write its URL into host, as https://gateway:8000")
    token = connection.password or ""
    if not token or not token.isascii() or not token.isprintable():
        raise InputError(
            f"the connection {name!r} has no token as its password; "
            "give it that of a client of the gateway with acts_for_users"
        )
    return GatewayAddress(url=url, token=token, ca_file=connection.extra_dejson.get("ca_file") or None)
