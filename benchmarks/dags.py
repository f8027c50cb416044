"""Building the Dags of a thousand workflows, and the one Dag that a task process asks for.

Floor: the same Dags written by hand in one Python file: for each a ``DAG`` with the same parameters of the trigger
form, documentation, tags and default arguments, the same operators, task groups and edges. What a workflow's
compilation finds out is a literal there: the plan object, texts and node ids are given to it ready-made. That both
make the same is checked: their serialized forms are equal.

Subject: ``load_workflows`` over the folder, with an empty plan cache (*cold*: it reads and compiles everything and
fills the cache) and with a filled one (*cached*), in turns. The folder has a hundred model cards, three of which each
workflow uses. Times are CPU seconds of this one process. *One Dag* is what a task process does: ``load_workflows``
under the parsing context of one Dag.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from benchmarks.base import WORK, Result, in_python, timed

WORKFLOWS: Final = 1000
CARDS: Final = 100
RUNS: Final = 3
CHECKED: Final = 10
ONE_RUNS: Final = 15
COLD: Final = 1.5
CACHED: Final = 1.15
FASTER: Final = 50.0
CONTEXT: Final = "_AIRFLOW_PARSING_CONTEXT_DAG_ID"
SETTING: Final = "AIRFLOW__AGENTIC__PLAN_CACHE"

CARD: Final = """\
apiVersion: airflow-agentic/v1
kind: Model
name: {name}
version: "1"
task: text-analysis
input: text
output: {{classes: [negative, positive]}}
capabilities: {{languages: [en]}}
runtime: {{framework: python, handler: "airflow_agentic.contrib.rules:KeywordSentiment"}}
profile: {{cost_per_1k: {cost}, latency_ms: {latency}, quality: 0.8}}
isolation: inline
"""
WORKFLOW: Final = """\
apiVersion: airflow-agentic/v1
kind: Workflow
name: {name}
description: Sentiment of an inbox.
dag: {{schedule: "@daily", start_date: 2026-01-01}}
task: {{retries: 2}}
input: data/inbox.jsonl
preprocess: [normalize_text, {{validate: {{max_chars: 5000}}}}]
routes:
  - name: text
    when: record.task == "text-analysis"
    use: {{cascade: [{first}, {second}]}}
    accept: prediction.score >= 0.8
  - name: rest
    use: {third}
