"""A Dag run, against a hand-written Dag of as many Airflow tasks that do nothing, on the same Airflow.

One real Airflow (scheduler, Dag processor, API server, LocalExecutor, SQLite), started by
``scripts/airflow_server.py``.

Floor, expanded: six Airflow tasks of Python functions that do nothing, wired as the generated Dag is: a first one
that returns a list, a branch that takes every way, two that are mapped over the list, two that end. Floor, compact:
one such Airflow task. Subject: an ensemble of two models that look for words in a sentence, in this process: no model
that costs anything, yet every node reads, decides, commits and publishes.

Both are measured as the wheel installs it, and with ``airflow_agentic.preload`` in ``airflow_local_settings.py``, on an
Airflow each: the floor has that line, too.

Runs take turns, one at a time; a run's time is Airflow's own, from its start to its end. The figure is the median of
the pairs' ratios, with its interval.
"""

from __future__ import annotations

import shutil
import statistics
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.base import WORK, Pairs, Result
from scripts.airflow_server import AirflowServer

PAIRS: Final = 20
EXPANDED: Final = 1.10
COMPACT: Final = 1.25

DAGS: Final = '''\
"""Dags by hand (airflow)."""
from airflow.sdk import dag, task


@dag(schedule=None, dag_id="hand-compact", catchup=False)
def compact():
    @task
    def workflow():
        return {}

    workflow()


@dag(schedule=None, dag_id="hand-expanded", catchup=False)
def expanded():
    @task
    def preprocess():
        return [0]

    @task.branch
    def route():
        return ["one", "two"]

    @task
    def one(unit):
        return unit

    @task
    def two(unit):
        return unit

    @task
    def aggregate():
        return {}

    @task
    def publish():
        return {}

    start = preprocess()
    models = [one.expand(unit=start), two.expand(unit=start)]
    start >> route() >> models >> aggregate() >> publish()


compact()
expanded()
'''
AGENTIC: Final = '''\
"""Workflows to Dags (airflow)."""
from airflow_agentic import load_workflows

load_workflows("workflows")
'''
WORKFLOW: Final = """\
apiVersion: airflow-agentic/v1
kind: Workflow
name: agentic-{layout}
layout: {layout}
input: ../inbox.jsonl
routes:
  - use: {{ensemble: [one, two]}}
"""
CARD: Final = """\
apiVersion: airflow-agentic/v1
kind: Model
name: {name}
version: "1"
task: text-analysis
input: text
output: {{classes: [negative, positive]}}
runtime: {{framework: python, handler: "airflow_agentic.contrib.rules:KeywordSentiment", args: {args}}}
isolation: inline
"""
PRELOAD: Final = "import airflow_agentic.preload\n"
WORDS: Final = '{positive: ["good"], negative: ["bad"]}'


def run() -> list[Result]:
    """Both layouts, as installed and with what task processes need loaded before."""
    return [*measured(preload=False), *measured(preload=True)]


def measured(*, preload: bool) -> list[Result]:
    """Both layouts on one Airflow."""
    settings = {
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",  # or it parses in the middle of a run
        "AIRFLOW__AGENTIC__PLAN_CACHE": str(WORK / "airflow-plans"),
    }
    home = WORK / "airflow-runs"
    shutil.rmtree(home, ignore_errors=True)
    (home / "config").mkdir(parents=True)
    if preload:
        (home / "config" / "airflow_local_settings.py").write_text(PRELOAD)
    with AirflowServer(home=home, dags=project(WORK / "airflow-dags"), settings=settings, keep=True) as server:
        for layout in ("expanded", "compact"):
            for side in ("hand", "agentic"):
                server.wait_dag(f"{side}-{layout}")
        how = ", preloaded" if preload else ""
        return [
            measure(server, "expanded", how=how, goal=EXPANDED, count=PAIRS),
            measure(server, "compact", how=how, goal=COMPACT, count=PAIRS),
        ]


def measure(server: AirflowServer, layout: str, *, how: str, goal: float, count: int) -> Result:
    """The ratio of one layout, after a run of each that is not counted; ``how`` ends the row's name."""
    times: dict[str, list[float]] = {"hand": [], "agentic": []}
    for turn in range(-1, count):
        for side in times if turn % 2 else reversed(times):
            took = seconds(server, f"{side}-{layout}")
            if turn >= 0:
                times[side].append(took)
    pairs = Pairs(floor=times["hand"], subject=times["agentic"])
    low, high = pairs.interval()
    return Result(
        name=f"a Dag run, {layout}, no-op models{how}",
        value=round(statistics.median(pairs.subject), 2),
        unit="s",
        floor=round(statistics.median(pairs.floor), 2),
        ratio=round(pairs.ratio, 3),
        goal=f"≤ {goal:.2f}× a hand-written Dag of as many Airflow tasks",
        met=pairs.ratio <= goal,
        note=f"median of {count} pairs, 95 % interval {low:.3f} to {high:.3f}",
    )


def seconds(server: AirflowServer, dag_id: str) -> float:
    """One run, from its start to its end."""
    run_id = server.trigger(dag_id)
    found = server.wait_run(dag_id, run_id)
    if found["state"] != "success":
        raise RuntimeError(f"run {run_id} of {dag_id} is {found['state']}: {server.tasks(dag_id, run_id)}")
    start, end = (_time(found[name]) for name in ("start_date", "end_date"))
    return (end - start).total_seconds()


def _time(text: Any) -> datetime:
    return datetime.fromisoformat(str(text))


def project(folder: Path) -> Path:
    """The Dags folder."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("models", "workflows"):
        (folder / name).mkdir(parents=True)
    (folder / "hand.py").write_text(DAGS)
    (folder / "agentic.py").write_text(AGENTIC)
    (folder / "inbox.jsonl").write_text('{"id": "a", "text": "a good day"}\n{"id": "b", "text": "a bad day"}\n')
    (folder / ".airflowignore").write_text("models/\nworkflows/\n")
    for name in ("one", "two"):
        (folder / "models" / f"{name}.yaml").write_text(CARD.format(name=name, args=WORDS))
    for layout in ("expanded", "compact"):
        (folder / "workflows" / f"{layout}.yaml").write_text(WORKFLOW.format(layout=layout))
    return folder
