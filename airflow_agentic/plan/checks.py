"""What must hold for the parts of a plan to fit together; each failure is a problem with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_agentic.exceptions import ConditionError
from airflow_agentic.plan.ir import Gate, Infer, Plan, Route
from airflow_agentic.routing.conditions import Condition
from airflow_agentic.routing.decision import Pick, Rules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_agentic.plan.candidates import Resolver
    from airflow_agentic.plan.patterns import Fragment
    from airflow_agentic.spec.model import ModelCard
    from airflow_agentic.spec.source import KeyPath
    from airflow_agentic.spec.workflow import ColumnType, Method

VOTES = frozenset({"majority-vote", "weighted-vote"})
AVERAGES = frozenset({"mean", "weighted-mean", "median"})
COMPARABLE = frozenset({"probability", "calibrated_probability"})
FEEDS = {"prediction.label": "text", "prediction.value": "tensor", "prediction.output": "json"}


def check_condition(resolver: Resolver, expression: str, path: KeyPath, columns: Mapping[str, ColumnType]) -> None:
    """Notes a problem where ``expression`` does not compile."""
    try:
        Condition.compile(expression, columns)
    except ConditionError as error:
        resolver.refuse(path, f"{expression!r}: {error}")


def check_same_space(resolver: Resolver, cards: Sequence[ModelCard], path: KeyPath, what: str) -> None:
    """All models answer from one label space (or all answer without labels)."""
    spaces = {card.output.label_space: card.name for card in cards}
    if len(spaces) > 1:
        (space, first), (other, second) = list(spaces.items())[:2]
        resolver.refuse(
            path,
            f"{what} mixes label spaces: {first!r} answers {space or 'without labels'}, {second!r} {other or 'without labels'}",
            "give both cards the same output.classes, with label_map where their labels differ",
        )


def check_ensemble(resolver: Resolver, fragments: Sequence[Fragment], method: Method, path: KeyPath) -> None:
    """The members' answers can be combined by ``method``."""
    cards = [card for fragment in fragments for card in fragment.cards]
    if method not in {"merge", "handler", "stack"}:
        check_same_space(resolver, cards, path, f"aggregate {method}")
    labelled = any(card.output.label_space is not None for card in cards)
    if method in VOTES and not labelled and cards:
        resolver.refuse(path, f"aggregate {method} needs labels; these models answer without", "use mean or median")
    kinds = {card.output.score_kind: card.name for card in cards}
    if (method in AVERAGES or method == "best-score") and labelled and len(kinds) > 1 and not set(kinds) <= COMPARABLE:
        (kind, first), (other, second) = list(kinds.items())[:2]
        resolver.refuse(
            path,
            f"aggregate {method} compares scores of different kinds: {first!r} gives {kind}, {second!r} gives {other}",
            "use majority-vote, or calibrate the models",
        )
    if method == "median" and labelled:
        resolver.refuse(path, "aggregate median is for numbers; these models answer with labels", "use mean")


def check_feed(
    resolver: Resolver,
    before: Sequence[ModelCard],
    after: Sequence[ModelCard],
    fields: str | dict[str, str],
    path: KeyPath,
) -> None:
    """The step before gives what the next one takes."""
    paths = [fields] if isinstance(fields, str) else list(fields.values())
    for source in paths:
        _check_source(resolver, before, source, path)
    given = "tabular or json" if isinstance(fields, dict) else _given(before, fields)
    for card in after:
        if given is not None and card.input not in given:
            resolver.refuse(
                path,
                f"{card.name!r} takes {card.input}, but {fields!r} gives {given}",
                "map another field, or put a model between them",
            )


def _check_source(resolver: Resolver, before: Sequence[ModelCard], source: str, path: KeyPath) -> None:
    head, _, field = source.partition("output.")
    if source == "record.input":
        return
    if source not in FEEDS and not (head == "prediction." and field):
        resolver.refuse(
            path,
            f"{source!r} is nothing a step can take",
            f"one of: record.input, {', '.join(FEEDS)}, prediction.output.FIELD",
        )
        return
    for card in before:
        output = card.output
        missing = {
            "prediction.label": output.label_space is None,
            "prediction.value": output.value is None,
            "prediction.output": output.embedding is None and output.fields is None,
        }.get(source, field not in (output.fields or {}))
        if missing:
            resolver.refuse(path, f"{card.name!r} answers without {source}", f"its card says output: {_kind(card)}")


def _kind(card: ModelCard) -> str:
    return next(name for name in ("classes", "embedding", "value", "fields") if getattr(card.output, name) is not None)


def _given(before: Sequence[ModelCard], source: str) -> str | None:
    if source.startswith("prediction.output."):
        kinds = {(card.output.fields or {}).get(source.rpartition(".")[2]) for card in before}
        return "text" if kinds == {"string"} else "json" if kinds <= {"object", "array"} else None
    if source == "prediction.output" and all(card.output.embedding for card in before):
        return "tensor"
    return FEEDS.get(source)


def finish(plan: Plan) -> Plan:
    """The plan with what only the whole graph shows: each node's share of the deadline and where it can run."""
    depth: dict[str, int] = {}
    for node in reversed(plan.nodes):
        below = [depth[other.id] for other in plan.nodes if node.id in other.needs]
        depth[node.id] = max(below, default=0) + isinstance(node, Infer)
    nodes = []
    for node in plan.nodes:
        update: dict[str, Any] = {}
        if isinstance(node, Infer):
            update["share"] = round(1.0 / depth[node.id], 6)
        if isinstance(node, Route | Gate) and _least_loaded(node):
            update["runs_in"] = "online"
        nodes.append(node.model_copy(update=update) if update else node)
    return plan.model_copy(update={"nodes": tuple(nodes)})


def _least_loaded(value: Any) -> bool:
    if isinstance(value, Pick) and value.policy == "least-loaded":
        return True
    children: list[Any] = []
    if isinstance(value, Route):
        children = [value.decide]
    elif isinstance(value, Gate):
        children = [value.accepted, value.rejected]
    elif isinstance(value, Rules):
        children = [case.then for case in value.cases] + [value.default]
    else:
        for name in ("candidates", "arms", "children"):
            children += list(getattr(value, name, ()))
        children += [value.then] if hasattr(value, "then") else []
    return any(_least_loaded(child) for child in children)
