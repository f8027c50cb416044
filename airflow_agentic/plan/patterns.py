"""One pattern → its infer nodes and gates, a decision that enters it, and a combination that reads it.

Each pattern becomes a :class:`Fragment`; patterns nest because fragments do. Infer nodes and gates are appended to the
plan's nodes in the order in which they can run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_agentic.exceptions import CompileError
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
from airflow_agentic.plan.checks import (
    check_condition,
    check_ensemble,
    check_feed,
    check_same_space,
    check_stack,
    check_weights,
)
from airflow_agentic.plan.columns import gate_columns
from airflow_agentic.plan.ir import AnyNode, Feed, Gate, Infer
from airflow_agentic.routing.decision import All, Candidate, Case, Decision, Pick, Reject, Rules, Sample, Share, To
from airflow_agentic.routing.decision import Split as SplitDecision
from airflow_agentic.spec.pattern import Aggregation, Method, Pattern
from airflow_agentic.spec.source import KeyPath, render_path
from airflow_agentic.spec.workflow import ColumnType

if TYPE_CHECKING:
    from airflow_agentic.plan.candidates import Resolver
    from airflow_agentic.spec.model import ModelCard

MAX_NODES = 1000
"""Of models and gates: what Airflow can show, and what compiles in seconds."""


@dataclass(frozen=True, kw_only=True)
class Fragment:
    """A compiled pattern."""

    name: str
    """What messages call it: a model, or ``cascade(a, b)``."""
    decision: Decision
    combine: Combination
    cards: tuple[ModelCard, ...]
    """The models whose answer it can give (not shadows, not earlier steps of a chain)."""
    single: str | None = None
    """The model, where it is one."""

    @property
    def entry(self) -> Decision:
        """The decision that enters it: a lone model too must satisfy what the record asks, and be healthy."""
        if self.single is None or not isinstance(self.decision, To):
            return self.decision
        return Pick(candidates=(Candidate(name=self.single, model=self.single, then=self.decision),))


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where in the plan a pattern is compiled."""

    route: str
    path: KeyPath
    controls: tuple[str, ...]
    feed: Feed | None = None
    all_scores: bool = False
    deadline: float | None = None

    def at(self, *keys: str | int) -> _Place:
        return replace(self, path=(*self.path, *keys))


