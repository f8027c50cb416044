"""Airflow tasks that get a pod of their own from KubernetesExecutor, and what is said of that pod.

Only where that executor runs a task, its models' cards ask for something, and the process is not the task's own, is
:mod:`~airflow_agentic.dagbuilder.task_pods` imported, and with it Kubernetes' client, which takes seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import get_parsing_context

from airflow_agentic.compat import conf

if TYPE_CHECKING:
    from types import ModuleType

    from airflow_agentic.plan.ir import Infer, Plan
    from airflow_agentic.spec.workflow import WorkflowSpec

KUBERNETES: Final = "KubernetesExecutor"

log = logging.getLogger(__name__)


def with_objects(spec: WorkflowSpec, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of every Airflow task; the pod in their ``executor_config`` may be written in Kubernetes' notation.

    :raises CompileError: Kubernetes does not read it.
    """
    config = defaults.get("executor_config")
    pods = _task_pods(defaults) if config else None
    return dict(defaults) if pods is None else {**defaults, "executor_config": pods.in_objects(spec, config)}


def own_pod(spec: WorkflowSpec, plan: Plan, nodes: Sequence[Infer], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of an Airflow task that runs the models of ``nodes`` itself: what they need of its pod, if it gets one.

    :param defaults: arguments of every Airflow task, from :func:`with_objects`.
    :raises CompileError: the models cannot run in one pod, or a card says what Kubernetes does not read.
    """
    asked = any(plan.cards[node.model].get(key) for node in nodes for key in ("resources", "kubernetes"))
    pods = _task_pods(defaults) if asked else None
    if pods is None:
        return {}
    return {"executor_config": pods.executor_config(spec, plan, nodes, defaults.get("executor_config") or {})}


def _task_pods(defaults: Mapping[str, Any]) -> ModuleType | None:
    """The module that makes pods, where they are needed and can be made."""
    in_a_task = get_parsing_context().task_id is not None
    if in_a_task or not gets_a_pod(defaults.get("executor")):
        return None
    try:
        from airflow_agentic.dagbuilder import task_pods
    except ModuleNotFoundError as error:
        log.warning("the cards' resources do not reach %s: %s; install airflow-agentic[kubernetes]", KUBERNETES, error)
        return None
    return task_pods


def gets_a_pod(executor: str | None) -> bool:
    """Whether KubernetesExecutor runs an Airflow task.

    :param executor: the task's ``executor``: a name, an alias or a class; ``None`` is the first that is configured.
        Which team's first one that is, is not known here: any team's will do.
    """
    for team in _configured():
        if executor is None and _is_kubernetes(team[0][1]):
            return True
        if any(executor in {alias, path, path.rpartition(".")[2]} and _is_kubernetes(path) for alias, path in team):
            return True
    return False


def _is_kubernetes(path: str) -> bool:
    """By its class, of which a deployment may have its own: ``company.executors.OurKubernetesExecutor``."""
    return path.rpartition(".")[2].endswith(KUBERNETES)


def _configured() -> Iterator[list[tuple[str, str]]]:
    """Alias and class of each team's executors: ``LocalExecutor,pods:KubernetesExecutor;team=CeleryExecutor``."""
    for team in str(conf.get("core", "executor", fallback="")).split(";"):
        names = [name.strip() for name in team.rpartition("=")[2].split(",")]
        yield [(alias, path) for alias, _, path in (name.rpartition(":") for name in names)]
