"""A plan as a picture: for the terminal, Mermaid and Graphviz."""

from __future__ import annotations

from airflow_agentic.pipeline.combination import (
    Chained,
    Coalesce,
    Combination,
    Ensemble,
    FirstAccepted,
    Leaf,
    Primary,
    leaves,
)
from airflow_agentic.plan.ir import Gate, Infer, Plan, Route
from airflow_agentic.routing.decision import Rules, targets


def terminal(plan: Plan) -> str:
    """One line a route, between a common head and tail::

    preprocess ─ route ─┬─ photos ─ lite0 ─ gate (prediction.score >= 0.7) ─ lite2 ─┬─ aggregate ─ publish
                        └─ texts ─ vader, minilm, words (majority-vote, 2 of 3) ────┘
    """
    lines = _routes(plan)
    head, tail = "preprocess ─ route ─", "─ aggregate ─ publish"
    if len(lines) == 1:
        return f"{head} {lines[0]} {tail}"
    width = max(len(line) for line in lines)
    drawn = []
    for number, line in enumerate(lines):
        first, last = number == 0, number == len(lines) - 1
        left = "┬" if first else "└" if last else "├"
        right = "┬" if first else "┘" if last else "┤"
        padded = f"{line} {'─' * (width - len(line))}"
        drawn.append(f"{head if first else ' ' * len(head)}{left}─ {padded}─{right}{tail if first else ''}")
    return "\n".join(drawn)


def _routes(plan: Plan) -> list[str]:
    aggregate = plan.nodes[-2]
    combine: Combination = aggregate.combine  # type: ignore[union-attr]  # the last but one node is Aggregate
    fallback = ""
    if isinstance(combine, FirstAccepted) and combine.gates[-1] == "fallback-gate":
        fallback = f" ─ else {_show(combine.stages[1], plan)}"
        combine = combine.stages[0]
    several = isinstance(combine, Coalesce | Ensemble) and len(_decided(plan)) > 1
    members = combine.members if several else (combine,)  # type: ignore[union-attr]  # `several` says which it is
    lines = []
    for member in members:
        first = leaves(member)[0].node
        group = next((node.group for node in plan.nodes if isinstance(node, Infer) and node.id == first), "")
        lines.append(f"{group} ─ {_show(member, plan)}{fallback}")
    return lines


def _decided(plan: Plan) -> list[str]:
    """The parts of the first decision that lead to models."""
    decide = plan.of(Route)[0].decide
    if not isinstance(decide, Rules):
        return ["all"]
    return [case.name for case in decide.cases] + (["default"] if targets(decide.default) else [])


def _show(combination: Combination, plan: Plan) -> str:
    if isinstance(combination, Leaf):
        return combination.model
    if isinstance(combination, Coalesce):
        return f"one of ({', '.join(_show(member, plan) for member in combination.members)})"
    if isinstance(combination, FirstAccepted):
        shown = _show(combination.stages[0], plan)
        for gate_id, stage in zip(combination.gates, combination.stages[1:], strict=True):
            gate = plan.node(gate_id)
            shown += f" ─ gate ({_verdict(gate)}) ─ {_show(stage, plan)}"
        return shown
    if isinstance(combination, Chained):
        last = _show(combination.last, plan)
        if isinstance(combination.earlier, Ensemble) and _is_stack(combination.last, plan):
            return f"{_show(combination.earlier.model_copy(update={'method': 'stack'}), plan)} ─ {last}"
        return f"{_show(combination.earlier, plan)} ─ then ─ {last}"
    if isinstance(combination, Primary):
        shadows = ", ".join(_show(shadow, plan) for shadow in combination.shadows)
        return f"{_show(combination.primary, plan)} (shadow: {shadows})"
    members = ", ".join(_show(member, plan) for member in combination.members)
    return f"{members} ({combination.method}, {combination.quorum} of {len(combination.members)})"


def _is_stack(combination: Combination, plan: Plan) -> bool:
    """Whether it is a meta-model, fed with the scores of an ensemble's members."""
    node = plan.node(leaves(combination)[0].node)
    return isinstance(node, Infer) and node.feed is not None and node.feed.fields == "members"


def mermaid(plan: Plan) -> str:
    """A Mermaid flowchart."""
    names = {node.id: f"n{number}" for number, node in enumerate(plan.nodes)}
    lines = ["flowchart LR"]
    lines += [f'  {names[node.id]}{_shape(node.kind)[0]}"{_label(node)}"{_shape(node.kind)[1]}' for node in plan.nodes]
    lines += [f"  {names[need]} --> {names[node]}" for node, need in _edges(plan)]
    return "\n".join(lines) + "\n"


def _shape(kind: str) -> tuple[str, str]:
    return ("{", "}") if kind in {"route", "gate"} else ("(", ")") if kind == "infer" else ("[", "]")


def dot(plan: Plan) -> str:
    """A Graphviz digraph."""
    lines = ["digraph plan {", "  rankdir=LR;", "  node [shape=box];"]
    lines += [f'  "{node.id}" [label="{_escaped(_label(node))}"];' for node in plan.nodes]
    lines += [f'  "{need}" -> "{node}";' for node, need in _edges(plan)]
    return "\n".join([*lines, "}"]) + "\n"


def _escaped(label: str) -> str:
    """A backslash begins an escape sequence in a label of Graphviz."""
    return label.replace("\\", "\\\\")


def _label(node: object) -> str:
    if isinstance(node, Infer):
        return node.model
    if isinstance(node, Gate):
        return f"gate: {_verdict(node)}".replace('"', "'")
    return str(getattr(node, "id", ""))


def _verdict(node: object) -> str:
    """What a gate lets pass, on one line."""
    accept = node.accept if isinstance(node, Gate) else None
    return "no error" if accept is None else " ".join(accept.split())


def _edges(plan: Plan) -> list[tuple[str, str]]:
    return [(node, need) for node, needs in plan.edges().items() for need in needs]
