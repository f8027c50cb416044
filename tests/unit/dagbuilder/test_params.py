"""The trigger form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import ParamValidationError

from airflow_agentic.dagbuilder.params import form

if TYPE_CHECKING:
    from airflow.sdk import Param
    from conftest import ProjectFolder

    from airflow_agentic.project import Workflow


def fields_of(workflow: Workflow) -> dict[str, Param]:
    return form(workflow.spec, workflow.plan.models.values())


def test_the_fields_in_their_order(project: ProjectFolder) -> None:
    fields = fields_of(project.workflow())

    assert list(fields) == ["text", "task", "uri", "limit", "records", "on_error", "recompute"]
    assert {name: field.value for name, field in fields.items()} == {
        "text": None,
        "task": None,
        "uri": None,
        "limit": None,
        "records": None,
        "on_error": "keep",
        "recompute": False,
    }


def test_every_field_says_what_it_is_for(project: ProjectFolder) -> None:
    workflow = project.workflow("dag: {schedule: '@daily'}\nwindow: interval")

    for name, field in fields_of(workflow).items():
        assert field.schema["title"], name
        assert field.description, name


def test_the_input_is_open_and_the_rest_folded_away(project: ProjectFolder) -> None:
    fields = fields_of(project.workflow("dag: {schedule: '@daily'}\nwindow: interval"))

    assert {name: field.schema.get("section") for name, field in fields.items()} == {
        **dict.fromkeys(("text", "task", "uri", "limit")),
        "records": "Records",
        **dict.fromkeys(("on_error", "recompute"), "Behaviour"),
        **dict.fromkeys(("window_start", "window_end"), "Window"),
    }


def test_a_form_needs_no_answers(project: ProjectFolder) -> None:
    fields = fields_of(project.workflow("dag: {schedule: '@daily'}\nwindow: interval"))

    assert ParamsDict(fields).validate()["limit"] is None


def test_the_task_is_one_of_those_that_text_is_for(project: ProjectFolder) -> None:
    project.card("photos", task="image-classification", input="image")
    project.card("language", task="language-identification")
    routes = "[{when: record.task == 'x', use: photos}, {when: record.task == 'y', use: language}, {use: cheap}]"

    task = fields_of(project.workflow(routes=routes))["task"]

    assert task.schema["enum"] == [None, "language-identification", "text-analysis"]
    assert task.schema["values_display"] == {
        "None": "not stated",
        "language-identification": "language-identification",
        "text-analysis": "text-analysis",
    }


def test_no_text_is_asked_for_where_no_model_takes_it(project: ProjectFolder) -> None:
    project.card("photos", task="image-classification", input="image")

    assert list(fields_of(project.workflow(routes="[{use: photos}]"))) == [
        "uri",
        "limit",
        "records",
        "on_error",
        "recompute",
    ]


def test_on_error_offers_what_a_run_may_choose(project: ProjectFolder) -> None:
    plain = fields_of(project.workflow("on_error: fail"))["on_error"]
    fallback = fields_of(project.workflow("on_error: fallback\nfallback: strong"))["on_error"]

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
    fields = fields_of(project.workflow(text))

    assert ({"window_start", "window_end"} <= fields.keys()) is window


def test_the_form_names_the_workflows_own_input(project: ProjectFolder) -> None:
    own = fields_of(project.workflow("input: {uri: 'inbox/'}"))["uri"]
    without = fields_of(project.workflow())["uri"]

    assert own.description == "Read this instead of inbox/."
    assert without.description == "What to read: JSONL, Parquet, CSV, text, or a folder of files."


@pytest.mark.parametrize("records", [None, [], ["a"], [{"text": "a", "task": "x"}, "b"], ["a"] * 1000])
def test_records_are_texts_and_objects_or_what_the_untouched_form_sends(
    project: ProjectFolder, records: object
) -> None:
    fields = fields_of(project.workflow())
    fields["records"].value = records

    assert ParamsDict(fields).validate()["records"] == records


@pytest.mark.parametrize("records", [[1], "a", {"text": "a"}, ["a"] * 1001])
def test_other_records_are_refused(project: ProjectFolder, records: object) -> None:
    fields = fields_of(project.workflow())
    fields["records"].value = records

    with pytest.raises(ParamValidationError, match="records"):
        ParamsDict(fields).validate()
