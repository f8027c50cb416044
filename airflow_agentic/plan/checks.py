"""What must hold for the parts of a plan to fit together; each failure is a problem with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_agentic.exceptions import ConditionError
from airflow_agentic.plan.ir import AnyNode, Gate, Infer, Plan, Route
from airflow_agentic.routing.conditions import Condition
from airflow_agentic.routing.decision import least_loaded
from airflow_agentic.spec.explain import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_agentic.plan.candidates import Resolver
    from airflow_agentic.plan.patterns import Fragment
    from airflow_agentic.spec.model import ModelCard
    from airflow_agentic.spec.pattern import Aggregation, Method
    from airflow_agentic.spec.source import KeyPath
    from airflow_agentic.spec.workflow import ColumnType

VOTES = frozenset({"majority-vote", "weighted-vote"})
AVERAGES = frozenset({"mean", "weighted-mean", "median"})
COMPARABLE = frozenset({"probability", "calibrated_probability"})
FREE = frozenset({"merge", "handler", "stack"})
"""Methods that take answers of any kind."""
FEEDS = {"prediction.label": "text", "prediction.value": "tensor", "prediction.output": "tabular or json"}
_FIELDS = {
    "string": "text", "object": "tabular or json",
    "number": "tensor", "integer": "tensor", "boolean": "tensor", "array": "tensor",
}  # fmt: skip
SHOWN_LABELS = 60


def check_condition(resolver: Resolver, expression: str, path: KeyPath, columns: Mapping[str, ColumnType]) -> None:
    """Notes a problem where ``expression`` does not compile."""
    try:
        Condition.compile(expression, columns)
    except ConditionError as error:
        resolver.refuse(path, f"{expression!r}: {error}")


def check_weights(resolver: Resolver, weights: Mapping[str, float], names: Sequence[str], path: KeyPath) -> None:
    """Every weight belongs to a candidate or member."""
    for name in sorted(weights.keys() - set(names)):
        near = nearest(name, names)
        hint = f"did you mean {near!r}?" if near else f"one of: {', '.join(names)}"
        resolver.refuse(path, f"{name!r} has a weight, but is no member here", hint)


def check_same_space(resolver: Resolver, cards: Sequence[ModelCard], path: KeyPath, what: str) -> None:
    """All models answer from one label space (or all answer without labels)."""
    spaces: dict[str | None, str] = {}
    for card in cards:
        spaces.setdefault(card.output.label_space, card.name)
    if len(spaces) > 1:
        said = [f"{name!r} answers {_space(space)}" for space, name in spaces.items()]
        hint = "give both cards the same output.classes, with label_map where their labels differ"
        resolver.refuse(path, f"{what} mixes label spaces: {said[0]}, {said[1]}", hint)


def _space(space: str | None) -> str:
    if space is None:
        return "without labels"
    return space if len(space) <= SHOWN_LABELS else f"{space[:SHOWN_LABELS]}…"


def check_ensemble(
    resolver: Resolver, fragments: Sequence[Fragment], aggregation: Aggregation, pattern: KeyPath
) -> None:
    """The members' answers can be combined as ``aggregation`` says."""
    path = (*pattern, "aggregate")
    names = [fragment.name for fragment in fragments]
    check_weights(resolver, aggregation.weights, names, path)
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        resolver.refuse(pattern, f"{name!r} is a member twice", "remove one; a weight makes a member count more")
    cards = [card for fragment in fragments for card in fragment.cards]
    if not cards or aggregation.method in FREE:
        return
    check_same_space(resolver, cards, path, f"aggregate {aggregation.method}")
    if any(card.output.label_space is not None for card in cards):
        _check_labels(resolver, cards, aggregation.method, path)
    else:
        _check_numbers(resolver, cards, aggregation.method, path)


def _check_labels(resolver: Resolver, cards: Sequence[ModelCard], method: Method, path: KeyPath) -> None:
    if method == "median":
        resolver.refuse(path, "aggregate median is for numbers; these models answer with labels", "use mean")
    kinds: dict[str, str] = {}
    for card in cards:
        kinds.setdefault(card.output.score_kind, card.name)
    if method not in VOTES and len(kinds) > 1 and not set(kinds) <= COMPARABLE:
        said = [f"{name!r} gives {kind}" for kind, name in kinds.items()]
        message = f"aggregate {method} compares scores of different kinds: {said[0]}, {said[1]}"
        resolver.refuse(path, message, "use majority-vote, or calibrate the models")


def _check_numbers(resolver: Resolver, cards: Sequence[ModelCard], method: Method, path: KeyPath) -> None:
    other = next((card for card in cards if card.output.value is None), None)
    way_out = "use mean or median" if other is None else "use merge"
    if method not in AVERAGES:
        resolver.refuse(path, f"aggregate {method} needs labels; these models answer without", way_out)
    elif other is not None:
        resolver.refuse(
            path, f"aggregate {method} needs labels or numbers; {other.name!r} answers {_kind(other)}", way_out
        )


