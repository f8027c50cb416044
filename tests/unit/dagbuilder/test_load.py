"""``load_workflows`` in a Dag file."""

from __future__ import annotations

import gc
import re
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG

from airflow_agentic import load_workflows
from airflow_agentic.compat import AirflowFailException
from airflow_agentic.dagbuilder import load
from airflow_agentic.dagbuilder.load import placeholder
from airflow_agentic.exceptions import InputError

if TYPE_CHECKING:
    from conftest import ProjectFolder

DAG_FILE = "from airflow_agentic import load_workflows\n\nload_workflows({arguments})\n"


def dag_file(project: ProjectFolder, arguments: str = '"workflows"') -> dict[str, DAG]:
    """What Airflow finds in the globals of the project's Dag file."""
    path = project.root / "agentic.py"
    found: dict[str, Any] = {"__file__": str(path)}
    exec(compile(DAG_FILE.format(arguments=arguments), str(path), "exec"), found)
    return {value.dag_id: value for value in found.values() if isinstance(value, DAG)}


def test_the_dags_land_in_the_globals_of_the_dag_file(project: ProjectFolder) -> None:
    project.write(name="one-two")
    project.write(name="one_two")  # these differ in no letter that an identifier keeps

    assert sorted(dag_file(project)) == ["one-two", "one_two"]


def test_arguments_take_the_place_of_the_workflows(project: ProjectFolder) -> None:
    project.write("dag: {schedule: '@daily', max_active_runs: 1, tags: [mine]}")

    dag = dag_file(project, '"workflows", schedule=None, tags=["ours"]')["demo"]

    schedule: Any = dag.schedule
    assert schedule is None
    assert (dag.max_active_runs, dag.tags) == (1, {"airflow-agentic", "ours"})


def test_a_task_process_builds_only_the_dag_it_runs(project: ProjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two", "three"):
        project.write(name=name, file="renamed.yaml" if name == "two" else "")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "two")

    assert list(dag_file(project)) == ["two"]


def test_a_dag_of_another_file_is_no_reason_to_build_none(
    project: ProjectFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write()
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "elsewhere")

    assert list(dag_file(project)) == ["demo"]


def test_a_broken_workflow_becomes_a_dag_that_says_why(project: ProjectFolder) -> None:
    project.write(name="good")
    broken = project.write(name="broken", file="other.yaml", routes="[{use: chaep}]")

    dags = dag_file(project)
    models = project.root / "models"
    said = (
        f"{broken}:4:16  routes[0].use: no model is called 'chaep'\n    did you mean 'cheap' ({models / 'cheap.yaml'})?"
    )

    assert sorted(dags) == ["broken", "good"]
    assert dags["broken"].tags == {"airflow-agentic", "spec-error"}
    schedule: Any = dags["broken"].schedule
    assert schedule is None
    assert dags["broken"].doc_md == f"**This workflow has an error and cannot run.**\n\n```text\n{said}\n```\n"
    assert "spec-error" not in dags["good"].tags


@pytest.mark.parametrize(
    "text",
    [
        "dag: {schedule: every day}",
        "dag: {max_active_runs: many}",
        "dag: {schedule: '@continuous', max_active_runs: 3}",
        "dag: {start_date: yesterday}",
        "dag: {params: {text: [1]}}",
        "task: {retries: two}",
        "task: {pool: 3}",
        "task: {weight_rule: heavy}",
        "task: {execution_timeout: -1x}",
        "routes: []",
        "unknown: 1",
        "\tno yaml",
    ],
)
def test_nothing_in_a_workflow_breaks_the_dag_file(project: ProjectFolder, text: str) -> None:
    project.write(name="good")
    project.write(text)

    dags = dag_file(project)

    assert sorted(dags) == ["demo", "good"]
    assert "spec-error" in dags["demo"].tags


def test_a_file_that_is_no_text_is_named_after_itself(project: ProjectFolder) -> None:
    (project.workflows / "not text.yaml").write_bytes(b"\xff\xfe\x00")
    (project.workflows / "gone.yaml").symlink_to(project.root / "nowhere.yaml")

    dags = dag_file(project)

    assert sorted(dags) == ["gone", "not-text"]
    assert all("spec-error" in dag.tags for dag in dags.values())


def test_two_workflows_of_one_name_are_both_refused(project: ProjectFolder) -> None:
    project.write(file="first.yaml")
    project.write(file="second.yaml")

    dag = dag_file(project)["demo"]

    assert "the workflows in 'first.yaml', 'second.yaml' are all called 'demo'\n    rename all but one" in str(
        dag.doc_md
    )


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_garbage_is_collected_afterwards_as_before(
    project: ProjectFolder, monkeypatch: pytest.MonkeyPatch, enabled: bool, fails: bool
) -> None:
    project.write()
    seen = []

    def built(*arguments: Any) -> DAG:
        seen.append(gc.isenabled())
        if fails:
            raise RuntimeError("not ours")
        return placeholder("demo", "")

    monkeypatch.setattr(load, "_dag", built)
    if not enabled:
        gc.disable()
    try:
        with pytest.raises(RuntimeError) if fails else nullcontext():
            dag_file(project)
        assert (seen, gc.isenabled()) == ([False], enabled)
    finally:
        gc.enable()


def test_a_missing_folder_is_an_error_of_the_dag_file(project: ProjectFolder) -> None:
    message = f"load_workflows('flows'): there is no folder {project.root / 'flows'}; name one relative to the Dag file"
    with pytest.raises(InputError, match=rf"\A{re.escape(message)}\Z"):
        dag_file(project, '"flows"')


def test_an_absolute_folder_needs_no_dag_file(project: ProjectFolder) -> None:
    project.write()

    assert list(load_workflows(project.workflows)) == ["demo"]
    del globals()["dag demo"]


def test_the_placeholders_task_fails_with_the_message() -> None:
    task: Any = placeholder("demo", "line one\n    line two").get_task("spec-error")

    with pytest.raises(AirflowFailException, match=r"\Aline one\n    line two\Z"):
        task.execute({})


def test_the_projects_root_is_above_its_workflows(project: ProjectFolder, tmp_path: Path) -> None:
    project.write("models: ../models")
    (tmp_path / "agentic.lock").write_text("{")

    dag = dag_file(project)["demo"]

    assert "agentic.lock  is no lock file" in str(dag.doc_md)
