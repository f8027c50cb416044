"""A model's pod as the workflow and the card describe it → its operator and the arguments of that, checked."""

from __future__ import annotations

import inspect
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from airflow_agentic.exceptions import CompileError, Problem
from airflow_agentic.execution import card_of
from airflow_agentic.operators.kubernetes import KubernetesInferenceOperator
from airflow_agentic.operators.pod import PodArgumentError, pod_arguments
from airflow_agentic.operators.warm import WarmInferenceOperator
from airflow_agentic.spec.explain import nearest

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator

    from airflow_agentic.plan.ir import Plan
    from airflow_agentic.spec.base import Spec
    from airflow_agentic.spec.workflow import WorkflowSpec

_WARM: Final = ("artifacts", "namespace", "kubernetes_conn_id", "in_cluster", "cluster_context", "config_file")
"""What is said of a pod that is there already."""
_OURS: Final = frozenset({"self", "kwargs", "node", "topology", "unit", "card"})
"""Set by the Dag itself."""


def operator(workflow: WorkflowSpec, plan: Plan, model: str) -> tuple[type[BaseOperator], dict[str, Any]]:
    """The operator of ``model``, and what it is given.

    :raises CompileError: an argument is unknown or cannot be read, or there is no image.
    """
    card = card_of(plan, model)
    for spec, given in ((card, card.kubernetes), (workflow, workflow.kubernetes)):
        _check(spec, given)
    try:
        found = pod_arguments(card, workflow.kubernetes)
    except PodArgumentError as error:
        owner: Spec = workflow if error.argument in workflow.kubernetes else card
        raise error.refusal(owner, "kubernetes", error.argument) from error
    if found.pop("warm", False):
        return WarmInferenceOperator, {name: found[name] for name in _WARM if name in found}
    if not found.get("image"):
        hint = "write image: NAME in its card, or kubernetes: {image: NAME} in the workflow"
        raise CompileError(workflow.problem(("runner",), f"{model!r} has no container image", hint))
    return KubernetesInferenceOperator, found


def _check(spec: Spec, given: dict[str, Any]) -> None:
    problems: list[Problem] = []
    for name in given:
        if name in _known():
            continue
        near = nearest(name, _known())
        message = f"{name!r} is no argument of KubernetesInferenceOperator"
        problems.append(spec.problem(("kubernetes", name), message, f"did you mean {near!r}?" if near else None))
    if problems:
        raise CompileError(problems)


@cache
def _known() -> frozenset[str]:
    """Every argument of the operator and of those that it is made of."""
    found = {"warm"}
    for owner in KubernetesInferenceOperator.__mro__:
        made = vars(owner).get("__init__")
        if made is not None and owner is not object:
            found |= set(inspect.signature(made).parameters)
    return frozenset(found) - _OURS
