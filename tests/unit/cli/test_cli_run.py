"""``airflow-agentic run``."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from cli_samples import write_model, write_workflow

from airflow_agentic import tables
from airflow_agentic.cli.outputs import open_file

if TYPE_CHECKING:
    from cli_samples import Run


def documents(stdout: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stdout.splitlines()]


@pytest.fixture
def sized(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A second workflow, whose model is code of the project's own: ``sizes.count``."""
    (project / "sizes.py").write_text("def count(text):\n    return len(text)\n")
    monkeypatch.syspath_prepend(project)
    monkeypatch.delitem(sys.modules, "sizes", raising=False)
    write_model(project, "counter", "sizes:count")
    write_workflow(project, "sizing", "routes:\n  - use: counter\n")
    return project


def test_one_text_is_one_line(project: Path, run: Run) -> None:
    result = run("--input", "Great film, I love it.")
    assert result.exit_code == 0
    name, answer, score, model, time = result.stdout.rstrip("\n").split("   ")
    assert (name, answer, score, model) == ("Great film, I love it.", "positive", "0.75", "few-words")
    assert time.endswith(" ms")
    assert result.stderr == ""


def test_a_line_says_who_passed_the_record_on(project: Path, run: Run) -> None:
    result = run("run", "--input", "The film was not good.", "--task", "text-classification")
    assert re.search(r"   few-words was unsure \(0\.67 < 0\.70\)[,;] asked many-words$", result.stdout.rstrip("\n"))
    assert "   negative   0.67   many-words   " in result.stdout


def test_without_input_the_workflows_own_is_answered(project: Path, run: Run) -> None:
    result = run("run")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 6
    assert result.stderr.startswith("answered by many-words 4, few-words 2\n6 records in ")
    assert result.stderr.endswith(": 10 calls, cost 0.00025\n")


def test_lines_are_aligned(project: Path, run: Run) -> None:
    lines = run("-i", "so bad, so sad", "-i", "good and great and wonderful").stdout.splitlines()
    assert [line.index(label) for line, label in zip(lines, ("negative", "positive"), strict=True)] == [31, 31]


def test_json_is_the_answer_users_see(project: Path, run: Run) -> None:
    result = run("--json", "--input", "not good")
    (answer,) = documents(result.stdout)
    assert answer.pop("latency_ms") > 0
    assert len(answer.pop("record_id")) == 16
    assert "few-words was unsure (0.67, not prediction.score >= 0.7)" in answer["route"].pop("reason")
    assert answer == {
        "task": "text-classification",
        "label": "negative",
        "score": pytest.approx(2 / 3),
        "model": "many-words",
        "version": "1",
        "degraded": False,
        "cost": 0.00006,
        "calls": 2,
        "route": {
            "rule": "routes[0]",
            "predictions": [
                {"model": "few-words", "version": "1", "label": "positive", "score": pytest.approx(2 / 3)},
                {"model": "many-words", "version": "1", "label": "negative", "score": pytest.approx(2 / 3)},
            ],
        },
    }


def test_a_record_without_an_answer_is_exit_1(project: Path, run: Run) -> None:
    result = run("-i", "good, great", "-i", "blue")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[1].startswith("blue          no answer")
    assert result.stdout.splitlines()[1].endswith("no_rated_word: the text has none of the card's words")
    assert "2 records in" in result.stderr
    assert "1 without an answer (no_rated_word), 3 calls" in result.stderr


def test_all_errors_of_models_are_exit_4(sized: Path, run: Run) -> None:
    result = run("-w", "sizing", "-i", "some text", "--json")
    (answer,) = documents(result.stdout)
    assert result.exit_code == 4
    assert answer["error"]["code"] in {"model_failed", "model_unavailable"}
    assert "'sizes:count' is not" in answer["error"]["message"]


