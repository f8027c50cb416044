"""A small project in the working folder, and the command line as a function."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from airflow_agentic.cli.app import app
from airflow_agentic.cli.templates import TEXT

if TYPE_CHECKING:
    from cli_samples import Run
    from typer.testing import Result


@pytest.fixture
def run() -> Run:
    """``run("plan", "sentiment")``; exceptions other than exits are raised."""

    def call(*arguments: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(app, list(arguments), input=stdin, catch_exceptions=False)

    return call


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AIRFLOW_AGENTIC_ALLOWED_HANDLERS", raising=False)
    monkeypatch.delenv("AIRFLOW_AGENTIC_ALLOWED_URIS", raising=False)
    return tmp_path


@pytest.fixture
def project(here: Path) -> Path:
    """The project that ``init`` makes, as the working folder."""
    for name, text in TEXT.items():
        path = here / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return here
