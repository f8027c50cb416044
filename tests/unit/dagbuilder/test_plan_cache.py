"""A cached plan is that of the files as they are now, or there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_agentic.dagbuilder import plan_cache
from airflow_agentic.dagbuilder.build import build_dag
from airflow_agentic.dagbuilder.load import load_workflows
from airflow_agentic.dagbuilder.plan_cache import Compiled, PlanCache
from airflow_agentic.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import ProjectFolder

CASCADE = "[{use: {cascade: [cheap, strong]}, accept: prediction.score > 0.5}]"


@pytest.fixture
def plans(tmp_path: Path) -> Path:
    """Where the entries lie."""
    return tmp_path / "plans"


@pytest.fixture
def path(project: ProjectFolder) -> Path:
    """A workflow with an option in every section that the Dag is built from."""
    text = "description: What it does.\ndag: {schedule: '@daily', start_date: 2026-01-01}\ninput: inbox.jsonl\n"
    return project.write(text + "task: {retries: 2}\npreprocess: [normalize_text]\n", routes=CASCADE)


def cache(project: ProjectFolder, plans: Path) -> PlanCache:
    """As a process of its own sees it: nothing is remembered."""
    return PlanCache(Project(project.root), plans)


def stored(project: ProjectFolder, plans: Path, path: Path) -> Compiled:
    """Compile, store, and read it back."""
    cache(project, plans).store(path, Project(project.root).load(path))
    found = cache(project, plans).find(path)
    assert found is not None
    return found


def test_a_cached_plan_is_a_fresh_one_byte_for_byte(project: ProjectFolder, plans: Path, path: Path) -> None:
    fresh = Project(project.root).load(path)

    found = stored(project, plans, path)

    assert found.plan.model_dump_json() == fresh.plan.model_dump_json()
    assert found.plan.digest == fresh.plan.digest
    assert (found.name, found.spec.folder) == (fresh.name, fresh.spec.folder)


def test_a_dag_from_the_cache_is_a_fresh_one(project: ProjectFolder, plans: Path, path: Path) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    fresh, cached = build_dag(Project(project.root).load(path)), build_dag(stored(project, plans, path))

    assert DagSerialization.to_dict(cached) == DagSerialization.to_dict(fresh)


@pytest.mark.parametrize("edited", ["workflows/demo.yaml", "models/cheap.yaml", "models/other.yaml", "agentic.lock"])
def test_an_edited_file_gives_no_old_plan(project: ProjectFolder, plans: Path, path: Path, edited: str) -> None:
    stored(project, plans, path)

    with (project.root / edited).open("a") as file:
        file.write("# or not\n")

    assert cache(project, plans).find(path) is None


def test_a_new_or_a_removed_card_gives_no_old_plan(project: ProjectFolder, plans: Path, path: Path) -> None:
    stored(project, plans, path)
    project.card("new")
    assert cache(project, plans).find(path) is None

    (project.root / "models" / "new.yaml").unlink()
    assert cache(project, plans).find(path) is not None
    (project.root / "models" / "other.yaml").unlink()
    assert cache(project, plans).find(path) is None


@pytest.fixture
def other_code() -> Iterator[Callable[[], None]]:
    """Has the next look at the code see it anew, as that of a new process does."""
    yield plan_cache.code_digest.cache_clear
    plan_cache.code_digest.cache_clear()


def test_other_code_gives_no_old_plan(
    project: ProjectFolder,
    plans: Path,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    other_code: Callable[[], None],
) -> None:
    stored(project, plans, path)
    monkeypatch.setattr(plan_cache, "__version__", "99")
    other_code()

    assert cache(project, plans).find(path) is None


def test_edited_code_gives_no_old_plan(
    project: ProjectFolder,
    plans: Path,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    other_code: Callable[[], None],
) -> None:
    stored(project, plans, path)
    code = plan_cache._code()
    names = {name for name, _ in code}
    assert {"exceptions.py", "plan/compile.py", "routing/decision.py"} < names
    monkeypatch.setattr(plan_cache, "_code", lambda: [*code[:-1], (code[-1][0], code[-1][1] + b"#")])
    other_code()

    assert cache(project, plans).find(path) is None


def test_a_copy_of_the_project_has_plans_of_its_own(project: ProjectFolder, plans: Path, path: Path) -> None:
    stored(project, plans, path)
    other = path.with_name("copy.yaml")
    other.write_bytes(path.read_bytes())

    assert cache(project, plans).find(other) is None


@pytest.mark.parametrize("damage", [b"", b"foreign", b"half", b"flip"])
def test_a_damaged_entry_is_none_and_is_written_again(
    project: ProjectFolder, plans: Path, path: Path, damage: bytes
) -> None:
    stored(project, plans, path)
    (entry,) = plans.iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(
        {b"half": whole[: len(whole) // 2], b"flip": whole.replace(b"cheap", b"cheao")}.get(damage, damage)
    )

    assert cache(project, plans).find(path) is None
    assert stored(project, plans, path).name == "demo"
    assert entry.read_bytes() == whole


def test_a_workflow_with_cards_of_its_own_is_not_stored(project: ProjectFolder, plans: Path) -> None:
    path = project.write("models: ../models")

    cache(project, plans).store(path, Project(project.root).load(path))

    assert not plans.exists()


def test_a_folder_that_cannot_be_written_only_costs_time(project: ProjectFolder, tmp_path: Path, path: Path) -> None:
    (tmp_path / "plans").write_text("a file")

    cache(project, tmp_path / "plans").store(path, Project(project.root).load(path))

    assert cache(project, tmp_path / "plans").find(path) is None


def test_a_user_without_a_home_only_pays_time(project: ProjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTIC__PLAN_CACHE", "~nobody-of-this-name/plans")
    project.write()

    assert load_workflows(project.workflows)["demo"].dag_id == "demo"
    del globals()["dag demo"]


def test_the_oldest_entries_go_first(
    project: ProjectFolder, plans: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans.mkdir()
    for age in range(6):
        entry = plans / f"{age}.plan"
        entry.touch()
        os.utime(entry, (1000 - age, 1000 - age))
    monkeypatch.setattr(plan_cache, "MAX_ENTRIES", 5)
    monkeypatch.setattr(plan_cache, "KEPT", 2)

    stored(project, plans, path)

    assert {"0.plan", "1.plan"} < {entry.name for entry in plans.iterdir()}
    assert len(list(plans.iterdir())) == 3


def test_two_processes_at_once_leave_whole_entries(project: ProjectFolder, plans: Path) -> None:
    for number in range(8):
        project.write(name=f"wf-{number}", routes=CASCADE)
    code = (
        "from airflow_agentic.dagbuilder.load import load_workflows\n"
        f"assert not any('spec-error' in dag.tags for dag in load_workflows({str(project.workflows)!r}).values())\n"
    )
    environment = {**os.environ, "AIRFLOW__AGENTIC__PLAN_CACHE": str(plans), "AIRFLOW_HOME": str(project.root)}
    running = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(2)]

    assert [process.wait(120) for process in running] == [0, 0]
    assert len(list(plans.iterdir())) == 8
    reader = cache(project, plans)
    assert all(reader.find(path) is not None for path in Project(project.root).files)
    assert all(entry.suffix == ".plan" for entry in plans.iterdir())


def test_load_workflows_uses_it_and_reports_errors_from_the_file(
    project: ProjectFolder, plans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTIC__PLAN_CACHE", str(plans))
    project.write("dag: {max_active_runs: 2}")
    load_workflows(project.workflows)
    assert len(list(plans.iterdir())) == 1
    compiled: list[Path] = []
    real = Project.load

    def counted(self: Project, path: Path) -> Any:
        compiled.append(path)
        return real(self, path)

    monkeypatch.setattr(Project, "load", counted)

    assert load_workflows(project.workflows)["demo"].max_active_runs == 2
    assert compiled == []
    refused = load_workflows(project.workflows, schedule="every day")["demo"]
    assert "spec-error" in refused.tags
    assert f"{project.workflows / 'demo.yaml'}:5:" in str(refused.doc_md)
    monkeypatch.setenv("AIRFLOW__AGENTIC__PLAN_CACHE", "off")
    load_workflows(project.workflows)
    assert len(compiled) == 2
    del globals()["dag demo"]