@pytest.mark.parametrize("how", ["option", "variable", "list"])
def test_handlers_are_allowed_by_option_or_variable(
    sized: Path, run: Run, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    options = {"option": ["--allow-handler", "sizes"], "list": ["--allow-handler", "other,sizes"], "variable": []}[how]
    if how == "variable":
        monkeypatch.setenv("AIRFLOW_AGENTIC_ALLOWED_HANDLERS", "other, sizes")
    result = run("--task", "sizing", "-i", "four", "--json", *options)
    assert result.exit_code == 0
    assert documents(result.stdout)[0]["value"] == 4.0


def test_stdin_json_lines_and_the_limit(project: Path, run: Run) -> None:
    lines = "".join(json.dumps({"id": f"r{n}", "text": "good, great"}) + "\n" for n in range(5))
    result = run("--json", "-i", "-", "--limit", "3", stdin=lines)
    assert [answer["record_id"] for answer in documents(result.stdout)] == ["r0", "r1", "r2"]


def test_texts_and_files_mix_in_order(project: Path, run: Run) -> None:
    (project / "more.txt").write_text("awful, bad\nsad, bad\n")
    result = run("--json", "-i", "good, great", "-i", "more.txt", "-i", "data/inbox.jsonl", "-n", "4")
    assert [answer["label"] for answer in documents(result.stdout)] == ["positive", "negative", "negative", "positive"]


def test_a_folder_and_a_glob_are_one_record_a_file(project: Path, run: Run) -> None:
    (project / "notes").mkdir()
    for name, text in (("a.txt", "good, great"), ("b.txt", "awful, bad")):
        (project / "notes" / name).write_text(text)
    for argument in ("notes", "notes/*.txt"):
        result = run("--json", "-i", argument)
        assert [answer["label"] for answer in documents(result.stdout)] == ["positive", "negative"]


def test_records_state_their_own_task(project: Path, run: Run) -> None:
    result = run(
        "--json",
        "--task",
        "text-classification",
        "-i",
        "-",
        stdin='{"text": "good", "task": "mine"}\n{"text": "bad"}\n',
    )
    assert [answer["task"] for answer in documents(result.stdout)] == ["mine", "text-classification"]


def test_many_records_go_in_batches_of_the_workflows_shards(project: Path, run: Run) -> None:
    path = project / "workflows" / "sentiment.yaml"
    path.write_text(path.read_text() + "shard: {rows: 10}\n")
    lines = "".join(f"good, great {n}\n" for n in range(35))
    result = run("--output", "answers.parquet", "-i", "-", stdin=lines)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr.startswith("wrote answers.parquet\n35 records in ")
    table = pq.read_table(project / "answers.parquet")
    assert table.schema.equals(tables.ANSWER)
    assert len(set(table.column("record_id").to_pylist())) == 35


def test_output_jsonl_holds_what_json_prints(project: Path, run: Run) -> None:
    result = run("--output", "a.jsonl", "--json", "-i", "good, great", "-i", "bad")
    assert (project / "a.jsonl").read_text() == result.stdout


def test_an_output_that_cannot_be_written(project: Path, run: Run) -> None:
    result = run("--output", "a.csv", "-i", "good")
    assert result.exit_code == 2
    assert result.stderr == "error: --output 'a.csv': name a file that ends in .jsonl or .parquet\n"
    result = run("--output", "nowhere/a.jsonl", "-i", "good")
    assert result.stderr == "error: --output 'nowhere/a.jsonl' cannot be written: No such file or directory\n"


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_what_a_killed_run_left_is_taken_over(project: Path, run: Run, name: str) -> None:
    (project / f".{name}.part").write_text("the first half of a long answer, and then nothing\n" * 1000)
    assert run("--output", name, "-i", "good").exit_code == 0
    assert [path.name for path in project.glob("*a.*")] == [name]
    assert (project / name).stat().st_size < 20_000


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_an_output_that_another_run_writes(project: Path, run: Run, name: str) -> None:
    sink = open_file(project / name)
    result = run("--output", name, "-i", "good")
    sink.close(complete=False)
    said = f"--output {name!r} is being written by another run: wait for it, or name another file"
    assert (result.exit_code, result.stderr) == (2, f"error: {said}\n")
    assert list(project.glob("*a.*")) == []


def test_an_error_midway_leaves_no_output(project: Path, run: Run) -> None:
    lines = '{"id": "same", "text": "good"}\n' * 2
    result = run("--output", "a.jsonl", "-i", "-", stdin=lines)
    assert result.exit_code == 2
    assert sorted(path.name for path in project.iterdir() if "a.jsonl" in path.name) == []


@pytest.mark.parametrize("argument", ["cat.jpg", "pictures/cat", "more.parquet", "*.jsonl"])
def test_what_looks_like_a_path_must_exist(project: Path, run: Run, argument: str) -> None:
    result = run("-i", argument)
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: no such file: {argument!r} (relative paths start at this folder); "
        "if it is meant as text, pipe it in: echo TEXT | airflow-agentic --input -\n"
    )


