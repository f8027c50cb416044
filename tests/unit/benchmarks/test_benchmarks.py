"""The benchmarks import, and what they report has its shape. Their times are nobody's assertion."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from airflow_agentic.dagbuilder.load import load_workflows
from benchmarks import base, dags, memory, report, routing
from benchmarks.__main__ import ASKED_FOR, BENCHMARKS, main
from benchmarks.base import Pairs, Result

if TYPE_CHECKING:
    from pathlib import Path

RESULT = Result(name="a | b", value=2.0, unit="s", floor=1.0, ratio=2.0, goal="≤ 1.5×", met=False, note="why")


@pytest.mark.parametrize("name", [*BENCHMARKS, *ASKED_FOR])
def test_a_benchmark_says_what_its_floor_is(name: str) -> None:
    module = import_module(f"benchmarks.{name}")

    assert callable(module.run)
    assert any(word in str(module.__doc__) for word in ("Floor", "Peer", "no floor"))


def test_a_result_is_a_line_with_the_keys_that_are_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "RESULTS", tmp_path / "results.jsonl")

    RESULT.record()

    line = json.loads((tmp_path / "results.jsonl").read_text())
    assert {"name", "value", "unit", "floor", "ratio", "goal", "met"} <= line.keys()
    assert Result(**line) == RESULT == Result(**asdict(RESULT))


def test_routing_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "ROWS", 100)

    (result,) = routing.run()

    assert (result.name, result.unit) == ("routing 100 records over 20 models", "records/s")
    assert result.value > 0


def test_the_dags_by_hand_are_those_of_the_workflows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dags, "CARDS", 3)
    monkeypatch.setenv(dags.SETTING, "off")
    dags.write(tmp_path, 2)

    made = load_workflows(tmp_path / "workflows")

    dags.check_same(dags.by_hand(tmp_path / "workflows")(), made)
    made["wf-0001"].tags.add("more")
    with pytest.raises(AssertionError, match="the Dag by hand is not that of load_workflows"):
        dags.check_same(dags.by_hand(tmp_path / "workflows")(), made)
    for name in ("wf-0000", "wf-0001"):
        del globals()[f"dag {name}"]


def test_memory_is_measured_against_all_that_is_made() -> None:
    result = memory.measure(500)

    assert (result.name, result.unit) == ("memory of a 500-record batch through route and aggregate", "MB")


def test_pairs_know_their_ratio_and_its_interval() -> None:
    pairs = Pairs(floor=[1.0] * 20, subject=[1.0 + number / 100 for number in range(20)])

    assert pairs.ratio == pytest.approx(1.095)
    assert pairs.interval() == pytest.approx((1.05, 1.14))


def test_the_table_and_the_page_say_what_is_not_met(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")

    for name in ("dags", "pick", "dags"):
        report.write({name: [RESULT]}, "A machine.", "abc1234", page)

    found = page.read_text().splitlines()
    row = "| a \\| b | 2 s | 1 | 2 | ≤ 1.5× | **no** | why | abc1234 | `make bench BENCH={}` |"
    assert found[:4] == ["before", report.BEGIN, "", "A machine."]
    assert found[-5:] == [row.format("pick"), row.format("dags"), "", report.END, "after"]
    assert found.count(row.format("dags")) == 1
    assert "old" not in found
    console = Console(record=True, width=200)
    console.print(report.table([RESULT]))
    assert "≤ 1.5×" in console.export_text()


def test_an_unknown_benchmark_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["nothing"])

    assert "there is no benchmark 'nothing'; there are: imports, pick, " in capsys.readouterr().err
