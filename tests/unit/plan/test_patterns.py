"""Every pattern: which nodes it becomes, who may send rows to them, how rows enter it and how answers are read."""

from __future__ import annotations

from typing import Any

import pytest
from builders import card, cards, compiled, workflow

from airflow_agentic.pipeline.combination import Chained, Coalesce, Ensemble, FirstAccepted, Leaf, Primary
from airflow_agentic.plan import Plan, compile_plan
from airflow_agentic.plan.ir import Aggregate, Feed, Gate, Infer, Route
from airflow_agentic.registry import Registry
from airflow_agentic.routing.decision import (
    All,
    Candidate,
    Case,
    Decision,
    Pick,
    Reject,
    Rules,
    Sample,
    Share,
    Split,
    To,
)
from airflow_agentic.spec.pattern import Requirements

ACCEPT = "prediction.score >= 0.7"
A, B, C, D = (Leaf(node=f"main.{name}", model=name) for name in "abcd")
NO_ROUTE = Reject(outcome="no_route", reason="no route matches and the workflow has no default")
PATH = "routes[0].use"


def to(name: str) -> To:
    return To(node=f"main.{name}")


def one(name: str) -> Candidate:
    return Candidate(name=name, model=name, then=to(name))


def pick(*names: str, policy: Any = "declared", **said: Any) -> Pick:
    return Pick(candidates=tuple(one(name) for name in names), policy=policy, **said)


def first(plan: Plan) -> Decision:
    """How rows enter the pattern of the only route."""
    decide = plan.of(Route)[0].decide
    assert isinstance(decide, Rules)
    assert (decide.match, decide.default, len(decide.cases)) == ("first", NO_ROUTE, 1)
    assert (decide.cases[0].name, decide.cases[0].when) == ("routes[0]", None)
    return decide.cases[0].then


def combined(plan: Plan) -> Any:
    return plan.of(Aggregate)[0].combine