"""


def run() -> list[Result]:
    """Ratios to the Dags by hand; how much faster one Dag is than all."""
    return [Result(**found) for found in in_python("benchmarks.dags", str(WORKFLOWS), str(RUNS))]


def measure(workflows: int, runs: int) -> list[Result]:
    """In this process, whose Airflow reads ``AIRFLOW_HOME``."""
    WORK.mkdir(exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="dags-", dir=WORK))
    try:
        write(root, workflows)
        return _measured(root, runs)
    finally:
        shutil.rmtree(root)


def write(root: Path, workflows: int) -> None:
    """The project."""
    for name in ("models", "workflows"):
        (root / name).mkdir(parents=True)
    for number in range(CARDS):
        text = CARD.format(name=f"model-{number:04}", cost=1 + number / 10, latency=2 + number)
        (root / "models" / f"model-{number:04}.yaml").write_text(text)
    for number in range(workflows):
        models = (f"model-{(number * 3 + place) % CARDS:04}" for place in range(3))
        text = WORKFLOW.format(name=f"wf-{number:04}", **dict(zip(("first", "second", "third"), models, strict=True)))
        (root / "workflows" / f"wf-{number:04}.yaml").write_text(text)


def _measured(root: Path, runs: int) -> list[Result]:
    from airflow_agentic.dagbuilder.load import load_workflows

    folder = root / "workflows"
    plans = root / "plans"
    hand = by_hand(folder)
    os.environ[SETTING] = str(plans)

    def cold() -> None:
        shutil.rmtree(plans, ignore_errors=True)
        load_workflows(folder)

    works: dict[str, Callable[[], object]] = {"hand": hand, "cold": cold, "cached": lambda: load_workflows(folder)}
    check_same(hand(), dict(list(load_workflows(folder).items())[:CHECKED]))
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(runs):
        for name in [*works][turn % 3 :] + [*works][: turn % 3]:
            if name == "cached":
                load_workflows(folder)
            times[name].append(timed(works[name], clock=time.process_time))
    return [*_ratios(times), *_one(folder, times)]


def _ratios(times: Mapping[str, list[float]]) -> list[Result]:
    found = []
    for kind, goal in (("cold", COLD), ("cached", CACHED)):
        ratio = statistics.median(ours / hand for ours, hand in zip(times[kind], times["hand"], strict=True))
        found.append(
            Result(
                name=f"building {WORKFLOWS:,} workflows' Dags, {'plan cache filled' if kind == 'cached' else kind}",
                value=round(statistics.median(times[kind]), 2),
                unit="s",
                floor=round(statistics.median(times["hand"]), 2),
                ratio=round(ratio, 3),
                goal=f"≤ {goal:g}× the same Dags by hand",
                met=ratio <= goal,
            )
        )
    return found


def _one(folder: Path, times: Mapping[str, list[float]]) -> list[Result]:
    from airflow_agentic.dagbuilder.load import load_workflows

    os.environ[CONTEXT] = sorted(path.stem for path in folder.iterdir())[-1]
    found = []
    try:
        for kind in ("cold", "cached"):
            os.environ[SETTING] = "off" if kind == "cold" else str(folder.parent / "plans")
            load_workflows(folder)
            one = statistics.median(
                timed(lambda: load_workflows(folder), clock=time.process_time) for _ in range(ONE_RUNS)
            )
            faster = statistics.median(times[kind]) / one
            found.append(
                Result(
                    name=f"one Dag for a task process, {'plan cache filled' if kind == 'cached' else 'no plan cache'}",
                    value=round(one * 1000.0, 1),
                    unit="ms",
                    floor=round(statistics.median(times[kind]) * 1000.0),
                    ratio=round(1.0 / faster, 4),
                    goal=f"≥ {FASTER:g}× faster than all {WORKFLOWS:,}",
                    met=faster >= FASTER,
                    note=f"{faster:.0f}× faster",
                )
            )
    finally:
        del os.environ[CONTEXT]
    return found


def by_hand(folder: Path) -> Callable[[], dict[str, Any]]:
    """A function that makes the Dags of ``folder`` without reading or compiling a workflow."""
    import pendulum
    from airflow.sdk import DAG, TaskGroup, TriggerRule

    from airflow_agentic.artifacts.digests import digest
    from airflow_agentic.dagbuilder.assets import asset_of
    from airflow_agentic.dagbuilder.build import document
    from airflow_agentic.operators import (
        AggregateOperator,
        GateOperator,
        LocalInferenceOperator,
        PreprocessOperator,
        PublishOperator,
        RouteOperator,
    )
    from airflow_agentic.project import Project

    project = Project(folder.parent)
    literals = []
    for path in project.files:
        workflow = project.load(path)
        plan, spec = workflow.plan, workflow.spec
        models = [node.model for node in plan.nodes if node.kind == "infer"]
        literals.append((spec.name, models, plan, spec.input, digest(plan.topology), document(spec, plan)))
    base = str(folder.resolve())

    def dag_of(name: str, models: list[str], plan: Any, given: Any, topology: str, text: str) -> Any:
        first, second, third = models
        with DAG(
            dag_id=name,
            schedule="@daily",
            start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
            catchup=False,
            description="Sentiment of an inbox.",
            tags=["airflow-agentic"],
            params=_params(),
            default_args={"retries": 2},
            doc_md=text,
        ) as dag:
            start = PreprocessOperator(task_id="preprocess", plan=plan, input=given, base=base)
            route = RouteOperator(task_id="route", node="route", topology=topology)
            group = TaskGroup(group_id="text")
            rest = TaskGroup(group_id="rest")

            def model(group: Any, group_id: str, name: str) -> Any:
                return LocalInferenceOperator.partial(
                    task_id=name,
                    node=f"{group_id}.{name}",
                    topology=topology,
                    task_group=group,
                    map_index_template="unit {{ task.unit.unit }}",
                ).expand(unit=start.output)

            one = model(group, "text", first)
            gate = GateOperator(
                task_id=f"gate-{first}",
                node=f"text.gate-{first}",
                topology=topology,
                task_group=group,
                trigger_rule=TriggerRule.ALL_DONE,
            )
            two, three = model(group, "text", second), model(rest, "rest", third)
            aggregate = AggregateOperator(
                task_id="aggregate", node="aggregate", topology=topology, trigger_rule=TriggerRule.ALL_DONE
            )
            publish = PublishOperator(task_id="publish", node="publish", topology=topology, outlets=[asset_of(name)])
            start >> route >> [one, three]
            one >> gate >> two
            [two, three] >> aggregate >> publish
        return dag

    return lambda: {literal[0]: dag_of(*literal) for literal in literals}


def _params() -> dict[str, Any]:
    from airflow.sdk import Param

    shown = {"keep": "keep them as error rows", "dead_letter": "also write them to a folder of their own"}
    return {
        "text": Param(
            None,
            type=["null", "string"],
            format="multiline",
            title="Text to answer",
            description="One record a line, instead of the workflow's input.",
        ),
        "task": Param(
            None,
            type=["null", "string"],
            enum=[None, "text-analysis"],
            values_display={"None": "not stated", "text-analysis": "text-analysis"},
            title="Task of that text",
            description="What the models shall do with it; routes look at record.task.",
        ),
        "uri": Param(
            None,
            type=["null", "string"],
            title="File, folder or URI",
            description="Read this instead of data/inbox.jsonl.",
        ),
        "limit": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            maximum=1_000_000_000,
            title="At most this many records",
            description="Empty: all of them.",
        ),
        "records": Param(
            None,
            type=["null", "array"],
            items={"type": ["string", "object"]},
            maxItems=1000,
            title="Records as JSON",
            description="Texts, and objects with one of text, uri, bytes (base64) or input; also record_id, task, and "
            "feature columns. Instead of the workflow's input.",
            section="Records",
        ),
        "on_error": Param(
            "keep",
            type="string",
            enum=["keep", "dead_letter", "fail"],
            values_display={**shown, "fail": "fail the run"},
            title="Records without an answer",
            description="Where the run fails, all answers are committed first.",
            section="Behaviour",
        ),
        "recompute": Param(
            False,
            type="boolean",
            title="Compute everything again",
            description="Reuse nothing when this run's Airflow tasks are cleared.",
            section="Behaviour",
        ),
    }


def check_same(hand: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Both make the same Dags, as Airflow serializes them.

    :raises AssertionError: they do not.
    """
    from airflow.serialization.serialized_objects import DagSerialization

    for name in ours:
        one, other = (json.dumps(_plain(DagSerialization.to_dict(dags[name])), sort_keys=True) for dags in (hand, ours))
        if one != other:
            raise AssertionError(f"the Dag by hand is not that of load_workflows:\n{one}\n{other}")


def _plain(value: Any) -> Any:
    """Without the file, which is this one for the Dags by hand; lists that are sets sorted."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key not in {"fileloc", "relative_fileloc"}}
    return [_plain(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    print(json.dumps([asdict(result) for result in measure(int(sys.argv[1]), int(sys.argv[2]))]))
