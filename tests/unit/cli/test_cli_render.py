"""Lines, tables and summaries."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_agentic import tables
from airflow_agentic.cli.outputs import Screen
from airflow_agentic.cli.progress import Progress, progress
from airflow_agentic.cli.render import Lines, Summary, aligned, record_name
from airflow_agentic.coordinator import ModelPool
from airflow_agentic.pipeline.inputs import inline_records
from airflow_agentic.plan import Plan
from airflow_agentic.project import Project


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def plan(project: Path) -> Plan:
    return Project(project).workflow("sentiment").plan


def answer(**values: Any) -> dict[str, Any]:
    given = {"record_id": "r", "task": "t", "degraded": False, "cost": 0.0, "calls": 1, "predictions": [], **values}
    (row,) = tables.table([given], tables.ANSWER).to_pylist()
    return dict(row)


def line(plan: Plan, **values: Any) -> Any:
    answers = tables.table([answer(**values)], tables.ANSWER)
    return next(Lines(plan).of(inline_records(["text"]), answers))


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({"label": "cat", "score": 0.876}, ("cat", "0.88")),
        ({"value": 12.34567891}, ("12.3457", "")),
        ({"output": "[0.1, 0.2]"}, ("[0.1, 0.2]", "")),
        ({"output": f"[{', '.join('0.5' for _ in range(384))}]"}, ("[384 numbers]", "")),
        ({"output": '{"total": 3, "text": "é"}'}, ('{"total": 3, "text": "é"}', "")),
        ({"label": "cat", "score": 0.9, "error": tables.error("lost", "gone")}, ("no answer", "")),
    ],
)
def test_what_kinds_of_answers_look_like(plan: Plan, values: dict[str, Any], shown: tuple[str, str]) -> None:
    made = line(plan, model="m", **values)
    assert (made.answer, made.score) == shown


@pytest.mark.parametrize(
    ("milliseconds", "shown"), [(None, ""), (0.04, "0.0 ms"), (9.96, "10.0 ms"), (31.4, "31 ms"), (12_345.0, "12.3 s")]
)
def test_times(plan: Plan, milliseconds: float | None, shown: str) -> None:
    assert line(plan, label="a", latency_ms=milliseconds).latency == shown


def test_the_members_of_an_ensemble_are_listed(plan: Plan) -> None:
    members = [
        {"model": "a", "label": "good", "score": 0.81, "used": True},
        {"model": "b", "value": 3.0, "used": True},
        {"model": "c", "error": "timeout", "used": False},
    ]
    made = line(plan, label="good", model="ensemble(a, b, c)", degraded=True, predictions=members)
    assert made.note == "a good 0.81, b 3.0, c failed (timeout); degraded"


@pytest.mark.parametrize(
    ("reason", "note"),
    [
        ("always", ""),
        ("always; a was unsure (0.42, not prediction.score >= 0.7), asked b", "a was unsure (0.42 < 0.70), asked b"),
        ("always; a was unsure (0.42, not prediction.score > 0.42)", "a was unsure (0.42 ≤ 0.42)"),
        (
            "always; a was unsure (0.70, not prediction.score >= 0.7)",
            "a was unsure (0.70, not prediction.score >= 0.7)",
        ),
        ("always; a was unsure (0.70, not record.n > 2)", "a was unsure (0.70, not record.n > 2)"),
    ],
)
def test_the_reason_without_what_is_always_true(plan: Plan, reason: str, note: str) -> None:
    predictions = [{"model": "b", "label": "x", "used": True}]
    assert line(plan, label="x", model="b", predictions=predictions, route={"reason": reason}).note == note


def test_names_of_records() -> None:
    def named(**given: str) -> str:
        return record_name({"kind": "text", "text": None, "uri": None, **given}, "id7")

    assert named(kind="uri", uri="/data/in/cat.jpg") == "cat.jpg"
    assert named(text="two\nlines") == "two lines"
    assert named(text="x" * 60) == "x" * 47 + "…"
    assert named(kind="bytes") == "id7"
    assert record_name(None, "id7") == "id7"


def test_columns_are_aligned_by_what_a_terminal_shows() -> None:
    assert aligned([("日本", "", "a"), ("x", "", "b")]) == ["日本   a", "x      b"]
    assert aligned([]) == []


def test_the_summary_adds_up() -> None:
    summary = Summary()
    rows = [
        answer(label="a", model="m", cost=0.5, calls=2, degraded=True),
        answer(error=tables.error("lost", "gone")),
        answer(error=tables.error("late", "gone")),
    ]
    for _ in range(2):
        summary.add(tables.table(rows, tables.ANSWER))
    assert (
        summary.text(12.5) == "6 records in 12.5 s: 4 without an answer (lost 2, late 2), 2 degraded, 8 calls, cost 1"
    )
    assert (summary.failed, summary.exit_code, dict(summary.models)) == (4, 1, {"m": 2})
    assert Summary().exit_code == 0


@pytest.mark.parametrize(("codes", "code"), [(["all_unhealthy"], 4), (["model_failed", "bad_record"], 1), ([], 0)])
def test_the_exit_code_of_a_run(codes: list[str], code: int) -> None:
    summary = Summary()
    rows = [answer(error=tables.error(code, "gone")) for code in codes] or [answer(label="a")]
    summary.add(tables.table(rows, tables.ANSWER))
    assert summary.exit_code == code


def shown_on_a_terminal(plan: Plan, monkeypatch: pytest.MonkeyPatch, batches: list[int]) -> str:
    stdout = Terminal()
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Screen(plan)
    for rows in batches:
        records = inline_records([f"text {row}" for row in range(rows)])
        answers = tables.table([answer(label="good", score=0.9, model="m") for _ in range(rows)], tables.ANSWER)
        screen.write(records, answers)
    screen.close(complete=True)
    return stdout.getvalue()


def test_few_answers_are_lines(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown_on_a_terminal(plan, monkeypatch, [1, 1]).splitlines() == ["text 0   good   0.90   m"] * 2


def test_many_answers_are_a_table_of_the_first(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown_on_a_terminal(plan, monkeypatch, [20, 20, 7]).rstrip().splitlines()
    assert [line.split() for line in lines[1:2]] == [["record", "answer", "score", "model"]]
    assert sum("good" in line for line in lines) == 25
    assert lines[-1] == "… and 22 more: see all with --output FILE or --json"


def test_the_bar_counts_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for stderr in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stderr)
        pool = SimpleNamespace(load={"slow": 1, "quick": 0}, loaded=())
        with progress(pool) as bar:  # type: ignore[arg-type]  # the two properties that it reads
            bar.read(10, last=False)
            bar.answered(10, 2)
            bar.read(5, last=True)
        assert (type(bar) is Progress) == (not stderr.isatty())
        assert ("loading slow" in stderr.getvalue()) == stderr.isatty()
        assert ("10/15" in stderr.getvalue()) == stderr.isatty()
    assert ModelPool().loaded == ()