class PatternCompiler:
    """Compiles the patterns of one workflow.

    :param names: names that a route without one cannot have.
    """

    def __init__(
        self, resolver: Resolver, nodes: list[AnyNode], columns: dict[str, ColumnType], names: set[str]
    ) -> None:
        self.resolver = resolver
        self.nodes = nodes
        self.columns = columns
        self.taken: set[str] = set()
        self.names = names

    def route(
        self, pattern: Pattern, path: KeyPath, name: str | None, index: int, controls: tuple[str, ...] = ("route",)
    ) -> Fragment:
        """A route's pattern; its name is the given one, or the one task of its models."""
        own = route_id(self._task(pattern) or f"route-{index + 1}")
        route = route_id(name) if name else self._unused(own, self.names)
        fragment = self.compile(pattern, _Place(route=route, path=path, controls=controls))
        return replace(fragment, name=route)

    def compile(self, pattern: Pattern, place: _Place) -> Fragment:
        """``pattern`` at ``place``."""
        compile_kind = getattr(self, f"_{pattern.kind}")
        fragment: Fragment = compile_kind(pattern, place)
        return fragment

    def _model(self, pattern: Pattern, place: _Place) -> Fragment:
        fragment = self._infer(str(pattern.model), place)
        if pattern.require is None:
            return fragment
        return replace(fragment, decision=self._pick([fragment], pattern))

    def _infer(self, name: str, place: _Place) -> Fragment:
        if len(self.nodes) >= MAX_NODES:
            message = f"the workflow asks models more than {MAX_NODES:,} times, gates included"
            self.resolver.refuse(place.path, message, "make it several workflows")
            raise CompileError(self.resolver.problems)
        card = self.resolver.card(name, place.path)
        node_id = self._unused(f"{place.route}.{name}", self.taken)
        needs = ["preprocess", *place.controls]
        if place.feed is not None:
            needs += self._read(place.feed.source)
        self.nodes.append(
            Infer(
                id=node_id,
                group=place.route,
                needs=tuple(dict.fromkeys(needs)),
                model=name,
                controls=place.controls,
                feed=place.feed,
                all_scores=place.all_scores,
                deadline=place.deadline,
                deterministic=card is None or card.deterministic,
                on_error=self.resolver.workflow.on_error,
            )
        )
        return Fragment(
            name=name, decision=To(node=node_id), combine=Leaf(node=node_id, model=name),
            cards=(card,) if card else (), single=name,
        )  # fmt: skip

    def _single(self, pattern: Pattern, place: _Place) -> Fragment:
        fragments = self._members(pattern, place)
        policy = pattern.policy
        name = policy.name if policy else "quality" if all(fragment.single for fragment in fragments) else "declared"
        if policy and policy.name == "weighted":
            check_weights(self.resolver, policy.weights, _names(fragments), (*place.path, "policy"))
        return Fragment(
            name=_called("single", fragments),
            decision=self._pick(fragments, pattern, policy=name),
            combine=_coalesce(fragments),
            cards=_cards(fragments),
        )

    def _fallback(self, pattern: Pattern, place: _Place) -> Fragment:
        return self._stages(pattern, place, "fallback")

    def _cascade(self, pattern: Pattern, place: _Place) -> Fragment:
        if pattern.accept is not None:
            check_condition(self.resolver, pattern.accept, (*place.path, "accept"), gate_columns(self.columns))
        fragment = self._stages(pattern, place, "cascade")
        check_same_space(self.resolver, fragment.cards, place.path, "a cascade")
        return fragment

    def _stages(self, pattern: Pattern, place: _Place, kind: str) -> Fragment:
        """Stages with a gate after each but the last; a gate's rejected rows go to the next stage they may use."""
        candidates = pattern.cascade or pattern.fallback
        members = self.resolver.members(candidates, (*place.path, kind), pattern.policy) if candidates else []
        fragments: list[Fragment] = []
        gates: list[tuple[int, Gate]] = []
        controls = place.controls
        for number, (member, path) in enumerate(members):
            fragment = self.compile(member, replace(place, path=path, controls=controls))
            fragments.append(fragment)
            if number == len(members) - 1:
                break
            gate = self._gate(fragment, place, controls, accept=pattern.accept)
            gates.append((len(self.nodes), gate))
            self.nodes.append(gate)
            controls = (*controls, gate.id)
        for number, (position, gate) in enumerate(gates):
            later = self._pick(fragments[number + 1 :], pattern, policy="declared")
            self.nodes[position] = gate.model_copy(update={"rejected": later})
        if not fragments:
            return _nothing(kind)
        combine: Combination = fragments[0].combine
        if len(fragments) > 1:
            stages = tuple(fragment.combine for fragment in fragments)
            combine = FirstAccepted(stages=stages, gates=tuple(gate.id for _, gate in gates))
        return Fragment(
            name=_called(kind, fragments),
            decision=self._pick(fragments, pattern, policy="declared"),
            combine=combine,
            cards=_cards(fragments),
        )

    def _gate(self, fragment: Fragment, place: _Place, controls: tuple[str, ...], accept: str | None) -> Gate:
        label = fragment.single or fragment.name.partition("(")[0]
        return Gate(
            id=self._unused(f"{place.route}.gate-{label}", self.taken),
            group=place.route,
            needs=tuple(dict.fromkeys(("preprocess", *controls, *self._read(fragment.combine)))),
            source=fragment.combine,
            accept=accept,
            rule=render_path(place.path),
            on_error=self.resolver.workflow.on_error,
        )

    def _read(self, combination: Combination) -> list[str]:
        """The nodes whose tables evaluating ``combination`` takes: models, and the controls that gave them rows."""
        models = {leaf.node for leaf in leaves(combination)}
        found = [node for node in self.nodes if isinstance(node, Infer) and node.id in models]
        return [name for node in found for name in (*node.controls, node.id)]

    def _ensemble(self, pattern: Pattern, place: _Place) -> Fragment:
        first = self.resolver.members(pattern.ensemble, (*place.path, "ensemble"), None) if pattern.ensemble else []
        aggregation = pattern.aggregate
        averaged = aggregation is not None and aggregation.method in {"mean", "weighted-mean", "median", "stack"}
        deadlines = [deadline for deadline in (place.deadline, pattern.deadline) if deadline is not None]
        inner = replace(place, all_scores=place.all_scores or averaged, deadline=min(deadlines, default=None))
        fragments = [self.compile(member, replace(inner, path=path)) for member, path in first]
        if not fragments:
            return _nothing("ensemble")
        aggregation = aggregation or Aggregation(method=_default_method(fragments))
        quorum = pattern.quorum or 1
        if quorum > len(fragments):
            self.resolver.refuse(
                (*place.path, "quorum"),
                f"quorum {quorum} of {len(fragments)} members cannot be met",
                f"write quorum: {len(fragments)} or less",
            )
        check_ensemble(self.resolver, fragments, aggregation, place.path)
        decision = All(children=tuple(self._pick([fragment], pattern) for fragment in fragments))
        combine = _ensemble(fragments, aggregation, quorum, pattern.deadline)
        name = _called("ensemble", fragments)
        if aggregation.method == "stack":
            return self._stack(fragments, combine, decision, aggregation, place, name)
        # a merged answer, and that of a handler, is no model's: what can be fed with it is known at run time
        cards = () if aggregation.method in {"merge", "handler"} else _cards(fragments)
        return Fragment(name=name, decision=decision, combine=combine, cards=cards)

    def _stack(
        self, fragments: list[Fragment], combine: Ensemble, decision: Decision, aggregation: Aggregation,
        place: _Place, name: str,
    ) -> Fragment:  # fmt: skip
        """The meta-model is one more infer node, fed with the members' class scores."""
        members = combine.model_copy(update={"method": "best-score"})
        whole = Fragment(name=name, decision=decision, combine=members, cards=_cards(fragments))
        gate = self._gate(whole, place, place.controls, accept=None)
        position = len(self.nodes)
        self.nodes.append(gate)
        feed = Feed(source=members, fields="members")
        meta = self._infer(str(aggregation.model), replace(place, controls=(gate.id,), feed=feed))
        check_stack(self.resolver, fragments, meta.cards, place.path)
        self.nodes[position] = gate.model_copy(update={"accepted": meta.entry})
        return Fragment(
            name=name, decision=decision, combine=Chained(last=meta.combine, earlier=members), cards=meta.cards
        )

    def _chain(self, pattern: Pattern, place: _Place) -> Fragment:
        steps = pattern.chain or []
        if steps[0].input != "record.input":
            self.resolver.refuse(
                (*place.path, "chain", 0, "input"),
                "the first step has no step before it",
                "remove input, or write record.input",
            )
        fragment = self.compile(steps[0].use, place.at("chain", 0, "use"))
        entry = fragment.entry
        names = [fragment.name]
        combine = fragment.combine
        controls = place.controls
        for number, step in enumerate(steps[1:], start=1):
            gate = self._gate(fragment, place, controls, accept=None)
            position = len(self.nodes)
            self.nodes.append(gate)
            feed = None if step.input == "record.input" else Feed(source=fragment.combine, fields=step.input)
            answering = fragment.cards
            controls = (gate.id,)
            path = (*place.path, "chain", number)
            fragment = self.compile(step.use, replace(place, path=(*path, "use"), controls=controls, feed=feed))
            if feed is not None:
                check_feed(self.resolver, answering, self._fed(feed), feed.fields, (*path, "input"))
            self.nodes[position] = gate.model_copy(update={"accepted": fragment.entry})
            combine = Chained(last=fragment.combine, earlier=combine)
            names.append(fragment.name)
        return Fragment(name=f"chain({', '.join(names)})", decision=entry, combine=combine, cards=fragment.cards)

    def _fed(self, feed: Feed) -> list[ModelCard]:
        models = [node.model for node in self.nodes if isinstance(node, Infer) and node.feed is feed]
        return [self.resolver.used[model] for model in models if model in self.resolver.used]

    def _split(self, pattern: Pattern, place: _Place) -> Fragment:
        split = pattern.split
        arms = split.arms if split else []
        key = split.key if split else ""
        if key not in self.columns:
            self.resolver.refuse(
                (*place.path, "split", "key"), f"{key!r} is no column of a record", f"one of: {', '.join(self.columns)}"
            )
        fragments = [self.compile(arm.use, place.at("split", "arms", index, "use")) for index, arm in enumerate(arms)]
        shares = tuple(
            Share(name=fragment.name, weight=arm.weight, then=fragment.entry)
            for arm, fragment in zip(arms, fragments, strict=True)
        )
        decision = SplitDecision(arms=shares, key=key, seed=self.resolver.workflow.seed)
        return Fragment(
            name=_called("split", fragments), decision=decision, combine=_coalesce(fragments), cards=_cards(fragments)
        )

    def _shadow(self, pattern: Pattern, place: _Place) -> Fragment:
        shadow = pattern.shadow
        if shadow is None:
            return _nothing("shadow")
        primary = self.compile(shadow.primary, place.at("shadow", "primary"))
        others = [
            self.compile(member, place.at("shadow", "shadows", index)) for index, member in enumerate(shadow.shadows)
        ]
        seed = self.resolver.workflow.seed
        sampled = [Sample(fraction=shadow.fraction, seed=seed, then=other.entry) for other in others]
        return replace(
            primary,
            decision=All(children=(primary.entry, *sampled)),
            combine=Primary(primary=primary.combine, shadows=tuple(other.combine for other in others)),
            single=None,
        )

    def _rules(self, pattern: Pattern, place: _Place) -> Fragment:
        cases, fragments = [], []
        for index, rule in enumerate(pattern.rules or []):
            path = (*place.path, "rules", index)
            if rule.when is not None:
                check_condition(self.resolver, rule.when, (*path, "when"), self.columns)
            fragment = self.compile(rule.use, place.at("rules", index, "use"))
            fragments.append(fragment)
            cases.append(Case(name=render_path(path), when=rule.when, then=fragment.entry))
        reject = Reject(outcome="no_route", reason=f"no rule of {render_path(place.path)} matches")
        return Fragment(
            name=_called("rules", fragments),
            decision=Rules(cases=tuple(cases), default=reject),
            combine=_coalesce(fragments),
            cards=_cards(fragments),
        )

    def _members(self, pattern: Pattern, place: _Place) -> list[Fragment]:
        candidates = pattern.single
        found = self.resolver.members(candidates, (*place.path, "single"), pattern.policy) if candidates else []
        return [self.compile(member, replace(place, path=path)) for member, path in found]

    def _pick(self, fragments: list[Fragment], pattern: Pattern, policy: Any = "declared") -> Decision:
        tasks = {card.task for fragment in fragments for card in fragment.cards}
        return Pick(
            candidates=tuple(
                Candidate(name=fragment.name, model=fragment.single, then=fragment.decision) for fragment in fragments
            ),
            policy=policy,
            weights=dict(pattern.policy.weights) if pattern.policy else {},
            require=pattern.require,
            by_task=len(tasks) > 1 and policy != "declared",
            seed=self.resolver.workflow.seed,
        )

    def _task(self, pattern: Pattern) -> str | None:
        """The one task of all models a pattern names, if it is one."""
        names: set[str] = set()
        _collect(pattern, names)
        tasks = {self.resolver.registry.cards[name].task for name in names if name in self.resolver.registry.cards}
        tasks |= {query for query in _queried(pattern) if query}
        return next(iter(tasks)) if len(tasks) == 1 else None

    @staticmethod
    def _unused(name: str, taken: set[str]) -> str:
        unused, number = name, 2
        while unused in taken:
            unused, number = f"{name}-{number}", number + 1
        taken.add(unused)
        return unused


