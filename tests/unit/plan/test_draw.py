"""Plans as pictures, compared whole."""

from __future__ import annotations

import pytest
from builders import card, cards, compiled, workflow

from airflow_agentic.plan import Plan, compile_plan
from airflow_agentic.plan.draw import dot, mermaid, terminal
from airflow_agentic.registry import Registry

TABULAR = {"framework": "onnx", "artifact": "x", "tabular": {"columns": ["a.positive"]}}
ONE = "preprocess ─ route ─ main ─ {} ─ aggregate ─ publish"


def inbox() -> Plan:
    cascade = {"cascade": ["a", "b"], "accept": 'prediction.label != "x"'}
    routes = [
        {"name": "photos", "when": "record.kind == 'image'", "use": cascade},
        {"name": "texts", "when": "record.kind == 'text'", "use": {"ensemble": ["a", "b", "c"]}, "quorum": 2},
        {"name": "rest", "use": "c"},
    ]
    return compile_plan(workflow(routes), Registry.of(*cards("a", "b", "c")))


def test_terminal() -> None:
    assert terminal(inbox()).splitlines() == [
        'preprocess ─ route ─┬─ photos ─ a ─ gate (prediction.label != "x") ─ b ─┬─ aggregate ─ publish',
        "                    ├─ texts ─ a, b, c (majority-vote, 2 of 3) ─────────┤",
        "                    └─ rest ─ c ────────────────────────────────────────┘",
    ]


@pytest.mark.parametrize(
    ("use", "line"),
    [
        ("a", "a"),
        ({"model": "a", "require": {"max_cost": 1}}, "a"),
        ({"single": ["a", "b"]}, "one of (a, b)"),
        ({"fallback": ["a", "b", "c"]}, "a ─ gate (no error) ─ b ─ gate (no error) ─ c"),
        (
            {"cascade": ["a", {"ensemble": ["b", "c"]}], "accept": "prediction.score >= 0.5\n  && true\n"},
            "a ─ gate (prediction.score >= 0.5 && true) ─ b, c (majority-vote, 1 of 2)",
        ),
        ({"chain": ["a", {"use": "b", "input": "prediction.label"}, "c"]}, "a ─ then ─ b ─ then ─ c"),
        ({"split": {"arms": [{"use": "a", "weight": 1}, {"use": "b", "weight": 1}]}}, "one of (a, b)"),
        ({"shadow": {"primary": "a", "shadows": ["b", "c"]}}, "a (shadow: b, c)"),
        ({"rules": [{"when": "record.kind == 'text'", "use": "a"}, {"use": "b"}]}, "one of (a, b)"),
        ({"ensemble": ["a", "b"], "aggregate": {"stack": "meta"}, "quorum": 2}, "a, b (stack, 2 of 2) ─ meta"),
        (
            {"ensemble": ["a", {"shadow": {"primary": "b", "shadows": ["c"]}}], "aggregate": "mean"},
            "a, b (shadow: c) (mean, 1 of 2)",
        ),
    ],
)
def test_terminal_of_each_pattern(use: object, line: str) -> None:
    meta = card("meta", input="tabular", runtime=TABULAR)
    assert terminal(compiled(use, *cards("a", "b", "c"), meta)) == ONE.format(line)


def test_terminal_of_match_all_default_and_fallback() -> None:
    routes = [
        {"name": "one", "when": "record.kind == 'text'", "use": {"single": ["a", "b"]}},
        {"name": "two", "when": "record.kind == 'uri'", "use": {"chain": ["a", "b"]}},
    ]
    plan = compile_plan(
        workflow(routes, match="all", default="c", on_error="fallback", fallback="c"),
        Registry.of(*cards("a", "b", "c")),
    )
    assert terminal(plan).splitlines() == [
        "preprocess ─ route ─┬─ one ─ one of (a, b) ─ else c ─┬─ aggregate ─ publish",
        "                    ├─ two ─ a ─ then ─ b ─ else c ──┤",
        "                    └─ default ─ c ─ else c ─────────┘",
    ]


def test_mermaid() -> None:
    assert mermaid(inbox()) == (
        "flowchart LR\n"
        '  n0["preprocess"]\n'
        '  n1{"route"}\n'
        '  n2("a")\n'
        "  n3{\"gate: prediction.label != 'x'\"}\n"
        '  n4("b")\n'
        '  n5("a")\n'
        '  n6("b")\n'
        '  n7("c")\n'
        '  n8("c")\n'
        '  n9["aggregate"]\n'
        '  n10["publish"]\n'
        "  n0 --> n1\n"
        "  n1 --> n2\n"
        "  n2 --> n3\n"
        "  n3 --> n4\n"
        "  n1 --> n5\n"
        "  n1 --> n6\n"
        "  n1 --> n7\n"
        "  n1 --> n8\n"
        "  n4 --> n9\n"
        "  n5 --> n9\n"
        "  n6 --> n9\n"
        "  n7 --> n9\n"
        "  n8 --> n9\n"
        "  n9 --> n10\n"
    )


def test_dot() -> None:
    use = {"cascade": ["a", "b"], "accept": r'prediction.label.matches("\\d+")'}
    assert dot(compiled(use, *cards("a", "b"))) == (
        "digraph plan {\n"
        "  rankdir=LR;\n"
        "  node [shape=box];\n"
        '  "preprocess" [label="preprocess"];\n'
        '  "route" [label="route"];\n'
        '  "main.a" [label="a"];\n'
        '  "main.gate-a" [label="gate: prediction.label.matches(\'\\\\\\\\d+\')"];\n'
        '  "main.b" [label="b"];\n'
        '  "aggregate" [label="aggregate"];\n'
        '  "publish" [label="publish"];\n'
        '  "preprocess" -> "route";\n'
        '  "route" -> "main.a";\n'
        '  "main.a" -> "main.gate-a";\n'
        '  "main.gate-a" -> "main.b";\n'
        '  "main.b" -> "aggregate";\n'
        '  "aggregate" -> "publish";\n'
        "}\n"
    )