def check_stack(resolver: Resolver, fragments: Sequence[Fragment], meta: Sequence[ModelCard], pattern: KeyPath) -> None:
    """The meta-model takes what the members give: a struct of ``MODEL.LABEL``."""
    path = (*pattern, "aggregate")
    given = {column for fragment in fragments for column in _columns(fragment)}
    for card in meta:
        if card.input not in {"tabular", "json"}:
            resolver.refuse(path, f"{card.name!r} takes {card.input}, but a stack gives tabular or json")
        columns = card.runtime.tabular.columns if card.runtime.tabular else []
        unknown = [column for column in columns if not {column, f"{column.rpartition('.')[0]}.*"} & given]
        if unknown:
            hint = f"the members give: {', '.join(sorted(given))}"
            resolver.refuse(path, f"{card.name!r} has the column {unknown[0]!r}, which no member gives", hint)


def _columns(fragment: Fragment) -> set[str]:
    """What a member gives a meta-model; ``MODEL.*`` where its labels are not known here."""
    labels: set[str] = set()
    for card in fragment.cards:
        classes = card.output.classes
        if isinstance(classes, list):
            labels |= {card.output.label_map.get(label, label) for label in classes}
        else:
            labels.add("*" if classes else "value")
    return {f"{fragment.name}.{label}" for label in labels or {"*"}}


def check_feed(
    resolver: Resolver,
    before: Sequence[ModelCard],
    after: Sequence[ModelCard],
    fields: str | dict[str, str],
    path: KeyPath,
) -> None:
    """The step before gives what the models that are fed take."""
    sources = [fields] if isinstance(fields, str) else list(fields.values())
    if not sources:
        resolver.refuse(path, "is empty", "name at least one field")
        return
    for source in sources:
        _check_source(resolver, before, source, path)
    given = "tabular or json" if isinstance(fields, dict) else _given(before, fields)
    for card in after:
        if given is not None and card.input not in given.split(" or "):
            what = fields if isinstance(fields, str) else "a mapping"
            hint = "map another field, or put a model between them"
            resolver.refuse(path, f"{card.name!r} takes {card.input}, but {what} gives {given}", hint)


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
    """What kind of input ``source`` is; ``None`` where the models differ or do not have it."""
    field = source.removeprefix("prediction.output.")
    if field != source:
        kinds = {_FIELDS.get((card.output.fields or {}).get(field, "")) for card in before}
    elif source == "prediction.output":
        kinds = {"tensor" if card.output.embedding else FEEDS[source] for card in before}
    else:
        kinds = {FEEDS.get(source)}
    return kinds.pop() if len(kinds) == 1 else None


def check_services(resolver: Resolver, nodes: Sequence[AnyNode]) -> None:
    """What is asked of models at a service is what their server gives."""
    runner = resolver.workflow.runner
    averaged = {node.model for node in nodes if isinstance(node, Infer) and node.all_scores}
    for name, card in resolver.used.items():
        if runner.of(name) != "service":
            continue
        path: KeyPath = ("runner", "models", name) if name in runner.models else ("runner",)
        if card.runtime.framework == "open-inference":
            hint = f"write runner: {{default: {runner.default}, models: {{{name}: local}}}}"
            resolver.refuse(path, f"{name!r} is at a foreign server, which a worker asks: runner local", hint)
        elif name in averaged and not _gives_all_scores(card):
            given = f"the service of {name!r} gives the best {card.output.top_k}"
            message = f"the scores of all classes are averaged, but {given}"
            resolver.refuse(path, message, "write output: {top_k: N} in its card, as many as it has classes")


def _gives_all_scores(card: ModelCard) -> bool:
    """Whether the card alone keeps every class; of a label space that is only named its author is believed."""
    classes = card.output.classes
    if isinstance(classes, list):
        return card.output.top_k >= len(classes)
    return classes is None or "top_k" in card.output.model_fields_set


def finish(plan: Plan) -> Plan:
    """The plan with what only the whole graph shows: each node's share of the deadline and where it can run."""
    depth: dict[str, int] = {}
    for node in reversed(plan.nodes):
        depth[node.id] = depth.get(node.id, 0) + isinstance(node, Infer)
        for need in node.needs:
            depth[need] = max(depth.get(need, 0), depth[node.id])
    nodes = []
    for node in plan.nodes:
        update: dict[str, Any] = {}
        if isinstance(node, Infer):
            update["share"] = round(1.0 / depth[node.id], 6)
        if isinstance(node, Route | Gate) and any(map(least_loaded, node.decisions)):
            update["runs_in"] = "online"
        nodes.append(node.model_copy(update=update) if update else node)
    return plan.model_copy(update={"nodes": tuple(nodes)})
