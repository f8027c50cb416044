"""Workflow and cards → plan.

Pure: reads the specs it is given, nothing else; no clock, no network, no health, no import of a handler. The same
specs give the same plan, byte for byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_agentic.exceptions import CompileError
from airflow_agentic.pipeline.combination import Coalesce, Combination, Ensemble, FirstAccepted, leaves
from airflow_agentic.pipeline.steps import parse_step
from airflow_agentic.plan.candidates import Resolver
from airflow_agentic.plan.checks import check_condition, check_services, finish
from airflow_agentic.plan.columns import RECORD_COLUMNS, column_type, record_columns
from airflow_agentic.plan.ir import (
    PREPROCESS,
    Aggregate,
    AnyNode,
    Gate,
    Infer,
    Options,
    Plan,
    Preprocess,
    Publish,
    Route,
)
from airflow_agentic.plan.patterns import Fragment, PatternCompiler, route_id
from airflow_agentic.registry import ModelInfo, Registry
from airflow_agentic.routing.decision import Case, Decision, Reject, Rules
from airflow_agentic.spec.service import layered
from airflow_agentic.spec.source import render_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_agentic.spec.pattern import Pattern
    from airflow_agentic.spec.workflow import ColumnType, WorkflowSpec

ROUTE = "route"
AGGREGATE = "aggregate"
PUBLISH = "publish"
FALLBACK_GATE = "fallback-gate"


def compile_plan(workflow: WorkflowSpec, registry: Registry, *, locked: Mapping[str, list[str]] | None = None) -> Plan:
    """The plan of ``workflow``.

    :param locked: what queries may find, by their place (``routes[0].use.cascade``), from a lock file.
    :raises CompileError: every problem found, each with file, line, key and the way out.
    """
    return _Compiler(workflow, registry, locked or {}).run()


class _Compiler:
    def __init__(self, workflow: WorkflowSpec, registry: Registry, locked: Mapping[str, list[str]]) -> None:
        self.workflow = workflow
        self.resolver = Resolver(workflow, registry, locked)
        self.nodes: list[AnyNode] = []

    def run(self) -> Plan:
        steps, columns = self._preprocess()
        patterns = PatternCompiler(self.resolver, self.nodes, columns, self._names())
        fragments = [
            patterns.route(route.use, ("routes", index, "use"), route.name, index)
            for index, route in enumerate(self.workflow.routes)
        ]
        decide, combine = self._routes(fragments, patterns, columns)
        if self.workflow.fallback is not None:
            combine = self._fallback(self.workflow.fallback, combine, patterns)
        self._check_runners()
        if self.resolver.problems:
            raise CompileError(list(dict.fromkeys(self.resolver.problems)))
        on_error = self.workflow.on_error
        controls = (ROUTE, *(node.id for node in self.nodes if isinstance(node, Gate)))
        inferred = tuple(node.id for node in self.nodes if isinstance(node, Infer))
        nodes: list[AnyNode] = [
            Preprocess(id=PREPROCESS, steps=steps, on_error=on_error),
            Route(id=ROUTE, needs=(PREPROCESS,), decide=decide, on_error=on_error),
            *self.nodes,
            Aggregate(id=AGGREGATE, needs=(PREPROCESS, *controls, *inferred), combine=combine, on_error=on_error),
            Publish(
                id=PUBLISH,
                needs=(AGGREGATE,),
                runs_in="dag",
                uri=self.workflow.publish.uri,
                format=self.workflow.publish.format,
                on_error=on_error,
            ),
        ]
        return finish(self._plan(nodes, columns))

    def _check_runners(self) -> None:
        used = self.resolver.used
        for name in sorted(self.workflow.runner.models.keys() - used.keys()):
            hint = f"its models: {', '.join(sorted(used))}"
            self.resolver.refuse(("runner", "models", name), f"the workflow has no model {name!r}", hint)
        check_services(self.resolver, self.nodes)

    def _names(self) -> set[str]:
        """The names that routes without one cannot have; Airflow task groups and tasks share their ids."""
        taken = {PREPROCESS, ROUTE, AGGREGATE, PUBLISH, FALLBACK_GATE}
        taken |= {name for name in ("default", "fallback") if getattr(self.workflow, name) is not None}
        for index, route in enumerate(self.workflow.routes):
            name = route_id(route.name) if route.name else None
            if name in taken:
                message = f"the name {route.name!r} is taken already"
                self.resolver.refuse(("routes", index, "name"), message, "give the route another one")
            if name:
                taken.add(name)
        return taken

    def _plan(self, nodes: list[AnyNode], columns: dict[str, ColumnType]) -> Plan:
        used = dict(sorted(self.resolver.used.items()))
        workflow = self.workflow
        return Plan(
            workflow=workflow.name,
            nodes=tuple(nodes),
            models={name: ModelInfo.of(card) for name, card in used.items()},
            cards={
                name: card.model_dump(mode="json", by_alias=True, exclude_unset=True) for name, card in used.items()
            },
            folders={name: str(card.folder.resolve()) for name, card in used.items()},
            columns=columns,
            options=Options(
                on_error=workflow.on_error,
                deadline=workflow.deadline,
                parallelism=workflow.parallelism,
                shard_rows=workflow.shard.rows,
                shard_bytes=workflow.shard.bytes,
                runners={name: runner for name in used if (runner := workflow.runner.of(name)) != "local"},
                services={
                    name: layered(card.service, workflow.service).stated
                    for name, card in used.items()
                    if workflow.runner.of(name) == "service"
                },
                retention=workflow.retention,
            ),
        )

    def _preprocess(self) -> tuple[tuple[tuple[str, dict[str, Any]], ...], dict[str, ColumnType]]:
        features: dict[str, ColumnType] = dict(self.workflow.input.features) if self.workflow.input else {}
        for name in features:
            if f"record.{name}" in RECORD_COLUMNS:
                message = f"every record has the column {name!r}"
                self.resolver.refuse(("input", "features", name), message, "remove it, or rename it with input.columns")
        steps: list[tuple[str, dict[str, Any]]] = []
        for index, entry in enumerate(self.workflow.preprocess):
            name, options = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()), ("", {}))
            path = ("preprocess", index) if isinstance(entry, str) else ("preprocess", index, name)
            try:
                step = parse_step(name, options)
            except ValueError as error:
                message, _, hint = str(error).partition("\n")
                self.resolver.refuse(path, message, hint or None)
                continue
            steps.append((name, dict(options)))
            features.update({column: column_type(type_) for column, type_ in step.columns().items()})
        return tuple(steps), record_columns(features)

    def _routes(
        self, fragments: list[Fragment], patterns: PatternCompiler, columns: dict[str, ColumnType]
    ) -> tuple[Decision, Combination]:
        cases = []
        for index, (route, fragment) in enumerate(zip(self.workflow.routes, fragments, strict=True)):
            if route.when is not None:
                check_condition(self.resolver, route.when, ("routes", index, "when"), columns)
            cases.append(Case(name=f"routes[{index}]", when=route.when, then=fragment.entry))
        default: Decision = Reject(outcome="no_route", reason="no route matches and the workflow has no default")
        combined = [fragment.combine for fragment in fragments]
        names = [fragment.name for fragment in fragments]
        if self.workflow.default is not None:
            fragment = patterns.route(self.workflow.default, ("default",), "default", len(fragments))
            default = fragment.entry
            combined.append(fragment.combine)
            names.append(fragment.name)
        decide = Rules(cases=tuple(cases), default=default, match=self.workflow.match)
        if self.workflow.match == "all" and len(combined) > 1:
            return decide, Ensemble(
                method="merge", members=tuple(combined), names=tuple(names), weights=(1.0,) * len(combined)
            )
        return decide, combined[0] if len(combined) == 1 else Coalesce(members=tuple(combined))

    def _fallback(self, pattern: Pattern, main: Combination, patterns: PatternCompiler) -> Combination:
        position = len(self.nodes)
        controls = (ROUTE, *(node.id for node in self.nodes if isinstance(node, Gate)))
        fragment = patterns.route(pattern, ("fallback",), "fallback", 0, controls=(FALLBACK_GATE,))
        gate = Gate(
            id=FALLBACK_GATE,
            group=fragment.name,
            needs=(PREPROCESS, *controls, *dict.fromkeys(leaf.node for leaf in leaves(main))),
            source=main,
            rejected=fragment.entry,
            rule=render_path(("fallback",)),
            unrouted=True,
        )
        self.nodes.insert(position, gate)
        return FirstAccepted(stages=(main, fragment.combine), gates=(FALLBACK_GATE,))
