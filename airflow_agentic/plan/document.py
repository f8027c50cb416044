"""A plan as the JSON object that users see, whoever asks: the gateway, Airflow's API server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_agentic.plan.draw import mermaid, terminal
from airflow_agentic.plan.ir import Gate, Infer

if TYPE_CHECKING:
    from airflow_agentic.plan.ir import AnyNode, Plan


def plan_document(plan: Plan) -> dict[str, Any]:
    """The graph and drawings of it; of the models their names, nothing of where they lie."""
    return {
        "workflow": plan.workflow,
        "digest": plan.digest,
        "deadline": plan.options.deadline,
        "nodes": [{**_node(node), "digest": plan.node_digest(node)} for node in plan.nodes],
        "models": sorted(plan.models),
        "drawing": terminal(plan),
        "mermaid": mermaid(plan),
    }


def _node(node: AnyNode) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": node.id, "kind": node.kind, "needs": list(node.needs)}
    if node.group is not None:
        shown["route"] = node.group
    if isinstance(node, Infer):
        shown["model"] = node.model
    if isinstance(node, Gate):
        shown["accept"] = node.accept
    return shown
