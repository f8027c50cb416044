"""``dag:`` and ``task:`` of a workflow → arguments of Airflow's own classes, checked against their signatures."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any, Final

from airflow.sdk import DAG, Asset, BaseOperator
from airflow.sdk.timezone import parse

from airflow_agentic.exceptions import CompileError, Problem
from airflow_agentic.spec.base import nearest, seconds
from airflow_agentic.spec.workflow import WorkflowSpec

_CALLABLE: Final = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
_DURATIONS: Final = frozenset({"dagrun_timeout", "retry_delay", "max_retry_delay", "execution_timeout"})
_DATES: Final = frozenset({"start_date", "end_date"})
_OURS: Final = frozenset({"self", "dag_id", "kwargs", "task_id", "dag", "task_group", "params", "default_args", "trigger_rule"})


def dag_arguments(workflow: WorkflowSpec) -> dict[str, Any]:
    """Arguments of the Dag, without ``schedule``.

    :raises CompileError: one that the installed Airflow's ``DAG`` does not take, or whose value YAML cannot say.
    """
    known = set(inspect.signature(DAG).parameters) - _OURS
    return _arguments(workflow, "dag", {key: value for key, value in workflow.dag.items() if key != "schedule"}, known)


def task_arguments(workflow: WorkflowSpec) -> dict[str, Any]:
    """Arguments of every Airflow task."""
    return _arguments(workflow, "task", workflow.task, set(inspect.signature(BaseOperator.__init__).parameters) - _OURS)


def _arguments(workflow: WorkflowSpec, section: str, given: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    problems: list[Problem] = []
    arguments: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            near = nearest(key, known)
            owner = "DAG" if section == "dag" else "BaseOperator"
            hint = f"did you mean {near!r}?" if near else "this workflow sets it itself" if key in _OURS else None
            problems.append(workflow.problem((section, key), f"{key!r} is no argument of the installed Airflow's {owner}", hint))
            continue
        try:
            arguments[key] = _value(key, value)
        except (ValueError, ImportError, AttributeError) as error:
            problems.append(workflow.problem((section, key), f"{value!r} cannot be used: {error}"))
    if problems:
        raise CompileError(problems)
    return arguments


def _value(key: str, value: Any) -> Any:
    if key in _DURATIONS and value is not None:
        return timedelta(seconds=seconds(value))
    if key in _DATES and value is not None:
        return value if isinstance(value, datetime) else parse(str(value))
    if key.endswith("_callback") and isinstance(value, list):
        return [_value(key, one) for one in value]
    if (key.endswith("_callback") or key in {"retry_policy", "weight_rule"}) and isinstance(value, str) and _CALLABLE.match(value):
        module, _, name = value.partition(":")
        return getattr(import_module(module), name)
    if key.endswith("_callback") and value is not None:
        raise ValueError("a callback is written package.module:name")
    return value


def schedule(workflow: WorkflowSpec) -> Any:
    """The Dag's schedule: cron text, ``{asset: NAME}``, ``{assets: [...]}``, ``{every: 6h}`` or null.

    :raises CompileError: anything else, or a window over a schedule that has no intervals.
    """
    given = workflow.dag.get("schedule")
    path = ("dag", "schedule")
    if workflow.window.kind == "interval":
        if not isinstance(given, str):
            raise CompileError(workflow.problem(path, f"window: interval needs a cron schedule, found {given!r}"))
        from airflow.sdk import CronDataIntervalTimetable

        return _checked(workflow, lambda: CronDataIntervalTimetable(given, timezone="UTC"))
    if given is None or isinstance(given, str):
        return given
    if isinstance(given, dict) and len(given) == 1:
        kind, value = next(iter(given.items()))
        if kind == "asset" and isinstance(value, str):
            return [Asset(name=value)]
        if kind == "assets" and isinstance(value, list):
            return [Asset(name=str(one)) for one in value]
        if kind == "every":
            return _checked(workflow, lambda: timedelta(seconds=seconds(value)))
    raise CompileError(
        workflow.problem(path, f"{given!r} is no schedule", 'write a cron expression, {asset: NAME}, {assets: [NAME]}, {every: "6h"} or null')
    )


def _checked(workflow: WorkflowSpec, make: Any) -> Any:
    try:
        return make()
    except ValueError as error:
        raise CompileError(workflow.problem(("dag", "schedule"), f"{workflow.dag.get('schedule')!r} is no schedule: {error}")) from error
