"""The artifact store as Airflow's configuration and connections describe it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final

from airflow.sdk import BaseHook

from airflow_agentic.compat import conf
from airflow_agentic.exceptions import AgenticError

if TYPE_CHECKING:
    from airflow_agentic.artifacts import Store

SECTION: Final = "agentic"
DEFAULT_ARTIFACTS: Final = "file:///tmp/airflow-agentic"

_EXTRA: Final = ("region", "endpoint", "allow_http", "virtual_hosted_style_request", "skip_signature")
"""Keys of the connection's extra that reach the store; all others are ignored by name, never passed on."""


class ArtifactStoreHook(BaseHook):
    """Opens the artifact store of this Airflow.

    :param agentic_store_conn_id: a connection with the store's credentials. Without one, and without
        ``[agentic] artifacts_conn_id``, the machine's own identity is used.
    """

    conn_name_attr: ClassVar[str] = "agentic_store_conn_id"
    default_conn_name: ClassVar[str] = "agentic_store_default"
    conn_type: ClassVar[str] = "agentic_store"
    hook_name: ClassVar[str] = "Agentic artifact store"

    def __init__(self, agentic_store_conn_id: str | None = None) -> None:
        super().__init__()
        self.agentic_store_conn_id = agentic_store_conn_id or setting("artifacts_conn_id") or None

    @cached_property
    def base(self) -> str:
        """The base URI: the connection's ``uri``, else ``[agentic] artifacts``."""
        return self._connection.get("uri") or setting("artifacts") or DEFAULT_ARTIFACTS

    @cached_property
    def _connection(self) -> dict[str, Any]:
        """Base URI and options from the connection, if there is one."""
        if self.agentic_store_conn_id is None:
            return {}
        connection = self.get_connection(self.agentic_store_conn_id)
        extra = connection.extra_dejson
        options = {key: str(extra[key]) for key in _EXTRA if extra.get(key) not in (None, "")}
        if connection.login:
            options |= {"access_key_id": connection.login, "secret_access_key": connection.password or ""}
        return {"uri": extra.get("uri"), "options": options}

    @cached_property
    def environment(self) -> dict[str, str]:
        """What the connection says of an S3-compatible server, as variables that a pod's store reads; no secret."""
        options = self._connection.get("options", {})
        return {f"AWS_{key.upper()}": options[key] for key in _EXTRA if key in options}

    def get_conn(self) -> Store:
        """The store."""
        return self.open(self.base)

    def open(self, uri: str) -> Store:
        """Any folder, with this connection's credentials where its scheme takes some."""
        from airflow_agentic.artifacts import Store  # Dag files import this module and open no store

        options = self._connection.get("options", {})
        return Store.open(uri, options=options if "://" in uri and not uri.startswith(("file:", "memory:")) else None)

    def test_connection(self) -> tuple[bool, str]:
        """Writes, reads and deletes one small object."""
        try:
            store = self.get_conn()
            store.write("connection-test", b"ok")
            store.read("connection-test")
            store.delete("connection-test")
        except AgenticError as error:
            return False, str(error)
        return True, f"{self.base} can be written and read"


def setting(name: str, fallback: str = "") -> str:
    """A value of the ``[agentic]`` section."""
    return str(conf.get(SECTION, name, fallback=fallback) or "")


def settings_list(name: str) -> list[str]:
    """A comma-separated value of the ``[agentic]`` section."""
    return [part.strip() for part in setting(name).split(",") if part.strip()]
