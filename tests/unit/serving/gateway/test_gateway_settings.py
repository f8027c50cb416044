"""Limits from the command line, and catalogs from a project's files."""

from __future__ import annotations

from pathlib import Path

import pytest
from gateway_process import project

from airflow_agentic.coordinator import ModelPool
from airflow_agentic.exceptions import InputError, SpecError
from airflow_agentic.project import Project
from airflow_agentic.serving.access import ANYBODY
from airflow_agentic.serving.gateway.catalog import Catalog
from airflow_agentic.serving.gateway.problems import ProblemError
from airflow_agentic.serving.gateway.settings import Limits


def test_limits_are_changed_by_name() -> None:
    limits = Limits.of(["body_bytes=1Mi", "body_seconds=500ms", "seconds=2", "running=3", "drain_delay_seconds=0"])
    assert (limits.body_bytes, limits.body_seconds, limits.seconds, limits.running, limits.drain_delay_seconds) == (
        2**20, 0.5, 2.0, 3, 0.0
    )  # fmt: skip
    assert limits.waiting == Limits().waiting


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("body_byte=1", "--limit 'body_byte=1' is no NAME=VALUE of a limit; did you mean 'body_bytes'?"),
        ("running", "--limit 'running' is no NAME=VALUE of a limit; did you mean 'running'?"),
        ("running=0", "--limit 'running=0' lets nothing through; give a value above 0"),
        ("running=x", "--limit 'running=x': invalid literal for int() with base 10: 'x'"),
        ("body_bytes=much", "--limit 'body_bytes=much': 'much' is not a size"),
    ],
)
def test_what_is_no_limit_says_so(given: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Limits.of([given])
    assert str(caught.value) == message


def test_a_catalog_serves_what_compiles_and_names_what_does_not(tmp_path: Path) -> None:
    home = Project(project(tmp_path), ["gateway_process"])
    (tmp_path / "workflows" / "broken.yaml").write_text("kind: Workflow\n", encoding="utf-8")
    catalog = Catalog.load(home, ModelPool())
    assert (sorted(catalog.served), list(catalog.broken), catalog.tasks) == (
        ["quick", "slow"],
        ["broken.yaml"],
        {"text-analysis": ["quick"]},
    )
    assert catalog.choose(ANYBODY, workflow=None, task="text-analysis").name == "quick"
    with pytest.raises(ProblemError) as caught:
        catalog.choose(ANYBODY, workflow=None, task=None)
    assert caught.value.detail == "which task? Give 'task' (there are: text-analysis), or 'workflow'"
    assert list(Catalog.load(home, ModelPool(), names=["slow"]).served) == ["slow"]
    with pytest.raises(SpecError):
        Catalog.load(home, ModelPool(), names=["broken"])
    with pytest.raises(InputError, match=r"^no workflow is called 'slo'; did you mean 'slow'\?$"):
        Catalog.load(home, ModelPool(), names=["slo"])
