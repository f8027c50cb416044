"""Any nesting of patterns over generated records: every record lands exactly once, alone as in its batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from builders import workflow
from executing import ALLOWED, CARDS, World, batched, comparable
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from strategies import patterns

from airflow_agentic.exceptions import CompileError
from airflow_agentic.execution import node_card
from airflow_agentic.execution import nodes as functions
from airflow_agentic.execution.nodes import ShardState
from airflow_agentic.pipeline.combination import leaves
from airflow_agentic.pipeline.inputs import inline_records
from airflow_agentic.plan import Plan, compile_plan
from airflow_agentic.plan.ir import Aggregate, Gate, Infer, Route
from airflow_agentic.registry import Registry
from airflow_agentic.routing.decide import Decider
from airflow_agentic.routing.decision import Sample
from airflow_agentic.runtime import predict_records

NAMES = ["a", "b", "c"]
CONDITIONS = (
    "record.size < 5",
    "record.tier == 'x'",
    "has(record.task) && record.task == 'pricing'",
    "record.max_cost > 0.002",  # cannot be evaluated where there is none
    "record.size % 2 == 0 || record.language == 'en'",
)
USES = patterns(
    NAMES, [{"task": "text-analysis"}, {"capabilities": {"tier": "gold"}}], conditions=CONDITIONS, chance=True
)
REGISTRY = Registry.of(*CARDS)

rows = st.fixed_dictionaries(
    {"said": st.sampled_from(["", "", "", " !a", " !a !b", " !a !b !c", " ?a", " ?b"])},
    optional={
        "task": st.sampled_from(["text-analysis", "pricing"]),
        "language": st.sampled_from(["en", "de", "fr"]),
        "max_cost": st.sampled_from([0.0, 0.001, 0.005, 1.0]),
        "max_latency_ms": st.sampled_from([1.0, 10.0, 100.0]),
        "min_quality": st.sampled_from([0.5, 0.7, 1.0]),
        "tier": st.sampled_from("xyz"),
        "bad": st.just(True),
    },
)


def records(made: list[dict[str, Any]]) -> pa.Table:
    """Records of generated rows; a bad one has a number for its text."""
    given_rows: list[Any] = []
    for place, row in enumerate(made):
        rest = {name: value for name, value in row.items() if name not in {"said", "bad"}}
        text: Any = place if row.get("bad") else f"text {place}{row['said']}"
        given_rows.append({"record_id": f"r{place}", "size": place, "tier": "z", "text": text, **rest})
    return inline_records(given_rows, features={"size": "int", "tier": "string"})


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Plans of workflows with one to three routes."""
    uses = draw(st.lists(USES, min_size=1, max_size=3))
    routes: list[dict[str, Any]] = [{"when": draw(st.sampled_from(CONDITIONS)), "use": use} for use in uses]
    more: dict[str, Any] = {"match": draw(st.sampled_from(["first", "first", "all"])), "seed": draw(st.integers(0, 3))}
    end = draw(st.sampled_from(["nothing", "default", "always"]))
    if end == "default":
        more["default"] = draw(USES)
    elif end == "always":
        del routes[-1]["when"]
    if draw(st.booleans()):
        more |= {"on_error": "fallback", "fallback": draw(USES)}
    given_input = {"uri": "inbox", "features": {"size": "int", "tier": "string"}}
    shard = {"rows": draw(st.integers(1, 5))}
    try:
        plan = compile_plan(workflow(routes, input=given_input, shard=shard, parallelism=2, **more), REGISTRY)
    except CompileError:
        event("is refused")
        plan = None
    assume(plan is not None)
    event(f"asks {len(plan.of(Infer))} times")
    return plan


@dataclass(frozen=True)
class Walk:
    """A plan evaluated over one shard, node by node."""

    state: ShardState
    answers: pa.Table


def walk(plan: Plan, shard: pa.Table, *, lost: frozenset[str] = frozenset()) -> Walk:
    """Call every node's function, as both executors do.

    :param lost: infer nodes whose unit fails.
    """
    state, decider, world = ShardState(plan, shard), Decider(plan.models), World()
    for node in plan.nodes:
        if isinstance(node, Route):
            state = state.with_table(node.id, functions.route(node, state, decider))
        elif isinstance(node, Gate):
            state = state.with_table(node.id, functions.gate(node, state, decider, allowed_handlers=ALLOWED))
        elif isinstance(node, Infer) and len(state.assigned(node)) and node.id not in lost:
            card = node_card(plan, node)
            model = world.start(card)
            table = functions.infer(node, state, lambda asked, m=model, c=card: predict_records(m, c, asked))  # type: ignore[misc]
            state = state.with_table(node.id, table)
        elif isinstance(node, Aggregate):
            return Walk(state, functions.aggregate(node, state, allowed_handlers=ALLOWED))
    raise AssertionError("the plan has no Aggregate")


