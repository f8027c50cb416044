"""What the models of an Airflow task need → ``pod_override`` of the pod that KubernetesExecutor makes for it.

The container is Airflow's own, ``base``, with Airflow's image; of a card only what its models need and where they may
run enters: ``resources``, and of ``kubernetes`` the arguments in :data:`PLACEMENT` and ``container_resources``.

The models of a compact workflow are all loaded side by side and stay loaded until the run ends, each once for every
number of scores it keeps (``coordinator.pool``). So what they request is added up, and a limit holds only where each of
them states one. Devices (``nvidia.com/gpu``) are not divided among processes: the largest number counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
from kubernetes.client import models as k8s
from kubernetes.utils.quantity import parse_quantity

from airflow_agentic.exceptions import CompileError
from airflow_agentic.execution import card_of, node_card
from airflow_agentic.operators.pod import PodArgumentError, parsed, resources
from airflow_agentic.plan.ir import Infer

if TYPE_CHECKING:
    from airflow_agentic.plan.ir import Plan
    from airflow_agentic.spec.model import ModelCard
    from airflow_agentic.spec.workflow import WorkflowSpec

AIRFLOW_MEMORY: Final = 512 * 2**20
"""Bytes for Airflow's own processes in the container, beside the models: with a small shard they take 200 MB."""
BASE: Final = "base"
PLACEMENT: Final[Mapping[str, str]] = {
    "affinity": "affinity",
    "node_selector": "node_selector",
    "priority_class_name": "priority_class_name",
    "runtime_class_name": "runtime_class_name",
    "schedulername": "scheduler_name",
    "tolerations": "tolerations",
}
"""Arguments of a model's pod that hold for any pod its model runs in, and the pod's field."""


def executor_config(spec: WorkflowSpec, plan: Plan, nodes: Iterable[Infer], given: Mapping[str, Any]) -> dict[str, Any]:
    """The ``executor_config`` of an Airflow task that runs the models of ``nodes`` itself.

    :param given: the workflow's own, as :func:`in_objects` gives it; its pod is laid over the models'.
    :raises CompileError: the models cannot run in one pod, or a card says what Kubernetes does not read.
    """
    cards = {(node.model, node_card(plan, node).output.top_k): card_of(plan, node.model) for node in nodes}
    pod = _pod(spec, list(cards.values()))
    if pod is None:
        return dict(given)
    return {**given, "pod_override": PodGenerator.reconcile_pods(pod, given.get("pod_override"))}


def in_objects(spec: WorkflowSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """``given``, an ``executor_config``; its ``pod_override`` may be written in Kubernetes' notation.

    :raises CompileError: Kubernetes does not read it.
    """
    try:
        return {**given, "pod_override": parsed("pod_override", given.get("pod_override"))}
    except PodArgumentError as error:
        raise error.refusal(spec, "task", "executor_config", "pod_override") from error


def _pod(spec: WorkflowSpec, cards: Sequence[ModelCard]) -> k8s.V1Pod | None:
    """What the models of ``cards`` need together; ``None`` if they say nothing."""
    arguments = [_arguments(card) for card in cards]
    needs = _together([one.pop("container_resources") for one in arguments])
    placement = _placement(spec, cards, arguments)
    if needs is None and not placement:
        return None
    return k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(),
        spec=k8s.V1PodSpec(containers=[k8s.V1Container(name=BASE, resources=needs)], **placement),
    )


def _arguments(card: ModelCard) -> dict[str, Any]:
    """Of the card's pod, those that matter here."""
    found: dict[str, Any] = {"container_resources": resources(card)}
    for name in ("container_resources", *PLACEMENT):
        if name in card.kubernetes:
            try:
                found[name] = parsed(name, card.kubernetes[name])
            except PodArgumentError as error:
                raise error.refusal(card, "kubernetes", name) from error
    return found


def _together(needs: Sequence[k8s.V1ResourceRequirements]) -> k8s.V1ResourceRequirements | None:
    limits = [one.limits or {} for one in needs]
    requests = [{**limit, **(one.requests or {})} for limit, one in zip(limits, needs, strict=True)]
    requested = _added(requests, any)
    if not requested:
        return None
    limited = _added(limits, all)
    return k8s.V1ResourceRequirements(requests=requested, limits=limited or None)


def _added(stated: Sequence[Mapping[str, str]], by: Callable[[Iterable[bool]], bool]) -> dict[str, str]:
    """The sum, by resource; the largest of a device."""
    found: dict[str, str] = {}
    for name in sorted({name for one in stated for name in one}):
        if not by(name in one for one in stated) and "/" not in name:
            continue
        amounts = [parse_quantity(one[name]) for one in stated if name in one]
        total = max(amounts) if "/" in name else sum(amounts, Decimal(AIRFLOW_MEMORY if name == "memory" else 0))
        found[name] = _quantity(total)
    return found


def _quantity(amount: Decimal) -> str:
    """Whole units, or thousandths of one."""
    return str(int(amount)) if amount == int(amount) else f"{math.ceil(amount * 1000)}m"


def _placement(
    spec: WorkflowSpec, cards: Sequence[ModelCard], arguments: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Fields of the pod: every toleration, every label a node must have, and of the others the one value.

    :raises CompileError: two models ask for different ones.
    """
    made: dict[str, Any] = {}
    for card, given in zip(cards, arguments, strict=True):
        for name, value in given.items():
            known = made.setdefault(PLACEMENT[name], value)
            if name == "tolerations":
                made[PLACEMENT[name]] = [*known, *(one for one in value if one not in known)]
            elif name == "node_selector" and {**known, **value} == {**value, **known}:
                made[PLACEMENT[name]] = {**known, **value}
            elif known != value:
                message = (
                    f"'compact' runs all models in one pod, and {card.name!r} needs another {name} than the others"
                )
                hint = "write layout: expanded, or make their cards agree"
                raise CompileError(spec.problem(("layout",), message, hint))
    return made
