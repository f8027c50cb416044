"""Any nesting of patterns over any cards: a CompileError that says where, or a plan that keeps its promises."""

from __future__ import annotations

from typing import Any

from builders import card, workflow
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from strategies import CONDITIONS, patterns

from airflow_agentic.exceptions import CompileError
from airflow_agentic.pipeline.combination import Combination, Leaf, gates, leaves
from airflow_agentic.plan import Plan, compile_plan
from airflow_agentic.plan.draw import dot, mermaid, terminal
from airflow_agentic.plan.ir import Aggregate, Gate, Infer, Preprocess, Publish, Route
from airflow_agentic.plan.queries import queries
from airflow_agentic.registry import Registry
from airflow_agentic.routing.decision import targets
from airflow_agentic.spec import ModelCard, WorkflowSpec, workflow_from
from airflow_agentic.spec.source import render_path

NAMES = ["a", "b", "c", "d"]
QUERIES: list[dict[str, Any]] = [
    {"task": "text-analysis"},
    {"capabilities": {"size": "small"}},
    {"label_space": "none"},
]
OUTPUTS: list[dict[str, Any]] = [
    {"classes": ["negative", "positive"]},
    {"classes": ["negative", "positive"]},
    {"classes": ["negative", "positive"], "score_kind": "margin"},
    {"classes": ["x", "y"]},
    {"value": "euro"},
    {"embedding": 3},
    {"fields": {"city": "string"}},
]
USES = patterns(NAMES, QUERIES)
META = card("meta", input="json", capabilities={"size": "large"}, task="stacking")


@st.composite
def registries(draw: st.DrawFn) -> Registry:
    """Cards for most names; mostly alike, so that patterns often fit together."""
    alike = draw(st.sampled_from([True, True, False]))
    made: list[ModelCard] = []
    for name in NAMES if alike else draw(st.lists(st.sampled_from(NAMES), min_size=3, unique=True)):
        made.append(
            card(
                name,
                task=draw(st.sampled_from(["text-analysis", "text-analysis", "other"])),
                output=OUTPUTS[0] if alike else draw(st.sampled_from(OUTPUTS)),
                input="text" if alike else draw(st.sampled_from(["text", "tabular", "json"])),
                runtime={"framework": "python", "handler": "tiny:Model"},
                quality=draw(st.none() | st.floats(0, 1)),
                cost=draw(st.none() | st.floats(0, 9)),
                capabilities=draw(st.sampled_from([{}, {"size": "small"}])),
            )
        )
    return Registry.of(*made, META)


@st.composite
def workflows(draw: st.DrawFn) -> WorkflowSpec:
    match = draw(st.sampled_from(["first", "all"]))
    uses = draw(st.lists(USES, min_size=1, max_size=3))
    routes: list[dict[str, Any]] = [{"when": draw(st.sampled_from(CONDITIONS)), "use": one} for one in uses]
    more: dict[str, Any] = {}
    if draw(st.booleans()):
        more["default"] = draw(USES)
    elif draw(st.booleans()):
        del routes[-1]["when"]
    if draw(st.booleans()):
        more |= {"on_error": "fallback", "fallback": draw(USES)}
    return workflow(routes, match=match, **more)


def compiled(flow: WorkflowSpec, registry: Registry) -> Plan | None:
    """The plan, or ``None`` where the parts do not fit; then every problem points into the workflow."""
    try:
        plan = compile_plan(flow, registry)
    except CompileError as refused:
        error = refused
    else:
        event("compiles")
        return plan
    event("is refused")
    paths = {render_path(path) for path in flow.source.values}
    assert {problem.path for problem in error.problems} <= paths
    assert all(problem.message for problem in error.problems)
    assert len(set(error.problems)) == len(error.problems) > 0
    return None


@given(workflows(), registries())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_workflow_over_any_cards(flow: WorkflowSpec, registry: Registry) -> None:
    plan = compiled(flow, registry)
    if plan is None:
        return
    check_order(plan)
    check_controls(plan)
    check_combinations(plan)
    check_edges(plan)
    assert terminal(plan).count("aggregate") == 1
    assert len(terminal(plan).splitlines()) == len(flow.routes) + (flow.default is not None)
    assert mermaid(plan).count("-->") == dot(plan).count("->") == sum(len(needs) for needs in plan.edges().values())


