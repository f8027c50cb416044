"""``plan``, ``lock``, ``dags``, ``init``, ``schema`` and what all commands share."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cli_samples import write_workflow

from airflow_agentic import __version__
from airflow_agentic.cli import exits
from airflow_agentic.exceptions import (
    AnswersFailedError,
    ArtifactError,
    HandlerNotAllowedError,
    InputError,
    MissingExtraError,
    PlanMismatchError,
    SpecError,
)
from airflow_agentic.plan import Plan

if TYPE_CHECKING:
    import pytest
    from cli_samples import Run

QUERY = "routes:\n  - use: {cascade: {task: text-classification}}\n    accept: prediction.score >= 0.7\n"


def test_help_names_every_command_and_the_exit_codes(run: Run) -> None:
    result = run("--help")
    assert result.exit_code == 0
    for word in ("run", "validate", "plan", "lock", "models", "dags", "init", "schema", "130 interrupted"):
        assert word in result.stdout


def test_help_needs_no_heavy_import() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom airflow_agentic.cli.app import app\n"
        "assert CliRunner().invoke(app, ['run', '--help']).exit_code == 0\n"
        "print(sorted({'pyarrow', 'numpy', 'airflow', 'yaml', 'fsspec'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_no_command_imports_airflow(project: Path) -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom airflow_agentic.cli.app import app\n"
        "for command in (['run'], ['plan'], ['dags', 'list'], ['models', 'list'], ['lock']):\n"
        "    assert CliRunner().invoke(app, command).exit_code == 0, command\n"
        "print('airflow' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_version_and_an_unknown_command(run: Run) -> None:
    assert run("--version").stdout == f"{__version__}\n"
    result = run("valdate")
    assert result.exit_code == 2
    assert "Did you mean 'validate'?" in result.stderr


def test_errors_have_exit_codes() -> None:
    error = SpecError([])
    assert [
        exits.exit_code(error),
        exits.exit_code(PlanMismatchError("x")),
        exits.exit_code(InputError("x")),
        exits.exit_code(MissingExtraError("torch", "torch")),
        exits.exit_code(ArtifactError("x")),
        exits.exit_code(HandlerNotAllowedError("x")),
        exits.exit_code(AnswersFailedError("x")),
    ] == [3, 3, 2, 4, 4, 4, 1]


def test_plan_draws(project: Path, run: Run) -> None:
    text = run("plan", "sentiment").stdout
    assert text == (
        "preprocess ─ route ─ text-classification ─ few-words ─ gate (prediction.score >= 0.7) ─ many-words"
        " ─ aggregate ─ publish\n"
    )
    assert run("plan").stdout == text
    assert run("plan", "sentiment", "--format", "mermaid").stdout.startswith("flowchart LR\n")
    assert run("plan", "-f", "dot").stdout.startswith("digraph plan {\n")
    assert run("plan", "--format", "png").exit_code == 2


def test_plan_json_is_a_plan_and_names_no_folder_of_this_machine(project: Path, run: Run) -> None:
    text = run("plan", "--format", "json").stdout
    plan = Plan.model_validate(json.loads(text))
    assert plan.workflow == "sentiment"
    assert str(project) not in text


def test_lock_pins_and_tells_the_difference(project: Path, run: Run) -> None:
    write_workflow(project, "queried", QUERY)
    result = run("lock")
    assert result.stdout == ("queried  routes[0].use.cascade  finds few-words, many-words\nagentic.lock is written\n")
    assert json.loads((project / "agentic.lock").read_text()) == {
        "version": 1,
        "workflows": {"queried": {"routes[0].use.cascade": ["few-words", "many-words"]}},
    }
    assert run("lock", "--check").stdout.endswith("agentic.lock is up to date\n")
    (project / "models" / "few-words.yaml").unlink()
    before = (project / "agentic.lock").read_text()
    result = run("lock", "--check")
    assert (result.exit_code, result.stdout, result.stderr) == (
        3,
        "queried  routes[0].use.cascade  finds many-words   (-few-words)\n",
        "agentic.lock is out of date; run `airflow-agentic lock` and review the difference\n",
    )
    assert (project / "agentic.lock").read_text() == before
    assert run("lock").stdout.endswith("(-few-words)\nagentic.lock is written\n")


def test_lock_without_queries(project: Path, run: Run) -> None:
    assert run("lock").stdout == "no workflow has a query: there is nothing to pin\n"
    assert not (project / "agentic.lock").exists()
    write_workflow(project, "queried", QUERY)
    run("lock")
    (project / "workflows" / "queried.yaml").unlink()
    assert run("lock").stdout == ("queried  routes[0].use.cascade  no longer a query\nagentic.lock is written\n")


def test_a_damaged_lock_is_replaced_but_not_by_check(project: Path, run: Run) -> None:
    write_workflow(project, "queried", QUERY)
    (project / "agentic.lock").write_text("{")
    assert run("lock", "--check").exit_code == 3
    assert run("lock").exit_code == 0
    assert run("lock", "--check").exit_code == 0


def test_dags_list(project: Path, run: Run) -> None:
    write_workflow(project, "hourly", "dag: {schedule: '@hourly'}\nroutes:\n  - use: few-words\n")
    assert run("dags", "list").stdout.splitlines() == [
        "dag         schedule   tasks                 file                       state",
        "hourly      @hourly    text-classification   workflows/hourly.yaml      ok",
        "sentiment   none       text-classification   workflows/sentiment.yaml   ok",
    ]
    write_workflow(project, "hourly", "dag: {schedule: {every: 6h}}\nroutes:\n  - use: few-word\n")
    result = run("dags", "list", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)[0] == {
        "dag_id": "hourly",
        "schedule": {"every": "6h"},
        "tasks": [],
        "file": "workflows/hourly.yaml",
        "error": "error: no model is called 'few-word'",
    }
    assert "every: 6h" in run("dags", "list").stdout


def test_dags_sync_writes_and_removes_its_own_files(project: Path, run: Run) -> None:
    write_workflow(project, "other", "routes:\n  - use: few-words\n")
    result = run("dags", "sync", "synced")
    assert result.stdout == "wrote synced/other.py\nwrote synced/sentiment.py\n"
    assert (project / "synced" / "other.py").read_text() == (
        "# Written by `airflow-agentic dags sync`: change the workflow and sync again, not this file.\n"
        "from pathlib import Path\n\nfrom airflow_agentic import Workflow\n\n"
        'dag = Workflow.load(Path(__file__).parent / "../workflows/other.yaml").dag()\n'
    )
    (project / "synced" / "mine.py").write_text("# mine\n")
    (project / "workflows" / "other.yaml").unlink()
    result = run("dags", "sync", "synced")
    assert result.stdout == "unchanged synced/sentiment.py\nremoved synced/other.py\n"
    assert sorted(path.name for path in (project / "synced").iterdir()) == ["mine.py", "sentiment.py"]


def test_dags_sync_leaves_foreign_files_alone(project: Path, run: Run) -> None:
    (project / "synced").mkdir()
    (project / "synced" / "sentiment.py").write_text("# mine\n")
    result = run("dags", "sync", "synced")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: 'synced/sentiment.py' was not written by this command and is left alone; rename it, or the workflow\n",
    )
    assert (project / "synced" / "sentiment.py").read_text() == "# mine\n"


def test_dags_sync_keeps_the_file_of_a_broken_workflow(project: Path, run: Run) -> None:
    run("dags", "sync", "synced")
    write_workflow(project, "sentiment", "routes:\n  - use: few-word\n")
    write_workflow(project, "other", "routes:\n  - use: few-words\n")
    result = run("dags", "sync", "synced")
    assert (result.exit_code, result.stdout) == (3, "wrote synced/other.py\n")
    assert "no model is called 'few-word'" in result.stderr
    assert (project / "synced" / "sentiment.py").exists()


def test_dags_sync_far_from_the_project_names_it_absolutely(
    project: Path, run: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    far = tmp_path_factory.mktemp("far")
    run("dags", "sync", str(far))
    assert f'dag = Workflow.load("{project}/workflows/sentiment.yaml").dag()\n' in (far / "sentiment.py").read_text()


def test_init_makes_a_project_that_runs(here: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("init", "new")
    assert result.exit_code == 0
    assert "made new (text example). Next:\n  cd new\n" in result.stdout
    monkeypatch.chdir(here / "new")
    assert run("validate").stdout == "1 workflow and 2 model cards: no errors\n"
    answered = run("run", "--json")
    assert answered.exit_code == 0
    assert [json.loads(line)["label"] for line in answered.stdout.splitlines()] == [
        "positive", "negative", "positive", "negative", "negative", "positive"
    ]  # fmt: skip


def test_init_refuses_a_folder_that_is_not_empty(here: Path, run: Run) -> None:
    (here / "old").mkdir()
    (here / "old" / "file").touch()
    result = run("init", "old")
    assert (result.exit_code, result.stderr) == (2, "error: 'old' is not empty; name a new folder\n")
    assert [path.name for path in (here / "old").iterdir()] == ["file"]


def test_init_full_copies_the_example_without_built_models(here: Path, run: Run) -> None:
    result = run("init", "full", "--example", "full")
    assert result.exit_code == 0
    assert (here / "full" / "workflows" / "mixed-inbox.yaml").is_file()
    assert not (here / "full" / "built").exists()
    assert run("validate", "full").exit_code == 0


def test_schema_writes_the_schemas(here: Path, run: Run) -> None:
    result = run("schema", "editor")
    assert result.stdout.splitlines() == [
        "wrote editor/model.json",
        "wrote editor/workflow.json",
        "first line of a workflow, for editors with the YAML language server:",
        "# yaml-language-server: $schema=../editor/workflow.json",
    ]
    assert json.loads((here / "editor" / "model.json").read_text())["title"] == "ModelCard"