def samples(value: Any) -> bool:
    """Whether a decision leaves rows out on purpose, somewhere."""
    if isinstance(value, Sample):
        return True
    below = [getattr(value, name, None) for name in ("then", "default")]
    for name in ("cases", "candidates", "arms", "children"):
        below += list(getattr(value, name, ()))
    return any(samples(one) for one in below if one is not None)


def check_selections(made: Walk) -> None:
    """Every control accounts for exactly the rows that it sees; no row is sent anywhere twice."""
    plan, count = made.state.plan, made.state.records.num_rows
    for node in plan.nodes:
        if not isinstance(node, Route | Gate):
            continue
        entries = made.state.selections[node.id].to_pylist()
        found = [one["row"] for one in entries]
        assert found == sorted(found)
        assert all((one["target"] is None) != (one["outcome"] is None) for one in entries)
        sent = [(one["row"], one["target"]) for one in entries if one["target"] is not None]
        assert len(set(sent)) == len(sent)
        seen = set(range(count)) if isinstance(node, Route) else asked(made.state, node)
        decisions = [node.decide] if isinstance(node, Route) else [node.accepted, node.rejected]
        if any(samples(decision) for decision in decisions if decision is not None):
            assert set(found) <= seen
        else:
            assert set(found) == seen
        targets = set(plan.reached_by(node))
        assert {target for _, target in sent} <= targets


def asked(state: ShardState, gate: Gate) -> set[int]:
    """The rows that a gate sees: those its models were given, and for the fallback those that reached nobody."""
    given_rows: set[int] = set()
    for leaf in leaves(gate.source):
        node = state.plan.node(leaf.node)
        assert isinstance(node, Infer)
        given_rows |= set(state.assigned(node).tolist())
    if gate.unrouted:
        first = state.selections[state.plan.of(Route)[0].id].to_pylist()
        errors = state.records.column("error").to_pylist()
        given_rows |= {one["row"] for one in first if one["outcome"] is not None and errors[one["row"]] is None}
    return given_rows


def check_answers(made: Walk) -> None:
    """One answer a record, in order: an error with a code, or something that was answered."""
    assert made.answers.column("record_id").to_pylist() == made.state.records.column("record_id").to_pylist()
    calls = np.zeros(made.state.records.num_rows, dtype=int)
    for node in made.state.plan.of(Infer):
        given_rows = made.state.assigned(node)
        calls[given_rows] += 1
        if node.id in made.state.predictions:
            assert made.state.predictions[node.id].column("row").to_pylist() == given_rows.tolist()
    assert made.answers.column("calls").to_pylist() == calls.tolist()
    for answer in made.answers.to_pylist():
        said = [answer[name] for name in ("label", "value", "output") if answer[name] is not None]
        assert bool(said) == (answer["error"] is None)
        assert answer["error"] is None or answer["error"]["code"]
        assert answer["score"] is None or 0 <= answer["score"] <= 1 + 1e-9
        assert len(answer["predictions"]) == answer["calls"]
        assert answer["error"] is not None or any(one["used"] for one in answer["predictions"])


@given(plans(), st.lists(rows, min_size=1, max_size=9))
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_every_record_lands_exactly_once(plan: Plan, made: list[dict[str, Any]]) -> None:
    found = walk(plan, records(made))
    check_selections(found)
    check_answers(found)


@given(plans(), st.lists(rows, min_size=1, max_size=9), st.data())
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_lost_units_lose_no_record(plan: Plan, made: list[dict[str, Any]], data: st.DataObject) -> None:
    lost = data.draw(st.sets(st.sampled_from([node.id for node in plan.of(Infer)])), "lost")
    found = walk(plan, records(made), lost=frozenset(lost))
    check_selections(found)
    check_answers(found)


@given(plans(), st.lists(rows, min_size=2, max_size=6))
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_a_record_is_answered_alone_as_in_its_batch(plan: Plan, made: list[dict[str, Any]]) -> None:
    """Whatever it meets: chance, round-robin and ranking depend on the record only."""
    shard = records(made)
    whole = comparable(walk(plan, shard).answers)
    for row, expected in enumerate(whole):
        assert comparable(walk(plan, shard.slice(row, 1)).answers) == [expected]


@given(plans(), st.lists(rows, min_size=1, max_size=9))
@settings(
    max_examples=settings.default.max_examples // 4,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
def test_shards_change_nothing(plan: Plan, made: list[dict[str, Any]]) -> None:
    """A batch run cut into shards and units, over the artifact store, answers as one walk over all records."""
    shard = records(made)
    assert comparable(batched(plan, shard)) == comparable(walk(plan, shard).answers)
