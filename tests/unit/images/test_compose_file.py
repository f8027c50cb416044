"""What compose.yaml promises, read from the file; tests/e2e starts it."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any, Final

import yaml

from scripts.compose_env import drawn, write

ROOT: Final = Path(__file__).resolve().parents[3]
TEXT: Final = (ROOT / "compose.yaml").read_text(encoding="utf-8")
SERVICES: Final[dict[str, Any]] = yaml.safe_load(TEXT)["services"]


def names(text: str) -> set[str]:
    return set(re.findall(r"^(\w+)=.", text, re.MULTILINE))


def test_secrets_are_drawn_and_nothing_starts_without_them() -> None:
    needed = set(re.findall(r"\$\{(\w+):\?run python3 -m scripts\.compose_env\}", TEXT))
    defaulted = set(re.findall(r"\$\{(\w+):?-", TEXT))

    assert needed == names(drawn())
    assert set(re.findall(r"\$\{(\w+)", TEXT)) == needed | defaulted
    assert re.findall(r"(?:PASSWORD|SECRET\w*|KEY): (?!\$\{)\S+", TEXT) == []


def test_every_variable_is_documented() -> None:
    page = (ROOT / "docs" / "how-to" / "compose.md").read_text(encoding="utf-8")

    assert [name for name in set(re.findall(r"\$\{(\w+)", TEXT)) if f"`{name}`" not in page] == []
    for name, default in re.findall(r"\$\{(\w+):?-([^}]+)\}", TEXT):
        assert f"`{name}` | `{default}` |" in page


def test_secrets_are_kept_once_drawn_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    assert write(path)
    text = path.read_text()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not write(path)
    assert path.read_text() == text != drawn()
    assert names(text) == names(drawn())


def test_what_the_image_is_built_with_is_what_its_dockerfile_takes() -> None:
    dockerfile = (ROOT / "docker" / "airflow.Dockerfile").read_text(encoding="utf-8")

    assert set(SERVICES["init"]["build"]["args"]) <= set(re.findall(r"^ARG (\w+)", dockerfile, re.MULTILINE))
    assert SERVICES["init"]["build"]["args"]["AIRFLOW_IMAGE"] == "${AIRFLOW_IMAGE:-apache/airflow:3.3.2}"
    assert "ARG AIRFLOW_IMAGE=apache/airflow:3.3.2\n" in dockerfile


def test_services_come_back_say_how_they_are_and_listen_on_this_machine_only() -> None:
    lasting = {name: service for name, service in SERVICES.items() if name != "init"}

    assert {service["restart"] for service in lasting.values()} == {"unless-stopped"}
    assert [name for name, service in lasting.items() if not service["healthcheck"]["test"]] == []
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:${AIRFLOW_PORT:-8080}:8080", "127.0.0.1:${GATEWAY_PORT:-8000}:8000"]


def test_secrets_that_are_new_are_added_to_the_old_ones(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("POSTGRES_PASSWORD=first")

    assert write(path)
    assert path.read_text().startswith("POSTGRES_PASSWORD=first\n")
    assert names(path.read_text()) == names(drawn())


def test_what_serves_models_knows_no_secret_of_airflow() -> None:
    assert SERVICES["models"]["environment"] == {}
    assert set(SERVICES["gateway"]["environment"]) == {
        "AIRFLOW_AGENTIC_GATEWAY_JOBS",
        "AIRFLOW_AGENTIC_SERVICE_URL",
        "GATEWAY_TOKEN",
    }
