"""``airflow-agentic models``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_samples import write_model, write_workflow

from airflow_agentic.artifacts.digests import file_digest
from airflow_agentic.cli.models import observe
from airflow_agentic.cli.profile import measure, write_profile
from airflow_agentic.execution.freeze import measured_profile
from airflow_agentic.pipeline.inputs import inline_records
from airflow_agentic.runtime import open_predictor
from airflow_agentic.spec.load import load_model

if TYPE_CHECKING:
    from cli_samples import Run


def test_list(project: Path, run: Run) -> None:
    heading, *lines = run("models", "list").stdout.splitlines()
    assert heading.split() == ["name", "version", "task", "framework", "input", "quality", "cost/1k", "ms", "source"]
    assert [line.split() for line in lines] == [
        ["few-words", "1", "text-classification", "python", "text", "–", "0.01", "0.1", "models/few-words.yaml"],
        ["many-words", "1", "text-classification", "python", "text", "–", "0.05", "0.1", "models/many-words.yaml"],
    ]
    write_model(project, "counter", "some.where:code")
    assert [entry["name"] for entry in json.loads(run("models", "list", "-t", "sizing", "--json").stdout)] == [
        "counter"
    ]
    assert run("models", "list", "--task", "nothing").stdout == "no model card does 'nothing'\n"


def test_list_names_broken_cards(project: Path, run: Run) -> None:
    (project / "models" / "odd.yaml").write_text("name: odd\n")
    result = run("models", "list")
    assert (result.exit_code, result.stderr) == (0, "odd: has an error; see `airflow-agentic validate`\n")


def test_show(project: Path, run: Run) -> None:
    lines = run("models", "show", "few-words").stdout.splitlines()
    digest = observe(load_model(project / "models" / "few-words.yaml")).info.digest
    assert lines[:6] == [
        "file       models/few-words.yaml",
        f"digest     {digest}",
        "artifact   –",
        "health     can run here",
        "figures    cost 0.01 per 1,000 records, 0.1 ms (declared)",
        "",
    ]
    assert "name: few-words" in lines


def test_show_of_an_artifact(project: Path, run: Run) -> None:
    (project / "models" / "net.onnx").write_bytes(b"net")
    text = (
        "apiVersion: airflow-agentic/v1\nkind: Model\nname: net\nversion: '1'\ntask: sizing\ninput: tensor\n"
        "output: {value: size}\nruntime: {framework: onnx, artifact: net.onnx}\n"
    )
    (project / "models" / "net.yaml").write_text(text)
    shown = json.loads(run("models", "show", "net", "--json").stdout)
    assert shown["artifact_sha256"] == file_digest(project / "models" / "net.onnx")
    assert (shown["healthy"], shown["file"]) == (True, "models/net.yaml")
    (project / "models" / "net.onnx").unlink()
    shown = json.loads(run("models", "show", "net", "--json").stdout)
    assert (shown["artifact_sha256"], shown["healthy"]) == (None, False)
    assert "'net.onnx' does not exist" in shown["why_unhealthy"]


def test_an_unknown_name(project: Path, run: Run) -> None:
    result = run("models", "show", "few-word")
    assert (result.exit_code, result.stderr) == (2, "error: no model is called 'few-word'; did you mean 'few-words'?\n")
    (project / "models" / "odd.yaml").write_text("name: odd\n")
    assert run("models", "show", "odd").exit_code == 3


def test_profile_measures_with_the_projects_own_data(project: Path, run: Run) -> None:
    result = run("models", "profile", "many-words", "--rows", "10", "--json")
    measured = json.loads(result.stdout)
    assert measured.keys() == {"name", "latency_ms", "throughput_per_s", "measured_on"}
    assert measured["latency_ms"] > 0
    assert measured["measured_on"].startswith("6 records; ")
    assert not (project / "models" / "profiles.json").exists()


def test_profile_with_labels_is_written_and_used(project: Path, run: Run) -> None:
    lines = [("good, great", "positive"), ("so bad", "negative"), ("not good", "negative"), ("blue", "negative")]
    (project / "labelled.jsonl").write_text(
        "".join(json.dumps({"text": text, "sentiment": label}) + "\n" for text, label in lines)
    )
    arguments = (
        "models",
        "profile",
        "few-words",
        "-i",
        "labelled.jsonl",
        "--rows",
        "4",
        "--label",
        "sentiment",
        "--write",
    )
    result = run(*arguments)
    assert "accuracy     50.0%" in result.stdout.splitlines()
    assert "records      4, 1 of them without an answer" in result.stdout.splitlines()
    assert result.stderr == "wrote models/profiles.json\n"
    card = load_model(project / "models" / "few-words.yaml")
    found = measured_profile(card, observe(card).info.digest)
    assert found is not None
    assert found.quality == 0.5
    shown = run("models", "show", "few-words").stdout
    assert "figures    cost 0.01 per 1,000 records, " in shown
    assert "quality 0.5 (measured by models profile)" in shown
    run("models", "profile", "many-words", "--rows", "2", "--write")
    assert json.loads((project / "models" / "profiles.json").read_text()).keys() == {"few-words", "many-words"}


def test_profile_takes_records_of_the_models_task_only(project: Path, run: Run) -> None:
    (project / "mixed.jsonl").write_text('{"text": "good", "task": "other"}\n{"text": "bad"}\n')
    result = run("models", "profile", "few-words", "-i", "mixed.jsonl", "--json", "--rows", "1")
    assert json.loads(result.stdout)["measured_on"].startswith("1 records; ")


def test_profile_without_data_or_label(project: Path, run: Run) -> None:
    write_model(project, "counter", "some.where:code")
    assert run("models", "profile", "counter").stderr == (
        "error: no record for 'counter' (task sizing) in the inputs of the project's workflows; "
        "give some with --input\n"
    )
    assert run("models", "profile", "few-words", "--label", "mood").stderr == (
        "error: --label 'mood': the records have no such column; they have: none\n"
    )


def test_profile_of_code_that_is_not_allowed_is_exit_4(project: Path, run: Run) -> None:
    write_model(project, "counter", "some.where:code")
    result = run("models", "profile", "counter", "-i", "some text")
    assert result.exit_code == 4
    assert "'some.where:code' is not" in result.stderr


def test_profile_of_a_model_in_a_process_tells_its_memory(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "sizes.py").write_text("def count(text):\n    return len(text)\n")
    monkeypatch.syspath_prepend(project)
    monkeypatch.delitem(sys.modules, "sizes", raising=False)
    path = write_model(project, "counter", "sizes:count")
    path.write_text(path.read_text().replace("isolation: inline\n", ""))
    write_workflow(project, "sizing", "routes:\n  - use: counter\n")
    result = run("models", "profile", "counter", "-i", "some text", "--rows", "3", "--allow-handler", "sizes", "--json")
    assert json.loads(result.stdout)["memory"] > 10 * 2**20


def test_figures_are_computed_from_the_clock(project: Path) -> None:
    card = load_model(project / "models" / "few-words.yaml")
    predictor = open_predictor(card)
    predictor.load()
    ticks = iter([0.0, 0.010, 1.0, 1.010, 2.0, 2.010, 3.0, 3.030, 10.0, 10.5])
    measured = measure(predictor, card, inline_records(["good", "bad"]), rows=4, clock=lambda: next(ticks))
    assert measured.p50_ms == pytest.approx(10.0)
    assert measured.p95_ms == pytest.approx(27.0)
    assert measured.throughput_per_s == pytest.approx(8.0)
    assert (measured.rows, measured.errors, measured.memory, measured.quality) == (2, 0, None, None)


def test_a_damaged_profiles_file_is_not_overwritten(project: Path) -> None:
    card = load_model(project / "models" / "few-words.yaml")
    predictor = open_predictor(card)
    predictor.load()
    measured = measure(predictor, card, inline_records(["good"]), rows=1)
    (project / "models" / "profiles.json").write_text("{")
    with pytest.raises(ValueError, match=r"is not JSON .*; mend or remove it"):
        write_profile(card, measured)
    assert (project / "models" / "profiles.json").read_text() == "{"
