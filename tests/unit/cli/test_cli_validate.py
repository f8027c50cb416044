"""``airflow-agentic validate``."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

from cli_samples import write_model, write_workflow

if TYPE_CHECKING:
    import pytest
    from cli_samples import Run

UNKNOWN = """workflows/{name}.yaml:5:10  routes[0].use: no model is called 'few-word'
    did you mean 'few-words' (models/few-words.yaml)?"""


def test_a_good_project(project: Path, run: Run) -> None:
    result = run("validate")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "1 workflow and 2 model cards: no errors\n", "")


def test_every_problem_and_the_count(project: Path, run: Run) -> None:
    for name in ("one", "two"):
        write_workflow(project, name, "routes:\n  - use: few-word\n")
    result = run("validate")
    assert result.exit_code == 3
    assert result.stdout.splitlines() == [
        *UNKNOWN.format(name="one").splitlines(),
        *UNKNOWN.format(name="two").splitlines(),
        "2 of 3 workflows have an error",
    ]


def test_a_folder_of_workflows_and_a_file(project: Path, run: Run) -> None:
    write_workflow(project, "one", "routes:\n  - use: few-word\n")
    assert run("validate", "workflows/").stdout.splitlines()[-1] == "1 of 2 workflows has an error"
    assert run("validate", "workflows/one.yaml").stdout.splitlines()[-1] == "1 of 1 workflow has an error"
    assert run("validate", "workflows/sentiment.yaml").stdout == "1 workflow: no errors\n"
    assert run("validate", "models").stdout == "2 model cards: no errors\n"
    assert run("validate", "--project", str(project)).stdout.splitlines()[-1] == "1 of 2 workflows has an error"


def test_a_broken_card_is_told_once(project: Path, run: Run) -> None:
    path = project / "models" / "few-words.yaml"
    path.write_text(path.read_text().replace("input: text", "input: txt"))
    result = run("validate")
    assert result.exit_code == 3
    assert result.stdout.count("models/few-words.yaml:") == 1
    assert result.stdout.splitlines()[-2:] == ["1 of 1 workflow has an error", "1 of 2 model cards has an error"]


def test_two_of_one_name(project: Path, run: Run) -> None:
    write_workflow(project, "other", "routes:\n  - use: few-words\n").rename(project / "workflows" / "a.yaml")
    write_workflow(project, "other", "routes:\n  - use: few-words\n")
    card = write_model(project, "z", "some.where:code")
    card.write_text(card.read_text().replace("name: z", "name: few-words"))
    result = run("validate", "--json")
    messages = {(problem["file"], problem["message"]) for problem in json.loads(result.stdout)["problems"]}
    assert ("workflows/other.yaml", "another workflow is already called 'other' (workflows/a.yaml)") in messages
    twice = "a different model is already called 'few-words' (models/few-words.yaml)"
    assert ("models/z.yaml", twice) in messages


def test_json(project: Path, run: Run) -> None:
    assert json.loads(run("validate", "--json").stdout) == {
        "ok": True,
        "workflows": {"checked": 1, "with_errors": 0},
        "models": {"checked": 2, "with_errors": 0},
        "problems": [],
        "unchecked": [],
    }
    write_workflow(project, "one", "routes:\n  - use: few-word\n")
    result = run("validate", "--json", "workflows/one.yaml")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["problems"] == [
        {
            "file": "workflows/one.yaml",
            "line": 5,
            "column": 10,
            "path": "routes[0].use",
            "message": "no model is called 'few-word'",
            "hint": "did you mean 'few-words' (models/few-words.yaml)?",
        }
    ]


def test_dag_arguments_are_checked_by_the_installed_airflow(project: Path, run: Run) -> None:
    write_workflow(project, "one", "dag: {tagz: [a]}\ntask: {retires: 2}\nroutes:\n  - use: few-words\n")
    result = run("validate", "workflows/one.yaml")
    assert result.exit_code == 3
    assert result.stdout == (
        "workflows/one.yaml:4:13  dag.tagz: 'tagz' is no argument of the installed Airflow's DAG\n"
        "    did you mean 'tags'?\n"
        "workflows/one.yaml:5:17  task.retires: 'retires' is no argument of the installed Airflow's BaseOperator\n"
        "    did you mean 'retries'?\n"
        "1 of 1 workflow has an error\n"
    )


def test_without_airflow_it_says_what_was_not_checked(project: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "airflow" else real(name, *rest)
    )
    result = run("validate")
    assert (result.exit_code, result.stderr) == (
        0,
        "not checked: the arguments under dag: and task:, because Airflow is not installed here\n",
    )


def test_not_yaml_is_told_where(project: Path, run: Run) -> None:
    (project / "workflows" / "one.yaml").write_text("name: [\n")
    result = run("validate", "workflows/one.yaml")
    assert result.exit_code == 3
    assert result.stdout.startswith("workflows/one.yaml:2:1  not valid YAML: ")
    assert result.stdout.endswith("1 of 1 workflow has an error\n")


def test_nothing_to_check(here: Path, run: Run) -> None:
    result = run("validate", "absent")
    assert (result.exit_code, result.stderr) == (2, "error: no such file or folder: 'absent'\n")
    (here / "workflows").mkdir()
    result = run("validate")
    assert (result.exit_code, result.stderr) == (2, "error: nothing to check: there is no YAML file in 'workflows'\n")
