"""``dag:`` and ``task:`` → arguments of Airflow's classes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import Asset

from airflow_agentic.compat import CronDataIntervalTimetable
from airflow_agentic.dagbuilder.arguments import dag_arguments, schedule, task_arguments
from airflow_agentic.exceptions import CompileError, SpecError

if TYPE_CHECKING:
    from conftest import ProjectFolder


def test_known_arguments_pass_through(project: ProjectFolder) -> None:
    spec = project.workflow(
        "dag: {schedule: '@daily', max_active_runs: 2, catchup: true}\ntask: {retries: 3, pool: gpu}"
    ).spec

    assert dag_arguments(spec) == {"max_active_runs": 2, "catchup": True}
    assert task_arguments(spec) == {"retries": 3, "pool": "gpu"}


def test_durations_and_dates_become_python_values(project: ProjectFolder) -> None:
    spec = project.workflow(
        "dag: {start_date: 2026-01-02, end_date: '2026-02-03T04:05:06Z', dagrun_timeout: 6h}\n"
        "task: {retry_delay: 90, execution_timeout: 5m, max_retry_delay: null}"
    ).spec

    assert dag_arguments(spec) == {
        "start_date": datetime(2026, 1, 2, tzinfo=UTC),
        "end_date": datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
        "dagrun_timeout": timedelta(hours=6),
    }
    assert task_arguments(spec) == {
        "retry_delay": timedelta(seconds=90),
        "execution_timeout": timedelta(minutes=5),
        "max_retry_delay": None,
    }


def test_callbacks_are_imported_by_name(project: ProjectFolder) -> None:
    spec = project.workflow(
        "dag: {on_failure_callback: 'os.path:join'}\n"
        "task: {on_retry_callback: ['os.path:join', 'os.path:split'], on_success_callback: null}"
    ).spec

    import os.path

    assert dag_arguments(spec) == {"on_failure_callback": os.path.join}
    assert task_arguments(spec) == {
        "on_retry_callback": [os.path.join, os.path.split],
        "on_success_callback": None,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "dag: {max_active_run: 1}",
            "5:23  dag.max_active_run: 'max_active_run' is no argument of the installed Airflow's DAG\n"
            "    did you mean 'max_active_runs'?",
        ),
        ("dag: {colour: blue}", "5:15  dag.colour: 'colour' is no argument of the installed Airflow's DAG"),
        (
            "dag: {dag_id: x}",
            "5:15  dag.dag_id: 'dag_id' of Airflow's DAG is set by the workflow itself\n    remove it",
        ),
        (
            "dag: {dagrun_timeout: soon}",
            "5:23  dag.dagrun_timeout: 'soon' cannot be used: 'soon' is not a duration\n"
            "    write for example 200ms, 30s, 5m, 12h, 7d or 4w",
        ),
        (
            "dag: {on_failure_callback: tell me}",
            "5:28  dag.on_failure_callback: 'tell me' cannot be used: a callback is written package.module:name",
        ),
        (
            "dag: {on_failure_callback: 'no_such_package:tell'}",
            "5:28  dag.on_failure_callback: 'no_such_package:tell' cannot be used: No module named 'no_such_package'",
        ),
        (
            "dag: {on_failure_callback: 'os.path:tell'}",
            "5:28  dag.on_failure_callback: 'os.path:tell' cannot be used: module 'posixpath' has no attribute 'tell'",
        ),
    ],
)
def test_what_dag_refuses(project: ProjectFolder, text: str, message: str) -> None:
    spec = project.workflow(text).spec

    with pytest.raises(CompileError, match=whole(project, message)):
        dag_arguments(spec)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "task: {retrys: 1}",
            "5:16  task.retrys: 'retrys' is no argument of the installed Airflow's BaseOperator\n"
            "    did you mean 'retries'?",
        ),
        (
            "task: {trigger_rule: always}",
            "5:22  task.trigger_rule: 'trigger_rule' of Airflow's BaseOperator is set by the workflow itself\n"
            "    remove it",
        ),
        (
            "task: {weight_rule: heavy}",
            "5:21  task.weight_rule: 'heavy' cannot be used: one of absolute, downstream, upstream, or "
            "package.module:name",
        ),
    ],
)
def test_what_task_refuses(project: ProjectFolder, text: str, message: str) -> None:
    spec = project.workflow(text).spec

    with pytest.raises(CompileError, match=whole(project, message)):
        task_arguments(spec)


def test_every_problem_is_reported_at_once(project: ProjectFolder) -> None:
    spec = project.workflow("task: {retrys: 1, retry_delay: soon}").spec

    with pytest.raises(SpecError) as caught:
        task_arguments(spec)

    assert [problem.path for problem in caught.value.problems] == ["task.retrys", "task.retry_delay"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("dag: {schedule: null}", None),
        ("dag: {schedule: '0 6 * * 1'}", "0 6 * * 1"),
        ("dag: {schedule: '@daily'}", "@daily"),
        ("dag: {schedule: '@once'}", "@once"),
        ("dag: {schedule: {every: 6h}}", timedelta(hours=6)),
        ("dag: {schedule: {asset: inbox}}", [Asset(name="inbox")]),
        ("dag: {schedule: {assets: [inbox, outbox]}}", [Asset(name="inbox"), Asset(name="outbox")]),
        (
            "dag: {schedule: {asset: airflow-agentic/other}}",
            [Asset(name="airflow-agentic/other", uri="x-airflow-agentic://workflow/other")],
        ),
        (
            "dag: {schedule: {assets: ['s3://inbox/new', {name: inbox, uri: 's3://inbox'}]}}",
            [Asset(name="s3://inbox/new", uri="s3://inbox/new"), Asset(name="inbox", uri="s3://inbox")],
        ),
        (
            "dag: {schedule: '0 6 * * *'}\nwindow: interval",
            CronDataIntervalTimetable("0 6 * * *", timezone="UTC"),
        ),
    ],
)
def test_schedules(project: ProjectFolder, text: str, expected: Any) -> None:
    assert schedule(project.workflow(text).spec) == expected


FORMS = '    write a cron expression, {asset: NAME}, {assets: [NAME]}, {every: "6h"} or null'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "dag: {schedule: {asset: [a]}}",
            "5:17  dag.schedule: {'asset': ['a']} is no schedule: ['a'] is no asset\n"
            "    write its name, or {name: NAME, uri: URI}",
        ),
        ("dag: {schedule: {assets: []}}", f"5:17  dag.schedule: {{'assets': []}} is no schedule\n{FORMS}"),
        ("dag: {schedule: {}}", f"5:17  dag.schedule: {{}} is no schedule\n{FORMS}"),
        ("dag: {schedule: 5}", f"5:17  dag.schedule: 5 is no schedule\n{FORMS}"),
        (
            "dag: {schedule: {every: now}}",
            "5:17  dag.schedule: {'every': 'now'} is no schedule: 'now' is not a duration\n"
            "    write for example 200ms, 30s, 5m, 12h, 7d or 4w",
        ),
        (
            "dag: {schedule: every day}",
            "5:17  dag.schedule: 'every day' is no schedule: Exactly 5, 6 or 7 columns has to be specified for "
            "iterator expression.",
        ),
        ("window: interval", "1:1  window: interval needs a cron schedule, found None"),
        (
            "dag: {schedule: {every: 6h}}\nwindow: interval",
            "5:17  dag.schedule: window: interval needs a cron schedule, found {'every': '6h'}",
        ),
    ],
)
def test_what_is_no_schedule(project: ProjectFolder, text: str, message: str) -> None:
    spec = project.workflow(text).spec

    with pytest.raises(CompileError, match=whole(project, message)):
        schedule(spec)


def whole(project: ProjectFolder, message: str) -> str:
    """A pattern of exactly this message about the project's workflow."""
    path = project.workflows / "demo.yaml"
    return rf"\A{re.escape(f'{path}:{message}')}\Z"