@pytest.mark.parametrize("text", ["great?", "good and/or great?", "A [good] film.", "wonderful\x00", "good " * 400])
def test_what_does_not_look_like_a_path_is_text(project: Path, run: Run, text: str) -> None:
    assert documents(run("--json", "-i", text).stdout)[0]["label"] == "positive"


def test_an_empty_input_is_refused(project: Path, run: Run) -> None:
    result = run("-i", " ")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: an --input is empty; give a text, a file, a folder, a glob or -\n",
    )


def test_a_workflow_without_input_asks_for_one(sized: Path, run: Run) -> None:
    result = run("-w", "sizing")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: the workflow 'sizing' states no input; give one with --input\n",
    )
    write_workflow(sized, "windowed", "input: '../data/{window.start}.jsonl'\nroutes:\n  - use: counter\n")
    assert run("-w", "windowed").stderr == (
        "error: the workflow's input '../data/{window.start}.jsonl' is filled in by a Dag run; give one with --input\n"
    )


def test_which_workflow(sized: Path, run: Run) -> None:
    assert run("-i", "good").stderr == (
        "error: which workflow? There are: sentiment, sizing; choose one with --workflow, or by --task\n"
    )
    assert run("-w", "sentimental", "-i", "good").stderr == (
        "error: no workflow is called 'sentimental' in workflows; did you mean 'sentiment'?\n"
    )
    assert (
        run("-t", "sizin", "-i", "good").stderr == "error: no workflow does the task 'sizin'; did you mean 'sizing'?\n"
    )
    assert run("-w", "workflows/sentiment.yaml", "-i", "good").exit_code == 0


def test_a_broken_workflow_is_named_when_no_other_does_the_task(sized: Path, run: Run) -> None:
    write_workflow(sized, "sizing", "routes:\n  - use: counte\n")
    result = run("-t", "sizing", "-i", "good")
    assert result.exit_code == 2
    assert result.stderr.endswith("(sizing.yaml cannot be compiled: see `airflow-agentic validate`)\n")
    assert run("-w", "sizing", "-i", "good").exit_code == 3


def test_the_only_workflow_being_broken_is_said_at_once(project: Path, run: Run) -> None:
    write_workflow(project, "sentiment", "routes:\n  - use: few-word\n")
    result = run("-t", "text-classification", "-i", "good")
    assert result.exit_code == 3
    assert result.stderr == (
        "workflows/sentiment.yaml:5:10  routes[0].use: no model is called 'few-word'\n"
        "    did you mean 'few-words' (models/few-words.yaml)?\n"
    )


def test_no_project(here: Path, run: Run) -> None:
    result = run("-i", "good")
    assert result.exit_code == 2
    assert "no project in" in result.stderr
    assert run("--project", "absent", "-i", "good").exit_code == 2


def test_project_by_option(project: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert run("-i", "good, great", "--project", str(project)).exit_code == 0


def test_deadline(project: Path, run: Run) -> None:
    assert run("-i", "good, great", "--deadline", "1m").exit_code == 0
    for wrong in ("soon", "0s"):
        result = run("-i", "good", "--deadline", wrong)
        assert result.exit_code == 2
        assert "--deadline" in result.stderr


def test_debug_shows_the_traceback_and_keeps_the_exit_code(project: Path) -> None:
    command = [sys.executable, "-m", "airflow_agentic", "run", "-i", "cat.jpg", "--debug"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.rstrip().splitlines()[-1].startswith("error: no such file: 'cat.jpg'")


def test_control_characters_of_the_data_do_not_reach_the_terminal(project: Path, run: Run) -> None:
    result = run("-i", "good\x1b[2J\n\u0085great")
    assert result.stdout.startswith("good [2J great   positive")


def test_interrupt_ends_with_130(sized: Path) -> None:
    (sized / "sizes.py").write_text(
        "import os, signal\ndef count(text):\n    os.kill(os.getpid(), signal.SIGINT)\n    return 1\n"
    )
    command = [
        sys.executable,
        "-m",
        "airflow_agentic",
        "-t",
        "sizing",
        "-i",
        "x",
        "-o",
        "a.jsonl",
        "--allow-handler",
        "sizes",
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(sized), *sys.path])},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (130, "interrupted")
    assert not (sized / "a.jsonl").exists()
