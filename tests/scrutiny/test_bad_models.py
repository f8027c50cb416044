"""Models that raise, hang, exit, leak, or answer nonsense: their records are errors, and the others' answers stand."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from bad_project import Project, labels

from airflow_agentic.exceptions import ModelUnavailableError


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
    project.workflow()
    answers = project.both(project.lines(*rows("a good day", *RAISED, "a bad day")))
    assert project.failures == []
    errors = {name: (row["error"]["code"], row["error"]["message"]) for name, row in answers.items() if row["error"]}
    assert errors == RAISED
    assert (answers["a good day"]["label"], answers["a bad day"]["label"]) == ("good", "bad")


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
@pytest.mark.parametrize("wrong", TABLES)
def test_a_batch_that_breaks_the_contract_is_tried_record_by_record(
    project: Project, wrong: str, isolation: str
) -> None:
    project.card(handler="Tables", isolation=isolation)
    project.workflow()
    answers = project.both(project.lines(*rows("one", wrong, "two")))
    assert {name: row["label"] for name, row in answers.items()} == {"one": "good", wrong: None, "two": "good"}
    code, said = TABLES[wrong]
    assert answers[wrong]["error"]["code"] == code
    assert answers[wrong]["error"]["message"].startswith(said)


def test_a_table_of_no_json_is_bad_output_and_does_not_break_the_next_step(project: Project) -> None:
    project.card("city", handler="Fields", task="extraction", output={"fields": {"city": "string"}})
    project.card("mood")
    project.workflow({"use": {"chain": ["city", {"use": "mood", "input": "prediction.output.city"}]}})
    answers = project.both(project.lines(*rows("plain", "no json", "nan json", "other", "text")))
    assert project.failures == []
    assert labels(answers) == {
        "plain": "good",
        **dict.fromkeys(("no json", "nan json", "other", "text"), "no_input"),
    }


def test_fields_that_no_file_can_hold_are_bad_output(project: Project) -> None:
    project.card("city", handler="fields", task="extraction", output={"fields": {"city": "string"}})
    project.workflow({"use": "city"})
    answers = project.both(project.lines(*rows("plain", "surrogate", "number")))
    assert answers["plain"]["output"] == '{"city": "Oslo"}'
    assert [answers[name]["error"]["message"] for name in ("surrogate", "number")] == [
        "the handler gave {'city': 'half \\ud800'}: 'utf-8' codec can't encode character '\\ud800' in position 15: "
        "surrogates not allowed",
        "the handler gave {'city': 7}: field 'city' must be of type string",
    ]


LOST = {
    "exit": ({}, "the process of model 'mood' ended by itself with exit code 7"),
    "hang": (
        {"batch": {"timeout": "2s"}},
        "the process of model 'mood' took longer than 2 s and was stopped; raise batch.timeout or lower batch.rows "
        "(models/mood.yaml)",
    ),
    "grow": ({"resources": {"memory": "500Mi"}}, "the process of model 'mood' used "),
}


@pytest.mark.parametrize("order", LOST)
def test_a_model_that_ends_or_is_ended_loses_its_shard_and_no_other(project: Project, order: str) -> None:
    """A shard is what is lost: shards committed before stay, another model's records are answered."""
    changes, said = LOST[order]
    project.card("mood", **changes)
    project.card("calm", handler="mood")
    project.workflow(
        {"when": "record.text.startsWith('calm')", "use": "calm"}, default="mood", shard={"rows": 2}, parallelism=1
    )
    answers = project.both(project.lines(*rows("one", "two", "three", order, "calm bad")))
    assert labels(answers) == {
        "one": "good",
        "two": "good",
        "three": "model_unavailable",
        order: "model_unavailable",
        "calm bad": "bad",
    }
    assert [type(error) for error in project.failures] == [ModelUnavailableError]
    assert str(project.failures[0]).startswith(said)
    assert answers[order]["error"]["retryable"]


def test_the_coordinator_says_why_after_its_second_try(project: Project) -> None:
    project.card()
    project.workflow()
    found = {row["record_id"]: row for row in project.online(project.lines(*rows("one", "exit"))).to_pylist()}
    assert labels(found) == dict.fromkeys(("one", "exit"), "model_unavailable")
    assert "the process of model 'mood' ended by itself with exit code 7" in found["one"]["error"]["message"]


def test_another_model_takes_over_what_a_lost_one_had(project: Project) -> None:
    project.card("mood")
    project.card("spare", handler="size", task="text-analysis", output={"value": "letters"})
    project.workflow({"use": "mood"}, on_error="fallback", fallback="spare")
    answers = project.both(project.lines(*rows("one", "exit")))
    assert {name: (row["model"], row["value"]) for name, row in answers.items()} == {
        "one": ("spare", 3.0),
        "exit": ("spare", 4.0),
    }


def test_endless_output_is_logged_in_pieces_without_escape_codes(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project.card()
    project.workflow()
    with caplog.at_level(logging.INFO, logger="airflow_agentic.model.mood"):
        answers: Any = project.online(project.lines(*rows("chatter")))
    said = [record.message for record in caplog.records if record.name == "airflow_agentic.model.mood"]
    assert answers.column("label").to_pylist() == ["good"]
    assert max(map(len, said)) == 8192
    assert "".join(said) == "." * 32 * 2**20 + " [2Jend"
