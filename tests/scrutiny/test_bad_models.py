"""Models that raise, hang, exit, leak, or answer nonsense: their records are errors, and the others' answers stand."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from bad_project import Project, labels, printed

SIDES = (
    {"name": "side", "when": "record.text.startsWith('calm')", "use": "calm"},
    {"name": "main", "use": "mood"},
)
"""Records that begin with ``calm`` go to a second model."""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def rows(*texts: str) -> list[dict[str, str]]:
    return [{"id": text, "text": text} for text in texts]


RAISED = {
    "raise": ("model_error", "KeyError: 'no such mood'"),
    "raise own": ("too_sad", "this is too sad"),
    "raise odd code": ("model_error", f"{'no code' + chr(10) + 'y' * 100!r}: as it is"),
    "raise surrogate": ("model_error", "ValueError: half \\udc80"),
    "raise unspeakable": ("model_error", "UnspeakableError: (it cannot be shown)"),
    "raise much": (
        "model_error",
        f"ValueError: {'x' * 1321} … (4,998,179 characters left out) … {'x' * 500}",
    ),
    "sys.exit": ("model_error", "RuntimeError: it called sys.exit(3)"),
    "nan": ("bad_output", "the model gave a score that is not finite (NaN or infinity)"),
    "infinite": ("bad_output", "the model gave a number that is not finite (NaN or infinity)"),
    "nothing": ("bad_output", "the handler gave None: a classes card takes a label, (label, score) or {label: score}"),
    "a number": ("bad_output", "the handler gave 7: a classes card takes a label, (label, score) or {label: score}"),
    "stranger": ("unknown_label", "the model gave a label that is not in the card's label space ({bad, good})"),
    "surrogate": (
        "bad_output",
        "the handler gave 'go\\ud800d': 'utf-8' codec can't encode character '\\ud800' in position 2: "
        "surrogates not allowed",
    ),
}


@pytest.mark.parametrize("isolation", ["process", "inline"])
def test_a_model_that_raises_or_answers_nonsense_loses_that_record(project: Project, isolation: str) -> None:
    project.card(isolation=isolation)
    project.card("calm")
    project.workflow(*SIDES)
    project.lines(*rows("a good day", *RAISED, "a bad day", "calm and good", "calm but bad"))
    answers = project.answers()
    assert project.failed == {}
    errors = {name: (row["error"]["code"], row["error"]["message"]) for name, row in answers.items() if "error" in row}
    assert errors == RAISED
    assert {name: (row["label"], row["model"]) for name, row in answers.items() if "error" not in row} == {
        "a good day": ("good", "mood"),
        "a bad day": ("bad", "mood"),
        "calm and good": ("good", "calm"),
        "calm but bad": ("bad", "calm"),
    }


TABLES = {
    "too few": ("bad_output", "the model gave 0 rows for 1 records"),
    "too many": ("bad_output", "the model gave 2 rows for 1 records"),
    "wrong type": ("bad_output", "the model gave a column of another type: Failed to parse string: 'much' as a scalar"),
    "wrong column": ("bad_output", "the model gave the columns mood; known are label, score, scores, value, output"),
    "no table": ("bad_output", "the handler gave str for 1 records; a list needs one each"),
    "short list": ("bad_output", "the handler gave 0 items for 1 records; a list needs one each"),
    "raise own": ("too_sad", "this is too sad"),
}


@pytest.mark.parametrize("isolation", ["process", "inline"])
def test_a_batch_that_breaks_the_contract_is_tried_record_by_record(project: Project, isolation: str) -> None:
    project.card(handler="Tables", isolation=isolation)
    project.workflow(shard={"rows": 3})
    texts = [text for wrong in TABLES for text in (f"before {wrong}", wrong, f"after {wrong}")]
    project.lines(*rows(*texts))
    answers = project.answers()
    assert project.failed == {}
    assert {name for name, row in answers.items() if "error" not in row} == {*texts} - {*TABLES}
    for wrong, (code, said) in TABLES.items():
        assert answers[wrong]["error"]["code"] == code
        assert answers[wrong]["error"]["message"].startswith(said)


def test_a_table_of_no_json_is_bad_output_and_does_not_break_the_next_step(project: Project) -> None:
    project.card("city", handler="Fields", task="extraction", output={"fields": {"city": "string"}})
    project.card("mood")
    project.workflow({"name": "main", "use": {"chain": ["city", {"use": "mood", "input": "prediction.output.city"}]}})
    project.lines(*rows("plain", "no json", "nan json", "other", "text"))
    answers = project.answers()
    assert project.failed == {}
    assert labels(answers) == {
        "plain": "good",
        **dict.fromkeys(("no json", "nan json", "other", "text"), "bad_output"),
    }


def test_fields_that_no_file_can_hold_are_bad_output(project: Project) -> None:
    project.card("city", handler="fields", task="extraction", output={"fields": {"city": "string"}})
    project.workflow({"name": "main", "use": "city"})
    project.lines(*rows("plain", "surrogate", "number"))
    answers = project.answers()
    assert answers["plain"]["output"] == {"city": "Oslo"}
    assert [answers[name]["error"]["message"] for name in ("surrogate", "number")] == [
        "the handler gave {'city': 'half \\ud800'}: 'utf-8' codec can't encode character '\\ud800' in position 15: "
        "surrogates not allowed",
        "the handler gave {'city': 7}: field 'city' must be of type string",
    ]


LOST: dict[str, tuple[dict[str, Any], str]] = {
    "exit": ({}, "the process of model 'exit' ended by itself with exit code 7"),
    "hang": (
        {"batch": {"timeout": "3s"}},
        "the process of model 'hang' took longer than 3 s and was stopped; raise batch.timeout or lower batch.rows "
        "(models/hang.yaml)",
    ),
    "grow": ({"resources": {"memory": "500Mi"}}, "the process of model 'grow' used "),
    "starve": (
        {"isolation": "inline"},
        "model 'starve' is out of memory (1 TB); lower batch.rows (models/starve.yaml)",
    ),
}
"""By what the model is told to do, which is also its name."""


def test_a_model_that_ends_or_is_ended_loses_its_shard_and_no_other(project: Project) -> None:
    """A shard is what is lost: those committed before stay, and the other models' records are answered."""
    for name, (changes, _) in LOST.items():
        project.card(name, **changes)
    project.card("calm")
    routes = [{"name": name, "when": f"record.text.startsWith('{name}')", "use": name} for name in ("calm", *LOST)]
    project.workflow(*routes, shard={"rows": 4})
    project.lines(*rows("calm and good", "calm but bad", "hang on", "exit here", *LOST, "calm"))
    answers = project.answers()
    assert labels(answers) == {
        "calm and good": "good",
        "calm but bad": "bad",
        "hang on": "good",
        "exit here": "good",
        **dict.fromkeys(LOST, "model_unavailable"),
        "calm": "good",
    }
    assert list(project.failed) == [f"{name}.{name}[0]" for name in LOST]
    for name, (_, said) in LOST.items():
        assert said in project.failed[f"{name}.{name}[0]"]
        assert answers[name]["error"]["retryable"]
    assert project.failed["exit.exit[0]"].startswith(
        "'exit' lost unit 1 of 1 (shard 1, 1 of the records 'exit' to 'starve'; 1 of its shards stay committed): "
    )


