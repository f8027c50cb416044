"""The plan itself: look-ups, edges, and what its digests depend on."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from builders import card, cards, compiled, workflow

from airflow_agentic.plan import Plan, compile_plan
from airflow_agentic.plan.columns import ARROW_TYPES, column_type, gate_columns, record_columns
from airflow_agentic.plan.ir import Infer, Route
from airflow_agentic.plan.queries import queries
from airflow_agentic.registry import Registry
from airflow_agentic.spec.source import render_path

CASCADE: dict[str, Any] = {"cascade": ["a", "b"], "accept": "prediction.score >= 0.7"}


def plan(use: Any = None, *, models: Any = None, **changes: Any) -> Plan:
    return compiled(use or CASCADE, *(models or cards("a", "b", "c")), **changes)


def test_a_plan_round_trips_through_json() -> None:
    made = plan({"split": {"arms": [{"use": CASCADE, "weight": 1}, {"use": {"chain": ["a", "c"]}, "weight": 2}]}})
    text = made.model_dump_json()
    assert Plan.model_validate_json(text) == made
    assert Plan.model_validate(json.loads(text)) == made
    assert Plan.model_validate_json(text).digest == made.digest


def test_nodes_by_id_and_kind() -> None:
    made = plan()
    assert made.node("main.b").needs == ("preprocess", "route", "main.gate-a")
    assert [node.id for node in made.of(Infer)] == ["main.a", "main.b"]
    with pytest.raises(KeyError) as caught:
        made.node("main.c")
    assert caught.value.args == (
        "the plan of 'demo' has no node 'main.c'; "
        "it has: preprocess, route, main.a, main.gate-a, main.b, aggregate, publish",
    )


def test_edges_leave_out_what_other_needs_imply() -> None:
    assert plan().edges() == {
        "preprocess": [],
        "route": ["preprocess"],
        "main.a": ["route"],
        "main.gate-a": ["main.a"],
        "main.b": ["main.gate-a"],
        "aggregate": ["main.b"],
        "publish": ["aggregate"],
    }


def test_what_a_control_reaches_and_decides() -> None:
    made = plan()
    route = made.of(Route)[0]
    assert (made.reached_by(route), made.decided_by(route)) == (("main.a", "main.b"), ("main.a",))
    gate = made.node("main.gate-a")
    assert (made.reached_by(gate), made.decided_by(gate)) == (("main.b",), ("main.b",))  # type: ignore[arg-type]


def changed_nodes(first: Plan, second: Plan) -> set[str]:
    digests = [{node.id: made.node_digest(node) for node in made.nodes} for made in (first, second)]
    return {name for name in digests[0].keys() | digests[1].keys() if digests[0].get(name) != digests[1].get(name)}


@pytest.mark.parametrize(
    ("changes", "nodes"),
    [
        ({"publish": {"uri": "elsewhere/"}}, {"publish"}),
        ({"on_error": "dead_letter"}, set()),
        ({"description": "other"}, set()),
        ({"deadline": "3s", "parallelism": 2, "layout": "compact"}, set()),
        ({"preprocess": ["text_info"]}, {"preprocess"}),
        ({"seed": 3}, {"route", "main.gate-a"}),
    ],
)
def test_a_change_of_the_workflow_changes_the_nodes_it_concerns(changes: dict[str, Any], nodes: set[str]) -> None:
    assert changed_nodes(plan(), plan(**changes)) == nodes


@pytest.mark.parametrize(
    ("said", "nodes"),
    [
        ({"version": "2"}, {"route", "main.a"}),
        ({"quality": 0.9}, {"route"}),
        ({"capabilities": {"x": "y"}}, {"route"}),
        ({"resources": {"cpu": "2"}}, set()),
        ({"isolation": "process"}, set()),
    ],
)
def test_a_change_of_a_card_changes_the_nodes_that_run_or_weigh_it(said: dict[str, Any], nodes: set[str]) -> None:
    assert changed_nodes(plan(), plan(models=[card("a", **said), *cards("b", "c")])) == nodes


def test_the_folders_of_the_cards_are_no_part_of_the_identity() -> None:
    here, there = plan(), plan().model_copy(update={"folders": {"a": "/elsewhere"}})
    assert here.digest == there.digest
    assert plan(publish={"uri": "x"}).digest != here.digest


def test_the_topology_is_what_a_dag_is_made_of() -> None:
    assert plan().topology == {
        "workflow": "demo",
        "nodes": [
            ["preprocess", "preprocess", [], None],
            ["route", "route", ["preprocess"], None],
            ["main.a", "infer", ["preprocess", "route"], "a"],
            ["main.gate-a", "gate", ["preprocess", "route", "main.a"], None],
            ["main.b", "infer", ["preprocess", "route", "main.gate-a"], "b"],
            ["aggregate", "aggregate", ["preprocess", "route", "main.gate-a", "main.a", "main.b"], None],
            ["publish", "publish", ["aggregate"], None],
        ],
    }


def test_column_types() -> None:
    assert {name: column_type(type_) for name, type_ in ARROW_TYPES.items()} == {name: name for name in ARROW_TYPES}
    assert column_type(pa.dictionary(pa.int8(), pa.string())) == "string"
    assert column_type(pa.int16()) == "int"
    assert column_type(pa.float32()) == "double"
    with pytest.raises(ValueError, match=r"^conditions cannot use a column of type list<item: int64>$"):
        column_type(pa.list_(pa.int64()))


def test_gates_see_the_record_and_the_prediction() -> None:
    columns = gate_columns(record_columns({"age": "int"}))
    assert (columns["record.age"], columns["record.task"], columns["prediction.score"]) == ("int", "string", "double")


def test_queries_and_their_places() -> None:
    query = {"task": "x"}
    arms = [{"use": {"single": query}, "weight": 1}, {"use": "a", "weight": 1}]
    shadow = {"primary": {"single": query}, "shadows": ["a", {"single": query}]}
    flow = workflow(
        [
            {"when": "true", "use": {"fallback": ["a", {"ensemble": query}]}},
            {"when": "true", "use": {"cascade": query}, "accept": "true"},
            {"when": "true", "use": {"chain": ["a", {"use": {"single": query}, "input": "prediction.label"}]}},
            {"when": "true", "use": {"split": {"arms": arms}}},
            {"when": "true", "use": {"rules": [{"use": {"single": query}}]}},
        ],
        default={"shadow": shadow},
        on_error="fallback",
        fallback={"single": query},
    )
    assert [(render_path(path), found.task) for path, found in queries(flow)] == [
        ("routes[0].use.fallback[1].ensemble", "x"),
        ("routes[1].use.cascade", "x"),
        ("routes[2].use.chain[1].use.single", "x"),
        ("routes[3].use.split.arms[0].use.single", "x"),
        ("routes[4].use.rules[0].use.single", "x"),
        ("default.shadow.primary.single", "x"),
        ("default.shadow.shadows[1].single", "x"),
        ("fallback.single", "x"),
    ]


def test_the_places_of_queries_are_those_the_compiler_asks_for() -> None:
    found = {"single": {"task": "text-analysis"}}
    members = ["a", {"chain": ["a", {"rules": [{"use": found}]}]}]
    flow = workflow(use={"shadow": {"primary": {"fallback": members}, "shadows": [found]}})
    registry = Registry.of(*cards("a", "b", "c"))
    locked = {render_path(path): ["c"] for path, _ in queries(flow)}
    made = compile_plan(flow, registry, locked=locked)
    assert [node.model for node in made.of(Infer)] == ["a", "a", "c", "c"]
