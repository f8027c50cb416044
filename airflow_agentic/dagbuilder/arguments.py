"""``dag:`` and ``task:`` of a workflow → arguments of Airflow's own classes, checked against their signatures."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import cache
from importlib import import_module
from typing import Any, Final

from airflow.sdk import DAG, BaseOperator
from airflow.sdk.timezone import parse

from airflow_agentic.compat import AirflowException, CronDataIntervalTimetable
from airflow_agentic.dagbuilder.assets import named_asset
from airflow_agentic.exceptions import CompileError, Problem
from airflow_agentic.spec.base import nearest, seconds
from airflow_agentic.spec.workflow import WorkflowSpec

_CALLABLE: Final = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
_DURATIONS: Final = frozenset({"dagrun_timeout", "retry_delay", "max_retry_delay", "execution_timeout"})
_WEIGHT_RULES: Final = frozenset({"absolute", "downstream", "upstream"})
_DATES: Final = frozenset({"start_date", "end_date"})
_NO_CRON: Final = frozenset({"@once", "@continuous"})
_OURS: Final = frozenset(
    {"self", "dag_id", "kwargs", "task_id", "dag", "task_group", "params", "default_args", "trigger_rule"}
)


def dag_arguments(workflow: WorkflowSpec) -> dict[str, Any]:
    """Arguments of the Dag, without ``schedule``.

    :raises CompileError: one that the installed Airflow's ``DAG`` does not take, or whose value YAML cannot say.
    """
    known = _parameters(DAG)
    return _arguments(workflow, "dag", {key: value for key, value in workflow.dag.items() if key != "schedule"}, known)


def task_arguments(workflow: WorkflowSpec) -> dict[str, Any]:
    """Arguments of every Airflow task."""
    return _arguments(workflow, "task", workflow.task, _parameters(BaseOperator.__init__))


@cache
def _parameters(owner: Callable[..., Any]) -> frozenset[str]:
    """What ``owner`` takes and the workflow does not set itself."""
    return frozenset(inspect.signature(owner).parameters) - _OURS


def _arguments(workflow: WorkflowSpec, section: str, given: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    problems: list[Problem] = []
    arguments: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            problems.append(workflow.problem((section, key), *_unknown(section, key, known)))
            continue
        try:
            arguments[key] = _value(key, value)
        except (ValueError, ImportError, AttributeError) as error:
            message, _, hint = f"{value!r} cannot be used: {error}".partition("\n")
            problems.append(workflow.problem((section, key), message, hint or None))
    if problems:
        raise CompileError(problems)
    return arguments


def _unknown(section: str, key: str, known: frozenset[str]) -> tuple[str, str | None]:
    owner = "DAG" if section == "dag" else "BaseOperator"
    if key in _OURS:
        return f"{key!r} of Airflow's {owner} is set by the workflow itself", "remove it"
    near = nearest(key, known)
    return f"{key!r} is no argument of the installed Airflow's {owner}", f"did you mean {near!r}?" if near else None


def _value(key: str, value: Any) -> Any:
    if key in _DURATIONS and value is not None:
        return timedelta(seconds=seconds(value))
    if key in _DATES and value is not None:
        return value if isinstance(value, datetime) else parse(str(value))
    if key.endswith("_callback") and isinstance(value, list):
        return [_value(key, one) for one in value]
    if (
        (key.endswith("_callback") or key in {"retry_policy", "weight_rule"})
        and isinstance(value, str)
        and _CALLABLE.match(value)
    ):
        module, _, name = value.partition(":")
        return getattr(import_module(module), name)
    if key.endswith("_callback") and value is not None:
        raise ValueError("a callback is written package.module:name")
    if key == "weight_rule" and value not in _WEIGHT_RULES:
        raise ValueError(f"one of {', '.join(sorted(_WEIGHT_RULES))}, or package.module:name")
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
        return _cron(workflow, given)
    if isinstance(given, str) and given not in _NO_CRON:
        _cron(workflow, given)
    if given is None or isinstance(given, str):
        return given
    kind, value = next(iter(given.items())) if isinstance(given, dict) and len(given) == 1 else ("", None)
    try:
        if kind == "asset":
            return [named_asset(value)]
        if kind == "assets" and isinstance(value, list) and value:
            return [named_asset(one) for one in value]
        if kind == "every":
            return timedelta(seconds=seconds(value))
    except (ValueError, TypeError) as error:
        raise CompileError(_no_schedule(workflow, error)) from error
    raise CompileError(
        workflow.problem(
            path,
            f"{given!r} is no schedule",
            'write a cron expression, {asset: NAME}, {assets: [NAME]}, {every: "6h"} or null',
        )
    )


def _cron(workflow: WorkflowSpec, text: str) -> CronDataIntervalTimetable:
    """The timetable of runs that cover the time since the tick before."""
    timetable = CronDataIntervalTimetable(text, timezone="UTC")
    try:
        timetable.validate()
    except (AirflowException, ValueError) as error:
        raise CompileError(_no_schedule(workflow, error)) from error
    return timetable


def _no_schedule(workflow: WorkflowSpec, error: Exception) -> Problem:
    message, _, hint = f"{workflow.dag['schedule']!r} is no schedule: {error}".partition("\n")
    return workflow.problem(("dag", "schedule"), message, hint or None)