def test_the_command_line_says_what_became_of_the_process(project: Project) -> None:
    project.card()
    project.workflow()
    project.lines(*rows("one", "exit"))
    result = project.command_line()
    assert result.exit_code == 4
    assert {row["error"]["message"] for row in printed(result).values()} == {
        "the process of model 'mood' ended by itself with exit code 7"
    }


def test_another_model_takes_over_what_a_lost_one_had(project: Project) -> None:
    project.card("mood")
    project.card("spare", handler="size", task="text-analysis", output={"value": "letters"}, isolation="inline")
    project.workflow({"name": "main", "use": "mood"}, on_error="fallback", fallback="spare")
    project.lines(*rows("one", "exit"))
    assert {name: (row["model"], row["value"]) for name, row in project.answers().items()} == {
        "one": ("spare", 3.0),
        "exit": ("spare", 4.0),
    }


def test_endless_output_is_logged_in_pieces_without_escape_codes(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project.card()
    project.workflow()
    project.lines(*rows("chatter"))
    with caplog.at_level(logging.INFO, logger="airflow_agentic.model.mood"):
        answers: Any = printed(project.command_line())
    said = [record.message for record in caplog.records if record.name == "airflow_agentic.model.mood"]
    assert labels(answers) == {"chatter": "good"}
    assert max(map(len, said)) == 8192
    assert "".join(said) == "." * 32 * 2**20 + " [2Jend"
