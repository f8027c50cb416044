"""The trigger form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from airflow.sdk import ParamsDict

from airflow_agentic.dagbuilder.params import form

if TYPE_CHECKING:
    from conftest import ProjectFolder


def test_the_fields_in_their_order(project: ProjectFolder) -> None:
    fields = form(project.workflow().spec, ["text-analysis"])

    assert list(fields) == ["text", "task", "uri", "limit", "on_error", "recompute"]
    assert {name: field.value for name, field in fields.items()} == {
        "text": None,
        "task": None,
        "uri": None,
        "limit": None,
        "on_error": "keep",
        "recompute": False,
    }


def test_every_field_says_what_it_is_for(project: ProjectFolder) -> None:
    spec = project.workflow("dag: {schedule: '@daily'}\nwindow: interval").spec

    for name, field in form(spec, ["text-analysis"]).items():
        assert field.schema["title"], name
        assert field.description, name


def test_the_input_is_open_and_the_rest_folded_away(project: ProjectFolder) -> None:
    fields = form(project.workflow("dag: {schedule: '@daily'}\nwindow: interval").spec, ["text-analysis"])

    assert {name: field.schema.get("section") for name, field in fields.items()} == {
        **dict.fromkeys(("text", "task", "uri", "limit")),
        **dict.fromkeys(("on_error", "recompute"), "Behaviour"),
        **dict.fromkeys(("window_start", "window_end"), "Window"),
    }


def test_a_form_needs_no_answers(project: ProjectFolder) -> None:
    fields = form(project.workflow("dag: {schedule: '@daily'}\nwindow: interval").spec, ["text-analysis"])

    ParamsDict(fields).validate()


def test_the_task_is_one_of_the_models_tasks(project: ProjectFolder) -> None:
    fields = form(project.workflow().spec, ["text-analysis", "image-classification"])

    assert fields["task"].schema["enum"] == [None, "image-classification", "text-analysis"]


def test_on_error_offers_what_a_run_may_choose(project: ProjectFolder) -> None:
    plain = form(project.workflow("on_error: fail").spec, [])["on_error"]
    fallback = form(project.workflow("on_error: fallback\nfallback: strong").spec, [])["on_error"]

    assert plain.schema["values_display"].keys() == {"keep", "dead_letter", "fail"}
    assert (plain.value, plain.schema["enum"]) == ("fail", ["keep", "dead_letter", "fail"])
    assert (fallback.value, fallback.schema["enum"]) == ("fallback", ["fallback", "dead_letter", "fail"])


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("dag: {schedule: '@daily'}\nwindow: interval", True),
        ("input: {uri: 's3://inbox/{window.start}/'}", True),
        ("input: {uri: 'inbox/'}", False),
    ],
)
def test_a_window_is_asked_for_where_the_workflow_has_one(project: ProjectFolder, text: str, window: bool) -> None:
    fields = form(project.workflow(text).spec, [])

    assert ({"window_start", "window_end"} <= fields.keys()) is window


def test_the_form_names_the_workflows_own_input(project: ProjectFolder) -> None:
    own = form(project.workflow("input: {uri: 'inbox/'}").spec, [])["uri"]
    without = form(project.workflow().spec, [])["uri"]

    assert own.description == "Read this instead of inbox/."
    assert without.description == "What to read: JSONL, Parquet, CSV, text, or a folder of files."
