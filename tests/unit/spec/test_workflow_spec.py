"""Workflows: what they say, their short forms, and every message about what is wrong with one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from builders import workflow

from airflow_agentic.exceptions import SpecError
from airflow_agentic.spec import WorkflowSpec, load_workflow

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_agentic.spec import Pattern

WORKFLOW = """\
apiVersion: airflow-agentic/v1
kind: Workflow
name: demo
routes:
  - when: record.task == "x"
    use: {cascade: [a, b]}
    accept: prediction.score >= 0.7
  - use: c
"""
KNOWN = f"known here: apiVersion, {', '.join(list(WorkflowSpec.model_fields)[1:])}"
PATTERNS = "one of: single, fallback, cascade, ensemble, chain, split, shadow, rules"


def test_a_workflow(tmp_path: Path) -> None:
    path = tmp_path / "demo.yaml"
    path.write_text(WORKFLOW)
    read = load_workflow(path)
    first, second = read.routes
    assert (first.use.kind, first.use.accept, second.use.kind, second.use.model) == (
        "cascade",
        "prediction.score >= 0.7",
        "model",
        "c",
    )
    assert (read.match, read.on_error, read.layout, read.parallelism) == ("first", "keep", "expanded", 8)
    assert (read.shard.rows, read.shard.bytes, read.publish.uri) == (1000, 64 * 2**20, "answers/")


def use(said: Any, **beside: Any) -> Pattern:
    return workflow([{"use": said, **beside}]).routes[0].use


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("a", {"model": "a"}),
        ({"single": "a"}, {"single": {"members": [{"model": "a"}]}}),
        ({"single": ["a", "b"]}, {"single": {"members": ["a", "b"]}}),
        ({"single": {"task": "x"}}, {"single": {"query": {"task": "x"}}}),
        ({"single": ["a"], "policy": "cost"}, {"single": ["a"], "policy": {"name": "cost"}}),
        (
            {"single": ["a"], "policy": {"weighted": {"a": 2}}},
            {"single": ["a"], "policy": {"name": "weighted", "weights": {"a": 2}}},
        ),
        ({"ensemble": ["a"], "aggregate": "mean"}, {"ensemble": ["a"], "aggregate": {"method": "mean"}}),
        (
            {"ensemble": ["a"], "aggregate": {"weighted-vote": {"a": 2}}},
            {"ensemble": ["a"], "aggregate": {"method": "weighted-vote", "weights": {"a": 2}}},
        ),
        (
            {"ensemble": ["a"], "aggregate": {"stack": "m"}},
            {"ensemble": ["a"], "aggregate": {"method": "stack", "model": "m"}},
        ),
        (
            {"ensemble": ["a"], "aggregate": {"handler": "p.m:f"}},
            {"ensemble": ["a"], "aggregate": {"method": "handler", "handler": "p.m:f"}},
        ),
        ({"chain": ["a", {"cascade": ["b"], "accept": "x"}]},
         {"chain": [{"use": {"model": "a"}}, {"use": {"cascade": ["b"], "accept": "x"}, "input": "record.input"}]}),
    ],
)  # fmt: skip
def test_short_forms(short: Any, long: Any) -> None:
    assert use(short) == use(long)


def test_options_stand_beside_use_or_inside_it() -> None:
    inside = use({"ensemble": ["a", "b"], "quorum": 2, "aggregate": "mean", "deadline": "1s"})
    assert use({"ensemble": ["a", "b"]}, quorum=2, aggregate="mean", deadline="1s") == inside
    assert use("a", require={"max_cost": 1}) == use({"model": "a", "require": {"max_cost": 1}})


def test_further_short_forms_of_a_workflow() -> None:
    read = workflow(input="in.jsonl", window="interval", preprocess=["one", {"two": None}, {"three": {"x": 1}}])
    assert read.input is not None
    assert (read.input.uri, read.window.kind) == ("in.jsonl", "interval")
    assert read.preprocess == ["one", {"two": {}}, {"three": {"x": 1}}]
    assert workflow([{"use": "a"}, {"when": "true", "use": "b"}], match="all").match == "all"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "accept",
            "acept",
            "flow.yaml:6:10  routes[0].use: a cascade needs accept: when is an answer good enough?\n"
            "    write for example accept: prediction.score >= 0.7\n"
            "flow.yaml:7:5  routes[0].acept: 'acept' is not a key here\n"
            "    did you mean 'accept'?",
        ),
        (
            "cascade",
            "casscade",
            "flow.yaml:6:11  routes[0].use.casscade: 'casscade' is not a key here\n    did you mean 'cascade'?",
        ),
        (
            "    accept: prediction.score >= 0.7\n",
            "",
            "flow.yaml:6:10  routes[0].use: a cascade needs accept: when is an answer good enough?\n"
            "    write for example accept: prediction.score >= 0.7",
        ),
        (
            "accept: prediction.score >= 0.7",
            "quorum: 2",
            "flow.yaml:7:13  routes[0].quorum: quorum does not belong to cascade\n    it belongs to: ensemble",
        ),
        (
            "use: {cascade: [a, b]}",
            "use: {cascade: [a, b], accept: x}",
            "flow.yaml:7:13  routes[0].accept: accept stands beside use and inside it\n    keep one of them",
        ),
        (
            "use: {cascade: [a, b]}",
            "use: {cascade: [a, b], ensemble: [a, b]}",
            "flow.yaml:6:10  routes[0].use: needs exactly one pattern, found cascade and ensemble\n"
            f"    {PATTERNS}, or a model's name",
        ),
        (
            "use: {cascade: [a, b]}",
            "use: {}",
            f"flow.yaml:6:10  routes[0].use: needs exactly one pattern, found none\n    {PATTERNS}, or a model's name",
        ),
        (
            "use: c",
            "use: 3",
            f"flow.yaml:8:10  routes[1].use: expected a model's name or a pattern, found 3\n    {PATTERNS}",
        ),
        (
            "use: c",
            "use:",
            f"flow.yaml:8:5  routes[1].use: expected a model's name or a pattern, found nothing\n    {PATTERNS}",
        ),
        (
            "use: c",
            "use: [a]",
            f"flow.yaml:8:10  routes[1].use: expected a model's name or a pattern, found a list\n    {PATTERNS}",
        ),
        (
            "use: c\n",
            "when: x",
            "flow.yaml:8:5  routes[1].use: is required",
        ),
        (
            "[a, b]",
            "[]",
            "flow.yaml:6:20  routes[0].use.cascade: is empty\n    name at least one model",
        ),
        (
            "[a, b]",
            "[a, 1]",
            f"flow.yaml:6:24  routes[0].use.cascade[1]: expected a model's name or a pattern, found 1\n    {PATTERNS}",
        ),
        (
            "[a, b]",
            "[a, B]",
            "flow.yaml:6:24  routes[0].use.cascade[1]: 'B' is not a name\n"
            "    use lower-case letters, digits, '-', '_' and '.', at most 64, a letter or digit at both ends",
        ),
        (
            "[a, b]",
            "3",
            "flow.yaml:6:20  routes[0].use.cascade: expected models or a query, found 3\n"
            "    write for example [MODEL, OTHER], or {task: TASK}",
        ),
        (
            "[a, b]",
            "{}",
            "flow.yaml:6:20  routes[0].use.cascade: a query needs at least one of task, input, label_space, "
            "capabilities",
        ),
        (
            "[a, b]",
            "{members: [a], query: {task: x}}",
            "flow.yaml:6:42  routes[0].use.cascade.query: has members and a query\n    keep one of them",
        ),
        (
            "[a, b]",
            "{members: []}",
            "flow.yaml:6:20  routes[0].use.cascade: is empty\n    name at least one model",
        ),
        (
            "[a, b]",
            "{taks: x}",
            "flow.yaml:6:21  routes[0].use.cascade.taks: 'taks' is not a key here\n    did you mean 'task'?",
        ),
        (
            "use: c",
            "use: c\n  - use: d",
            "flow.yaml:9:5  routes[2]: is unreachable: routes[1] has no condition\n"
            "    put routes[1] last, or write match: all",
        ),
        (
            "use: c",
            "use: c\ndefault: a",
            "flow.yaml:9:10  default: is unreachable: routes[1] has no condition and takes every record\n"
            "    remove one of them",
        ),
        (
            "use: c",
            "use: c\nmatch: all\ndefault: a",
            "flow.yaml:10:10  default: is unreachable: routes[1] has no condition and takes every record\n"
            "    remove one of them",
        ),
        (
            "use: c",
            "use: c\non_error: fallback",
            "flow.yaml:9:11  on_error: 'fallback' needs a pattern to ask\n    write fallback: MODEL",
        ),
        (
            "use: c",
            "use: c\nfallback: a",
            "flow.yaml:9:11  fallback: is never asked\n    write on_error: fallback, or remove it",
        ),
        (
            "use: c",
            "use: c\npreprocess: [{a: {}, b: {}}, 3, {a: 1}, {c: }]",
            "flow.yaml:9:14  preprocess[0]: expected one step, found 2\n"
            "    write each as an entry of its own\n"
            "flow.yaml:9:30  preprocess[1]: expected a step's name, or its name and options, found 3\n"
            "flow.yaml:9:37  preprocess[2].a: expected a mapping, found 1",
        ),
        (
            "accept: prediction.score >= 0.7",
            "accept: 0.7",
            'flow.yaml:7:13  routes[0].accept: expected text, found 0.7\n    put it in quotes: "0.7"',
        ),
        (
            "accept: prediction.score >= 0.7",
            "accept: x\n    policy: weighted",
            "flow.yaml:8:13  routes[0].policy: policy weighted needs weights\n"
            "    write policy: {weighted: {MODEL: 3, OTHER: 1}}",
        ),
        (
            "accept: prediction.score >= 0.7",
            "accept: x\n    policy: {weighted: {a: 1}}",
            "flow.yaml:8:13  routes[0].policy: policy weighted chooses one model, it does not order a "
            "cascade\n"
            "    one of: declared, quality, cost, latency, balanced",
        ),
        (
            "accept: prediction.score >= 0.7",
            "accept: x\n    policy: round-robin",
            "flow.yaml:8:13  routes[0].policy: policy round-robin chooses one model, it does not order a "
            "cascade\n"
            "    one of: declared, quality, cost, latency, balanced",
        ),
        (
            "accept: prediction.score >= 0.7",
            "accept: x\n    policy: {balanced: {speed: 1}}",
            "flow.yaml:8:13  routes[0].policy: policy balanced weighs cost, latency and quality only",
        ),
        (
            "accept: prediction.score >= 0.7",
            "accept: x\n    policy: {balanced: {cost: 0}}",
            "flow.yaml:8:13  routes[0].policy: weights must not be negative, nor all zero",
        ),
        (
            "accept: prediction.score >= 0.7",
            "accept: x\n    policy: {cost: {a: 1}}",
            "flow.yaml:8:13  routes[0].policy: policy cost takes no weights\n    weighted and balanced do",
        ),
        (
            "accept: prediction.score >= 0.7",
            "accept: x\n    policy: {cost: 1}",
            "flow.yaml:8:13  routes[0].policy: expected a mapping, found 1",
        ),
        (
            "accept: prediction.score >= 0.7",
            "accept: x\n    policy: qualty",
            "flow.yaml:8:13  routes[0].policy: 'qualty' is not possible here\n    did you mean 'quality'?",
        ),
        (
            "use: c",
            "use: c\ninput: {uri: a, features: {a b: int, c: text}}",
            "flow.yaml:9:28  input.features.a b: 'a b' is not a column that a condition can name\n"
            "    use letters, digits and '_'; input.columns renames\n"
            "flow.yaml:9:41  input.features.c: 'text' is not possible here\n"
            "    one of: string, double, int, bool",
        ),
        (
            "use: c",
            "use: c\nparallelism: 0\nmatch: any\nlayout: wide",
            "flow.yaml:9:14  parallelism: must be greater than or equal to 1, found 0\n"
            "flow.yaml:10:8  match: 'any' is not possible here\n"
            "    one of: first, all\n"
            "flow.yaml:11:9  layout: 'wide' is not possible here\n"
            "    one of: expanded, compact",
        ),
        (
            "use: c",
            "use: c\nshard: {rows: 0, bytes: 1.5}",
            "flow.yaml:9:15  shard.rows: must be greater than or equal to 1, found 0\n"
            "flow.yaml:9:25  shard.bytes: 1.5 is not a size\n"
            "    write for example 500k, 64Mi or 1Gi",
        ),
        (
            "use: c",
            "use: c\nwindow: hourly",
            "flow.yaml:9:9  window: 'hourly' is not possible here\n    one of: none, interval",
        ),
        (
            "use: c",
            "use: c\ngateway: {connection: answers}",
            "flow.yaml:9:10  gateway: answers the one Airflow task of a compact Dag\n    write layout: compact",
        ),
        (
            "use: c",
            "use: c\nschedule: x",
            f"flow.yaml:9:1  schedule: 'schedule' is not a key here\n    {KNOWN}",
        ),
        (
            "use: c",
            "name: A B\n    use: c",
            "flow.yaml:8:11  routes[1].name: 'A B' is not a name\n"
            "    use lower-case letters, digits, '-', '_' and '.', at most 64, a letter or digit at both ends",
        ),
        (
            "use: c",
            "use: c\n    require: {max_cost: -1, quality: 3}",
            "flow.yaml:9:25  routes[1].require.max_cost: must be greater than or equal to 0, found -1\n"
            "flow.yaml:9:29  routes[1].require.quality: 'quality' is not a key here\n"
            "    did you mean 'min_quality'?",
        ),
        (
            "routes:\n",
            "routes: []\nlist:\n",
            "flow.yaml:4:9  routes: needs at least 1 entry, found 0\n"
            "flow.yaml:5:1  list: 'list' is not a key here\n"
            f"    {KNOWN}",
        ),
    ],
)
def test_what_is_wrong_with_a_workflow(
    before: str, after: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "flow.yaml"
    assert WORKFLOW.count(before) == 1
    path.write_text(WORKFLOW.replace(before, after))
    with pytest.raises(SpecError) as caught:
        load_workflow(path)
    assert str(caught.value) == message


def test_workflows_from_python_have_paths_without_places() -> None:
    with pytest.raises(SpecError) as caught:
        workflow([{"use": {"cascade": ["a", {"ensemble": ["b"], "quorum": 0}]}, "accept": 3}])
    assert str(caught.value) == (
        "<python>  routes[0].use.cascade[1].quorum: must be greater than or equal to 1, found 0\n"
        '<python>  routes[0].accept: expected text, found 3\n    put it in quotes: "3"'
    )