def route_id(name: str) -> str:
    """A route's name as part of node ids, where a dot separates it from the model's."""
    return name.replace(".", "-")


def _collect(value: Any, names: set[str]) -> None:
    """The model names anywhere below a pattern."""
    if isinstance(value, Pattern) and value.model is not None:
        names.add(value.model)
    if hasattr(value, "__dict__"):
        for item in vars(value).values():
            for child in item if isinstance(item, list) else [item]:
                _collect(child, names)


def _queried(pattern: Pattern) -> list[str | None]:
    candidates = [getattr(pattern, kind) for kind in ("single", "fallback", "cascade", "ensemble")]
    return [found.query.task for found in candidates if found is not None and found.query is not None]


def _names(fragments: list[Fragment]) -> list[str]:
    return [fragment.name for fragment in fragments]


def _called(kind: str, fragments: list[Fragment]) -> str:
    return f"{kind}({', '.join(_names(fragments))})"


def _cards(fragments: list[Fragment]) -> tuple[ModelCard, ...]:
    return tuple(card for fragment in fragments for card in fragment.cards)


def _coalesce(fragments: list[Fragment]) -> Combination:
    members = tuple(fragment.combine for fragment in fragments)
    return members[0] if len(members) == 1 else Coalesce(members=members)


def _nothing(kind: str) -> Fragment:
    """Stands for a pattern without members, which has been refused already."""
    return Fragment(
        name=kind, decision=Reject(outcome="no_candidate", reason=kind), combine=Coalesce(members=()), cards=()
    )


def _default_method(fragments: list[Fragment]) -> Method:
    spaces = {card.output.label_space for card in _cards(fragments)}
    return "mean" if spaces == {None} else "majority-vote"


def _ensemble(fragments: list[Fragment], aggregation: Aggregation, quorum: int, deadline: float | None) -> Ensemble:
    def weight(fragment: Fragment) -> float:
        if fragment.name in aggregation.weights:
            return aggregation.weights[fragment.name]
        qualities = [card.profile.quality for card in fragment.cards if card.profile.quality is not None]
        return max(qualities) if qualities else 1.0

    return Ensemble(
        method=aggregation.method,
        members=tuple(fragment.combine for fragment in fragments),
        names=tuple(fragment.name for fragment in fragments),
        weights=tuple(weight(fragment) for fragment in fragments),
        quorum=quorum,
        handler=aggregation.handler,
        deadline=deadline,
    )
