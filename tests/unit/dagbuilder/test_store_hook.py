"""The artifact store by Airflow's configuration and connections."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_agentic.artifacts import Store
from airflow_agentic.hooks.store import ArtifactStoreHook, setting, settings_list

if TYPE_CHECKING:
    from pathlib import Path


def connect(monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any], **values: str) -> None:
    """The connection ``artifacts``, from the environment, as Airflow's first secrets backend reads it."""
    content = {"conn_type": "agentic_store", "extra": extra, **values}
    monkeypatch.setenv("AIRFLOW_CONN_ARTIFACTS", json.dumps(content))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str] | None]]:
    """Every store that is opened: its URI and options."""
    calls: list[tuple[str, dict[str, str] | None]] = []

    def record(uri: str, *, options: dict[str, str] | None = None) -> Store:
        calls.append((uri, options))
        return original("memory://")

    original = Store.open
    monkeypatch.setattr(Store, "open", record)
    return calls


def test_without_a_connection_the_setting_names_the_base(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTIC__ARTIFACTS", tmp_path.as_uri())

    hook = ArtifactStoreHook()
    hook.get_conn().write("a/b", b"content")

    assert hook.base == tmp_path.as_uri()
    assert (tmp_path / "a" / "b").read_bytes() == b"content"


def test_the_connections_uri_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTIC__ARTIFACTS", "s3://setting")
    monkeypatch.setenv("AIRFLOW__AGENTIC__ARTIFACTS_CONN_ID", "artifacts")
    connect(monkeypatch, {"uri": "s3://connection/prefix"})

    assert ArtifactStoreHook().base == "s3://connection/prefix"


def test_only_known_keys_of_the_extra_reach_the_store(
    monkeypatch: pytest.MonkeyPatch, opened: list[tuple[str, dict[str, str] | None]]
) -> None:
    known = {
        "region": "eu-west-1",
        "endpoint": "http://localhost:9000",
        "allow_http": True,
        "virtual_hosted_style_request": False,
        "skip_signature": "",
    }
    connect(
        monkeypatch, {"uri": "s3://bucket", **known, "command": "rm", "token": "secret"}, login="key", password="word"
    )

    ArtifactStoreHook("artifacts").get_conn()

    assert opened == [
        (
            "s3://bucket",
            {
                "region": "eu-west-1",
                "endpoint": "http://localhost:9000",
                "allow_http": "True",
                "virtual_hosted_style_request": "False",
                "access_key_id": "key",
                "secret_access_key": "word",
            },
        )
    ]


@pytest.mark.parametrize("uri", ["file:///answers", "/answers", "memory://"])
def test_credentials_stay_away_from_local_folders(
    monkeypatch: pytest.MonkeyPatch, opened: list[tuple[str, dict[str, str] | None]], uri: str
) -> None:
    connect(monkeypatch, {"uri": "s3://bucket"}, login="key", password="word")

    ArtifactStoreHook("artifacts").open(uri)

    assert opened == [(uri, None)]


def test_a_connection_is_tested_by_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    connect(monkeypatch, {"uri": tmp_path.as_uri()})

    assert ArtifactStoreHook("artifacts").test_connection() == (True, f"{tmp_path.as_uri()} can be written and read")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_connection_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, {"uri": "gopher://hole"})

    passed, message = ArtifactStoreHook("artifacts").test_connection()

    assert not passed
    assert "gopher" in message


def test_settings_come_from_the_agentic_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTIC__ALLOWED_HANDLERS", " my.models, other:Thing ,, ")

    assert settings_list("allowed_handlers") == ["my.models", "other:Thing"]
    assert settings_list("allowed_uris") == []
    assert setting("no_such_setting", "fallback") == "fallback"
