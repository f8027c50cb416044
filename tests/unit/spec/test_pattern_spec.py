"""Patterns: every message about what is wrong with one by itself, before any card is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_agentic.exceptions import SpecError
from airflow_agentic.spec import load_workflow

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """\
apiVersion: airflow-agentic/v1
kind: Workflow
name: demo
routes:
  - when: record.task == "x"
    use: {cascade: [a, b]}
    accept: prediction.score >= 0.7
"""


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (
            "{ensemble: [a, b], aggregate: stack}",
            "flow.yaml:8:40  routes[1].use.aggregate: aggregate stack needs a model, and only it\n"
            "    write aggregate: {stack: MODEL}",
        ),
        (
            "{ensemble: [a, b], aggregate: handler}",
            "flow.yaml:8:40  routes[1].use.aggregate: aggregate handler needs a handler, and only it\n"
            "    write aggregate: {handler: pkg.mod:function}",
        ),
        (
            "{ensemble: [a, b], aggregate: first-accepted}",
            "flow.yaml:8:40  routes[1].use.aggregate: first-accepted is what a cascade does\n"
            "    write cascade: [...] with accept:",
        ),
        (
            "{ensemble: [a, b], aggregate: {mean: {a: 1}}}",
            "flow.yaml:8:40  routes[1].use.aggregate: aggregate mean takes no weights\n"
            "    weighted-vote and weighted-mean do",
        ),
        (
            "{ensemble: [a, b], aggregate: {weighted-vote: {a: -1}}}",
            "flow.yaml:8:40  routes[1].use.aggregate: weights must not be negative, nor all zero",
        ),
        (
            "{ensemble: [a, b], aggregate: mode}",
            "flow.yaml:8:40  routes[1].use.aggregate: 'mode' is not possible here\n"
            "    one of: first-accepted, best-score, majority-vote, weighted-vote, mean, weighted-mean, "
            "median, merge, stack, handler",
        ),
        (
            "{ensemble: [a, b], aggregate: {mode: 1}}",
            "flow.yaml:8:40  routes[1].use.aggregate: 'mode' is not possible here\n"
            "    one of: first-accepted, best-score, majority-vote, weighted-vote, mean, weighted-mean, "
            "median, merge, stack, handler\n"
            "flow.yaml:8:40  routes[1].use.aggregate: expected a mapping, found 1",
        ),
        (
            "{ensemble: [a, b], deadline: soon, quorum: 0}",
            "flow.yaml:8:39  routes[1].use.deadline: 'soon' is not a duration\n"
            "    write for example 200ms, 30s, 5m, 12h, 7d or 4w\n"
            "flow.yaml:8:53  routes[1].use.quorum: must be greater than or equal to 1, found 0",
        ),
        (
            "{ensemble: [a, b], accept: x}",
            "flow.yaml:8:37  routes[1].use.accept: accept does not belong to ensemble\n    it belongs to: cascade",
        ),
        (
            "{chain: [a]}",
            "flow.yaml:8:18  routes[1].use.chain: needs at least 2 entries, found 1",
        ),
        (
            "{chain: [a, {input: x}]}",
            "flow.yaml:8:22  routes[1].use.chain[1].use: is required",
        ),
        (
            "{chain: [a, {use: b, input: [x]}]}",
            "flow.yaml:8:38  routes[1].use.chain[1].input: expected text or a mapping, found a list",
        ),
        (
            "{split: {arms: [{use: a, weight: 0}, {use: b}]}}",
            "flow.yaml:8:43  routes[1].use.split.arms[0].weight: must be greater than 0, found 0\n"
            "flow.yaml:8:47  routes[1].use.split.arms[1].weight: is required",
        ),
        (
            "{split: {arms: [a, b]}}",
            "flow.yaml:8:26  routes[1].use.split.arms[0]: expected a mapping, found 'a'\n"
            "flow.yaml:8:29  routes[1].use.split.arms[1]: expected a mapping, found 'b'",
        ),
        (
            "{shadow: {primary: a}}",
            "flow.yaml:8:19  routes[1].use.shadow.shadows: is required",
        ),
        (
            "{shadow: {primary: a, shadows: [], fraction: 2}}",
            "flow.yaml:8:41  routes[1].use.shadow.shadows: needs at least 1 entry, found 0\n"
            "flow.yaml:8:55  routes[1].use.shadow.fraction: must be less than or equal to 1, found 2",
        ),
        (
            "{rules: []}",
            "flow.yaml:8:18  routes[1].use.rules: needs at least 1 entry, found 0",
        ),
        (
            "{rules: [{use: a}, {when: x, use: b}]}",
            "flow.yaml:8:29  routes[1].use.rules[1]: is unreachable: rules[0] has no condition\n    put rules[0] last",
        ),
        (
            "{rules: [{when: x}]}",
            "flow.yaml:8:19  routes[1].use.rules[0].use: is required",
        ),
    ],
)
def test_what_is_wrong_with_a_pattern_by_itself(
    use: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "flow.yaml"
    path.write_text(f"{HEAD}  - use: {use}\n")
    with pytest.raises(SpecError) as caught:
        load_workflow(path)
    assert str(caught.value) == message