def check_order(plan: Plan) -> None:
    kinds = [type(node) for node in plan.nodes]
    assert kinds[:2] == [Preprocess, Route]
    assert kinds[-2:] == [Aggregate, Publish]
    assert set(kinds[2:-2]) <= {Infer, Gate}
    seen: set[str] = set()
    for node in plan.nodes:
        assert set(node.needs) <= seen
        assert len(set(node.needs)) == len(node.needs)
        assert node.id not in seen
        seen.add(node.id)
    assert set(plan.models) == set(plan.cards) == set(plan.folders) == {node.model for node in plan.of(Infer)}


def check_controls(plan: Plan) -> None:
    """Who may send rows to a node is what the node says, and every node can get some."""
    controls = [node for node in plan.nodes if isinstance(node, Route | Gate)]
    senders: dict[str, list[str]] = {node.id: [] for node in plan.of(Infer)}
    for control in controls:
        for target in plan.reached_by(control):
            senders[target].append(control.id)
    for infer in plan.of(Infer):
        assert infer.controls
        assert set(senders[infer.id]) == set(infer.controls)
        assert set(infer.controls) <= set(infer.needs)
        assert 0 < infer.share <= 1
    decided = [target for control in controls for target in plan.decided_by(control)]
    assert sorted(decided) == sorted(senders)
    entered = set(targets(plan.of(Route)[0].decide))
    for gate in plan.of(Gate):  # in order: each gate passes on rows of nodes that rows reach
        assert {leaf.node for leaf in leaves(gate.source)} & entered
        entered |= set(plan.reached_by(gate))
    assert entered == set(senders)


def check_combinations(plan: Plan) -> None:
    """What a node reads stands before it, and the answer reads every model."""
    above = closure(plan)
    read: list[tuple[str, Combination]] = [(gate.id, gate.source) for gate in plan.of(Gate)]
    read += [(node.id, node.feed.source) for node in plan.of(Infer) if node.feed is not None]
    read += [(node.id, node.combine) for node in plan.of(Aggregate)]
    for reader, combination in read:
        found = leaves(combination)
        assert found
        assert {leaf.node for leaf in found} <= above[reader]
        assert set(gates(combination)) <= above[reader]
        assert all(Leaf(node=leaf.node, model=plan.node(leaf.node).model) == leaf for leaf in found)  # type: ignore[union-attr]
    answer = plan.of(Aggregate)[0].combine
    assert {leaf.node for leaf in leaves(answer)} == {node.id for node in plan.of(Infer)}


def closure(plan: Plan) -> dict[str, set[str]]:
    above: dict[str, set[str]] = {}
    for node in plan.nodes:
        above[node.id] = set(node.needs).union(*(above[need] for need in node.needs))
    return above


def check_edges(plan: Plan) -> None:
    """The edges are the transitive reduction of the needs."""
    above, edges = closure(plan), plan.edges()
    by_edges: dict[str, set[str]] = {}
    for node in plan.nodes:
        direct = edges[node.id]
        by_edges[node.id] = set(direct).union(*(by_edges[need] for need in direct))
        for need in direct:
            assert not any(need in above[other] for other in direct)
    assert by_edges == above


@given(workflows(), registries())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_compiling_again_gives_the_same_bytes(flow: WorkflowSpec, registry: Registry) -> None:
    plan = compiled(flow, registry)
    if plan is None:
        return
    text = plan.model_dump_json()
    again = workflow_from(flow.model_dump(mode="json", exclude_unset=True), flow.folder)
    shuffled = Registry.of(*reversed(list(registry.cards.values())))
    assert compile_plan(again, shuffled).model_dump_json() == text
    read = Plan.model_validate_json(text)
    assert (read.model_dump_json(), read.digest) == (text, plan.digest)
    for node in plan.nodes:
        assert read.node_digest(read.node(node.id)) == plan.node_digest(node)


@given(workflows(), registries(), registries())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_lock_file_keeps_further_cards_out(flow: WorkflowSpec, registry: Registry, more: Registry) -> None:
    plan = compiled(flow, registry)
    if plan is None:
        return
    locked = {render_path(path): [found.name for found in registry.query(query)] for path, query in queries(flow)}
    others = [
        model.model_copy(update={"name": f"new-{name}"})
        for name, model in more.cards.items()
    ]  # fmt: skip
    larger = Registry.of(*registry.cards.values(), *others)
    assert compile_plan(flow, larger, locked=locked).model_dump_json() == plan.model_dump_json()
