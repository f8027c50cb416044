"""Project folders, workflows by name, file and task, and the lock file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import card_data

from airflow_agentic.exceptions import CompileError, InputError, SpecError
from airflow_agentic.project import Project, Workflow, models_folder, project_root, read_lock, write_lock

QUERY = {"cascade": {"task": "text-analysis"}, "accept": "prediction.score >= 0.7"}


def put(path: Path, kind: str, **said: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"apiVersion": "airflow-agentic/v1", "kind": kind, **said}, sort_keys=False))
    return path


def put_card(root: Path, name: str, **said: Any) -> Path:
    return put(root / "models" / f"{name}.yaml", "Model", **card_data(name, **said))


def put_workflow(root: Path, name: str, use: Any = "lite", *, stem: str | None = None, **said: Any) -> Path:
    return put(root / "workflows" / f"{stem or name}.yaml", "Workflow", name=name, routes=[{"use": use}], **said)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two workflows, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    put_card(tmp_path, "lite", cost=1)
    put_card(tmp_path, "strong", cost=2)
    put_card(tmp_path, "photo", task="image-classification")
    put_workflow(tmp_path, "triage", QUERY)
    put_workflow(tmp_path, "photos", "photo", stem="pictures")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/p/workflows/a.yaml", "/p"),
        ("/p/workflows/deeper/a.yaml", "/p/workflows/deeper"),
        ("/p/a.yaml", "/p"),
    ],
)
def test_the_project_of_a_file(path: str, found: str) -> None:
    assert project_root(Path(path)) == Path(found)


def test_the_project_of_a_file_in_the_working_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert project_root(root / "workflows") == project_root(root) == root
    monkeypatch.chdir(root / "workflows")
    assert project_root(Path("triage.yaml")) == root
    assert Workflow.load("triage.yaml").plan.workflow == "triage"


def test_a_workflow_with_its_cards(root: Path) -> None:
    flow = Workflow.load("workflows/triage.yaml")
    assert flow.name == "triage"
    assert list(flow.registry.cards) == ["lite", "photo", "strong"]
    assert list(flow.plan.models) == ["lite", "strong"]
    assert flow.tasks == {"text-analysis"}
    assert flow.plan is flow.plan


def test_a_workflow_may_have_cards_of_its_own(root: Path) -> None:
    put_card(root / "other", "lite", quality=0.5)
    path = put_workflow(root, "own", models="../other/models")
    flow = Project(root).load(path)
    assert models_folder(flow.spec, root) == root / "other" / "models"
    assert list(flow.registry.cards) == ["lite"]
    assert list(Workflow.load(path).registry.cards) == ["lite"]


def test_projects_are_found_in_a_folder_or_its_dags(root: Path, tmp_path: Path) -> None:
    assert Project.find(root).root == root
    home = tmp_path / "home"
    put_workflow(home / "dags", "a")
    assert Project.find(home, ["pkg"]) == Project(home / "dags", ["pkg"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as caught:
        Project.find(tmp_path / "empty")
    assert str(caught.value) == (
        "no project in 'empty': it has no folder 'workflows' (nor 'dags/workflows'); "
        "make one with `airflow-agentic init`, or name one with --project"
    )


def test_workflows_by_name_and_by_file(root: Path) -> None:
    project = Project(root)
    assert [path.name for path in project.files] == ["pictures.yaml", "triage.yaml"]
    assert project.workflow("photos").name == "photos"
    assert project.workflow("workflows/pictures.yaml").name == "photos"
    for name, hint in (("triag", "did you mean 'triage'?"), ("pictures", "there are: photos, triage")):
        with pytest.raises(InputError) as caught:
            project.workflow(name)
        assert str(caught.value) == f"no workflow is called {name!r} in workflows; {hint}"


def test_a_broken_workflow_harms_no_other(root: Path) -> None:
    (root / "workflows" / "broken.yaml").write_text("kind: [")
    assert Project(root).workflow("photos").name == "photos"
    with pytest.raises(SpecError, match=r"^workflows/broken\.yaml:2:1  not valid YAML"):
        Project(root).workflow("broken")


def test_the_workflow_that_does_a_task(root: Path) -> None:
    put_workflow(root, "broken", "nobody")
    assert Project(root).for_task("image-classification").name == "photos"
    with pytest.raises(InputError) as none:
        Project(root).for_task("image-clasification")
    assert str(none.value) == "no workflow does the task 'image-clasification'; did you mean 'image-classification'?"
    with pytest.raises(InputError) as unlike:
        Project(root).for_task("x")
    assert str(unlike.value) == "no workflow does the task 'x'; there are: image-classification, text-analysis"
    put_workflow(root, "more", "lite")
    with pytest.raises(InputError) as several:
        Project(root).for_task("text-analysis")
    assert str(several.value) == (
        "several workflows do the task 'text-analysis' (more, triage); choose one with --workflow"
    )


def test_a_lock_file_keeps_a_new_card_out_until_it_is_written_again(root: Path) -> None:
    project = Project(root)
    pinned = {"triage": {"routes[0].use.cascade": ["lite", "strong"]}}
    assert write_lock(project) == pinned
    assert json.loads((root / "agentic.lock").read_text()) == {"version": 1, "workflows": pinned}
    assert read_lock(root) == pinned
    put_card(root, "new", cost=0)
    for flow in (Project(root).workflow("triage"), Workflow.load("workflows/triage.yaml")):
        assert list(flow.plan.models) == ["lite", "strong"]
    write_lock(Project(root))
    assert list(Workflow.load("workflows/triage.yaml").plan.models) == ["lite", "new", "strong"]


def test_a_lock_file_is_the_same_bytes_each_time(root: Path) -> None:
    write_lock(Project(root))
    first = (root / "agentic.lock").read_bytes()
    write_lock(Project(root))
    assert (root / "agentic.lock").read_bytes() == first


def test_a_card_that_the_lock_file_pins_cannot_vanish(root: Path) -> None:
    write_lock(Project(root))
    (root / "models" / "strong.yaml").unlink()
    with pytest.raises(CompileError) as caught:
        _ = Workflow.load("workflows/triage.yaml").plan
    assert str(caught.value) == (
        "workflows/triage.yaml:7:7  routes[0].use.cascade: no model is called 'strong'\n"
        "    the lock file pins it; add its card, or run `airflow-agentic lock` again"
    )


def test_there_may_be_no_lock_file(root: Path) -> None:
    assert read_lock(root) == {}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[]", "expected {workflows: {WORKFLOW: {QUERY: [MODEL]}}}"),
        ("{}", "expected {workflows: {WORKFLOW: {QUERY: [MODEL]}}}"),
        ('{"workflows": []}', "expected {workflows: {WORKFLOW: {QUERY: [MODEL]}}}"),
        ('{"workflows": {"a": []}}', "expected {workflows: {WORKFLOW: {QUERY: [MODEL]}}}"),
        ('{"workflows": {"a": {"b": "c"}}}', "expected {workflows: {WORKFLOW: {QUERY: [MODEL]}}}"),
        ('{"workflows": {"a": {"b": [1]}}}', "expected {workflows: {WORKFLOW: {QUERY: [MODEL]}}}"),
    ],
)
def test_what_is_no_lock_file(content: str, why: str, root: Path) -> None:
    (root / "agentic.lock").write_text(content)
    with pytest.raises(SpecError) as caught:
        read_lock(root)
    assert str(caught.value) == f"agentic.lock  is no lock file: {why}\n    run `airflow-agentic lock` again"