def graph(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Each inner node with what it needs beside preprocessing."""
    return {node.id: node.needs[1:] for node in plan.nodes[2:-2]}


def controls(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {node.id: node.controls for node in plan.of(Infer)}


def gate(plan: Plan, name: str) -> Gate:
    node = plan.node(f"main.{name}")
    assert isinstance(node, Gate)
    assert node.needs[0] == "preprocess"
    return node


def test_a_model() -> None:
    plan = compiled("a", card("a"))
    assert [(node.id, node.kind) for node in plan.nodes] == [
        ("preprocess", "preprocess"),
        ("route", "route"),
        ("main.a", "infer"),
        ("aggregate", "aggregate"),
        ("publish", "publish"),
    ]
    assert [node.needs for node in plan.nodes] == [
        (),
        ("preprocess",),
        ("preprocess", "route"),
        ("preprocess", "route", "main.a"),
        ("aggregate",),
    ]
    assert (first(plan), combined(plan), controls(plan)) == (pick("a"), A, {"main.a": ("route",)})
    assert list(plan.models) == list(plan.cards) == list(plan.folders) == ["a"]


def test_a_model_with_requirements_is_a_choice_of_one() -> None:
    plan = compiled({"model": "a", "require": {"max_cost": 2}}, card("a"))
    assert first(plan) == pick("a", require=Requirements(max_cost=2))
    assert combined(plan) == A


def test_single_chooses_by_quality_unless_told() -> None:
    plan = compiled({"single": ["a", "b"]}, *cards("a", "b"))
    assert first(plan) == pick("a", "b", policy="quality")
    assert combined(plan) == Coalesce(members=(A, B))
    assert graph(plan) == {"main.a": ("route",), "main.b": ("route",)}


@pytest.mark.parametrize(
    ("policy", "order", "weights"),
    [
        ("declared", "abc", {}),
        ("cost", "bca", {}),
        ("quality", "acb", {}),
        ("latency", "cab", {}),
        ("round-robin", "abc", {}),
        ("least-loaded", "abc", {}),
        ({"weighted": {"a": 3, "b": 1}}, "abc", {"a": 3.0, "b": 1.0}),
        ({"balanced": {"cost": 3, "quality": 1}}, "bca", {"cost": 3.0, "quality": 1.0}),
    ],
)
def test_policies_order_the_candidates(policy: Any, order: str, weights: dict[str, float]) -> None:
    models = (
        card("a", cost=9, quality=0.9, latency_ms=5),
        card("b", cost=1, quality=0.1, latency_ms=9),
        card("c", cost=3, quality=0.5, latency_ms=1),
    )
    name = policy if isinstance(policy, str) else next(iter(policy))
    plan = compiled({"single": ["a", "b", "c"], "policy": policy}, *models, seed=7)
    assert first(plan) == pick(*order, policy=name, weights=weights, seed=7)


def test_single_of_several_tasks_asks_for_the_records_task() -> None:
    plan = compiled({"single": ["a", "b"]}, card("a"), card("b", task="other"))
    assert first(plan) == pick("a", "b", policy="quality", by_task=True)


def test_single_of_patterns_keeps_the_order() -> None:
    plan = compiled({"single": ["a", {"ensemble": ["b", "c"]}]}, *cards("a", "b", "c"))
    entered = All(children=(pick("b"), pick("c")))
    assert first(plan) == Pick(candidates=(one("a"), Candidate(name="ensemble(b, c)", then=entered)))


def test_cascade() -> None:
    plan = compiled({"cascade": ["a", "b", "c"], "accept": ACCEPT}, *cards("a", "b", "c"))
    assert graph(plan) == {
        "main.a": ("route",),
        "main.gate-a": ("route", "main.a"),
        "main.b": ("route", "main.gate-a"),
        "main.gate-b": ("route", "main.gate-a", "main.b"),
        "main.c": ("route", "main.gate-a", "main.gate-b"),
    }
    assert controls(plan) == {
        "main.a": ("route",),
        "main.b": ("route", "main.gate-a"),
        "main.c": ("route", "main.gate-a", "main.gate-b"),
    }
    assert first(plan) == pick("a", "b", "c")
    assert gate(plan, "gate-a").rejected == pick("b", "c")
    assert gate(plan, "gate-b").rejected == pick("c")
    assert {gate(plan, name).accepted for name in ("gate-a", "gate-b")} == {None}
    assert {(gate(plan, name).accept, gate(plan, name).rule) for name in ("gate-a", "gate-b")} == {(ACCEPT, PATH)}
    assert combined(plan) == FirstAccepted(stages=(A, B, C), gates=("main.gate-a", "main.gate-b"))
    assert [node.share for node in plan.of(Infer)] == [0.333333, 0.5, 1.0]
    assert plan.decided_by(plan.of(Route)[0]) == ("main.a",)
    assert plan.reached_by(plan.of(Route)[0]) == ("main.a", "main.b", "main.c")


def test_fallback_is_a_cascade_that_accepts_whatever_is_no_error() -> None:
    plan = compiled({"fallback": ["a", "b"], "policy": "cost"}, card("a", cost=2), card("b", cost=1))
    assert list(graph(plan)) == ["main.b", "main.gate-b", "main.a"]
    assert gate(plan, "gate-b").accept is None
    assert gate(plan, "gate-b").rejected == pick("a")
    assert combined(plan) == FirstAccepted(stages=(B, A), gates=("main.gate-b",))


def test_a_cascade_of_one_has_no_gate() -> None:
    plan = compiled({"cascade": ["a"], "accept": ACCEPT}, card("a"))
    assert list(graph(plan)) == ["main.a"]
    assert (first(plan), combined(plan)) == (pick("a"), A)


def test_a_model_twice_is_two_nodes() -> None:
    plan = compiled({"fallback": ["a", "a"]}, card("a"))
    assert list(graph(plan)) == ["main.a", "main.gate-a", "main.a-2"]
    assert list(plan.models) == ["a"]


def test_ensemble() -> None:
    models = (card("a", quality=0.6), card("b", quality=0.9), card("c"))
    plan = compiled({"ensemble": ["a", "b", "c"], "quorum": 2, "deadline": "200ms"}, *models)
    assert graph(plan) == {"main.a": ("route",), "main.b": ("route",), "main.c": ("route",)}
    assert first(plan) == All(children=(pick("a"), pick("b"), pick("c")))
    assert combined(plan) == Ensemble(
        method="majority-vote",
        members=(A, B, C),
        names=("a", "b", "c"),
        weights=(0.6, 0.9, 1.0),
        quorum=2,
        deadline=0.2,
    )
    assert {(node.deadline, node.all_scores, node.share) for node in plan.of(Infer)} == {(0.2, False, 1.0)}


@pytest.mark.parametrize(
    ("aggregate", "all_scores"),
    [("mean", True), ({"weighted-mean": {"a": 2}}, True), ("best-score", False), ("weighted-vote", False)],
)
def test_averages_need_the_scores_of_all_classes(aggregate: Any, all_scores: bool) -> None:
    plan = compiled(
        {"ensemble": ["a", {"cascade": ["b", "c"], "accept": ACCEPT}], "aggregate": aggregate}, *cards("a", "b", "c")
    )
    assert {node.all_scores for node in plan.of(Infer)} == {all_scores}


def test_aggregation_weights_and_handler() -> None:
    weighted = combined(compiled({"ensemble": ["a", "b"], "aggregate": {"weighted-vote": {"b": 2}}}, *cards("a", "b")))
    assert (weighted.method, weighted.weights) == ("weighted-vote", (1.0, 2.0))
    own = combined(compiled({"ensemble": ["a", "b"], "aggregate": {"handler": "pkg.mod:f"}}, *cards("a", "b")))
    assert (own.method, own.handler) == ("handler", "pkg.mod:f")


def test_numbers_are_averaged_by_default() -> None:
    plan = compiled({"ensemble": ["a", "b"]}, *cards("a", "b", output={"value": "euro"}))
    assert combined(plan).method == "mean"


def test_the_stricter_of_two_deadlines_holds() -> None:
    inner = {"ensemble": ["b", "c"]}
    looser = {"ensemble": ["c", "d"], "deadline": "1s"}
    plan = compiled({"ensemble": ["a", inner, looser], "deadline": 0.5}, *cards("a", "b", "c", "d"))
    assert {node.deadline for node in plan.of(Infer)} == {0.5}


def test_stack_feeds_a_meta_model_with_all_scores() -> None:
    tabular = {"framework": "onnx", "artifact": "x", "tabular": {"columns": ["a.negative", "b.positive"]}}
    meta = card("meta", input="tabular", runtime=tabular)
    plan = compiled({"ensemble": ["a", "b"], "aggregate": {"stack": "meta"}, "quorum": 2}, *cards("a", "b"), meta)
    members = Ensemble(method="best-score", members=(A, B), names=("a", "b"), weights=(1.0, 1.0), quorum=2)
    assert graph(plan) == {
        "main.a": ("route",),
        "main.b": ("route",),
        "main.gate-ensemble": ("route", "main.a", "main.b"),
        "main.meta": ("main.gate-ensemble", "route", "main.a", "main.b"),
    }
    assert gate(plan, "gate-ensemble").accepted == pick("meta")
    assert gate(plan, "gate-ensemble").source == members
    node = plan.node("main.meta")
    assert isinstance(node, Infer)
    assert (node.feed, node.controls) == (Feed(source=members, fields="members"), ("main.gate-ensemble",))
    assert {node.id: node.all_scores for node in plan.of(Infer)} == {
        "main.a": True,
        "main.b": True,
        "main.meta": False,
    }
    assert combined(plan) == Chained(last=Leaf(node="main.meta", model="meta"), earlier=members)


def test_chain() -> None:
    reader = card("a", output={"fields": {"city": "string"}})
    plan = compiled(
        {"chain": ["a", {"use": "b", "input": "prediction.output.city"}, {"use": "c", "input": "record.input"}]},
        reader,
        *cards("b", "c"),
    )
    assert graph(plan) == {
        "main.a": ("route",),
        "main.gate-a": ("route", "main.a"),
        "main.b": ("main.gate-a", "route", "main.a"),
        "main.gate-b": ("main.gate-a", "main.b"),
        "main.c": ("main.gate-b",),
    }
    assert controls(plan) == {"main.a": ("route",), "main.b": ("main.gate-a",), "main.c": ("main.gate-b",)}
    assert first(plan) == pick("a")
    assert (gate(plan, "gate-a").source, gate(plan, "gate-a").accepted) == (A, pick("b"))
    assert (gate(plan, "gate-b").source, gate(plan, "gate-b").accepted) == (B, pick("c"))
    feeds = {node.model: node.feed for node in plan.of(Infer)}
    assert feeds == {"a": None, "b": Feed(source=A, fields="prediction.output.city"), "c": None}
    assert combined(plan) == Chained(last=C, earlier=Chained(last=B, earlier=A))


def test_chain_into_a_pattern_feeds_every_model_that_is_asked() -> None:
    plan = compiled(
        {"chain": ["a", {"use": {"ensemble": ["b", {"fallback": ["c", "d"]}]}, "input": "prediction.label"}]},
        *cards("a", "b", "c", "d"),
    )
    feed = Feed(source=A, fields="prediction.label")
    assert {node.model: node.feed for node in plan.of(Infer)} == {"a": None, "b": feed, "c": feed, "d": feed}
    assert controls(plan)["main.d"] == ("main.gate-a", "main.gate-c")


def test_split() -> None:
    arms = [{"use": "a", "weight": 9}, {"use": {"fallback": ["b", "c"]}, "weight": 1}]
    plan = compiled({"split": {"arms": arms, "key": "record.language"}}, *cards("a", "b", "c"), seed=3)
    stages = FirstAccepted(stages=(B, C), gates=("main.gate-b",))
    assert first(plan) == Split(
        arms=(
            Share(name="a", weight=9.0, then=pick("a")),
            Share(name="fallback(b, c)", weight=1.0, then=pick("b", "c", seed=3)),
        ),
        key="record.language",
        seed=3,
    )
    assert combined(plan) == Coalesce(members=(A, stages))


def test_shadow() -> None:
    plan = compiled({"shadow": {"primary": "a", "shadows": ["b", "c"], "fraction": 0.1}}, *cards("a", "b", "c"), seed=5)
    sampled = (Sample(fraction=0.1, seed=5, then=pick(name)) for name in "bc")
    assert first(plan) == All(children=(pick("a"), *sampled))
    assert combined(plan) == Primary(primary=A, shadows=(B, C))


def test_rules() -> None:
    plan = compiled({"rules": [{"when": "record.language == 'en'", "use": "a"}, {"use": "b"}]}, *cards("a", "b"))
    assert first(plan) == Rules(
        cases=(
            Case(name=f"{PATH}.rules[0]", when="record.language == 'en'", then=pick("a")),
            Case(name=f"{PATH}.rules[1]", then=pick("b")),
        ),
        default=Reject(outcome="no_route", reason=f"no rule of {PATH} matches"),
    )
    assert combined(plan) == Coalesce(members=(A, B))


def test_patterns_nest() -> None:
    strong = {"ensemble": ["b", {"fallback": ["c", "d"]}], "quorum": 2}
    plan = compiled({"cascade": ["a", strong], "accept": ACCEPT}, *cards("a", "b", "c", "d"))
    assert controls(plan) == {
        "main.a": ("route",),
        "main.b": ("route", "main.gate-a"),
        "main.c": ("route", "main.gate-a"),
        "main.d": ("route", "main.gate-a", "main.gate-c"),
    }
    inner = FirstAccepted(stages=(C, D), gates=("main.gate-c",))
    both = Ensemble(
        method="majority-vote", members=(B, inner), names=("b", "fallback(c, d)"), weights=(1.0, 1.0), quorum=2
    )
    assert combined(plan) == FirstAccepted(stages=(A, both), gates=("main.gate-a",))
    assert {node.model: node.share for node in plan.of(Infer)} == {"a": 0.333333, "b": 1.0, "c": 0.5, "d": 1.0}


def test_routes_are_called_by_their_models_task_and_answers_are_read_side_by_side() -> None:
    plan = compile_plan(
        workflow(
            [
                {"when": "record.language == 'en'", "use": "a"},
                {"when": "record.language == 'de'", "use": "b"},
                {"name": "mixed.ones", "when": "record.kind == 'text'", "use": {"single": ["a", "c"]}},
            ],
            default="c",
        ),
        Registry.of(card("a", task="x"), card("b", task="x"), card("c", task="y")),
    )
    assert [node.id for node in plan.of(Infer)] == ["x.a", "x-2.b", "mixed-ones.a", "mixed-ones.c", "default.c"]
    decide = plan.of(Route)[0].decide
    assert isinstance(decide, Rules)
    assert [(case.name, case.when) for case in decide.cases] == [
        ("routes[0]", "record.language == 'en'"),
        ("routes[1]", "record.language == 'de'"),
        ("routes[2]", "record.kind == 'text'"),
    ]
    assert decide.default == Pick(candidates=(Candidate(name="c", model="c", then=To(node="default.c")),))
    assert isinstance(combined(plan), Coalesce)


def test_all_routes_that_match_are_merged_by_route() -> None:
    routes = [{"name": "one", "use": "a"}, {"name": "two", "when": "record.language == 'en'", "use": "b"}]
    plan = compile_plan(workflow(routes, match="all"), Registry.of(*cards("a", "b")))
    assert combined(plan) == Ensemble(
        method="merge",
        members=(Leaf(node="one.a", model="a"), Leaf(node="two.b", model="b")),
        names=("one", "two"),
        weights=(1.0, 1.0),
    )


def test_the_workflows_fallback_asks_for_every_row_without_an_answer() -> None:
    plan = compiled(
        {"cascade": ["a", "b"], "accept": ACCEPT},
        *cards("a", "b", "c"),
        on_error="fallback",
        fallback={"fallback": ["c", "a"]},
    )
    last = plan.node("fallback-gate")
    assert isinstance(last, Gate)
    main = FirstAccepted(stages=(A, B), gates=("main.gate-a",))
    assert last.needs == ("preprocess", "route", "main.gate-a", "main.a", "main.b")
    assert (last.unrouted, last.accept, last.accepted, last.source) == (True, None, None, main)
    assert controls(plan) == {
        "main.a": ("route",),
        "main.b": ("route", "main.gate-a"),
        "fallback.c": ("fallback-gate",),
        "fallback.a": ("fallback-gate", "fallback.gate-c"),
    }
    assert combined(plan).stages[0] == main
    assert combined(plan).gates == ("fallback-gate",)


def test_least_loaded_can_only_run_online() -> None:
    chosen = {"single": ["b", "c"], "policy": "least-loaded"}
    plan = compiled({"fallback": ["a", chosen]}, *cards("a", "b", "c"))
    assert {node.id: node.runs_in for node in plan.nodes} == {
        "preprocess": "both",
        "route": "online",
        "main.a": "both",
        "main.gate-a": "online",
        "main.b": "both",
        "main.c": "both",
        "aggregate": "both",
        "publish": "dag",
    }


def test_queries_find_models_by_cost_unless_told() -> None:
    models = (card("a", cost=3), card("b", cost=1), card("c", cost=2, task="other"), card("d"))
    plan = compiled({"cascade": {"task": "text-analysis"}, "accept": ACCEPT}, *models)
    assert [node.model for node in plan.of(Infer)] == ["d", "b", "a"]
    told = compiled({"fallback": {"task": "text-analysis"}, "policy": "declared"}, *models)
    assert [node.model for node in told.of(Infer)] == ["a", "b", "d"]


def test_a_lock_file_holds_what_a_query_finds() -> None:
    flow = workflow(use={"ensemble": {"task": "text-analysis"}})
    registry = Registry.of(card("new", cost=0), card("a", cost=2), card("b", cost=1))
    locked = {"routes[0].use.ensemble": ["a", "b"]}
    assert [node.model for node in compile_plan(flow, registry, locked=locked).of(Infer)] == ["b", "a"]
    assert [node.model for node in compile_plan(flow, registry).of(Infer)] == ["new", "b", "a"]


def test_options_and_features_reach_the_plan() -> None:
    plan = compiled(
        "a",
        card("a", deterministic=False),
        on_error="dead_letter",
        deadline="2s",
        parallelism=3,
        shard={"rows": 10, "bytes": "1Mi"},
        input={"uri": "x.csv", "features": {"age": "int"}},
        preprocess=["text_info", {"truncate_text": {"chars": 5}}],
        publish={"uri": "out/", "format": "jsonl"},
    )
    assert plan.columns["record.age"] == "int"
    assert plan.columns["record.text_words"] == "int"
    assert plan.nodes[0].steps == (("text_info", {}), ("truncate_text", {"chars": 5}))  # type: ignore[union-attr]
    options = plan.options
    assert (options.on_error, options.deadline, options.parallelism) == ("dead_letter", 2.0, 3)
    assert (options.shard_rows, options.shard_bytes) == (10, 2**20)
    assert (plan.nodes[-1].uri, plan.nodes[-1].format) == ("out/", "jsonl")  # type: ignore[union-attr]
    assert [node.deterministic for node in plan.of(Infer)] == [False]
