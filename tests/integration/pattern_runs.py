"""Run every pattern and every loss as a Dag and through the Coordinator; write what came of it as JSON.

``python pattern_runs.py FOLDER``, in a process of its own: Airflow reads its configuration once.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml
from pattern_cases import CASES, NO_ROUTE, SHARD, Case, cards, records, variants

if TYPE_CHECKING:
    from airflow.sdk import DAG, BaseOperator

HANDLERS = ["pattern_models"]
FAILURES: list[tuple[str, str]] = []


def record_failure(context: Any) -> None:
    """The Dags' ``on_failure_callback``."""
    FAILURES.append((context["ti"].task_id, str(context["exception"])))


def write_project(folder: Path) -> None:
    """One workflow, one input and one folder of cards for each case and variant."""
    for case in CASES:
        for variant in variants(case):
            name = f"{case.name}.{variant}"
            write(folder / "workflows" / f"{name}.yaml", workflow(case, name))
            for model, card in cards(case, variant).items():
                head = {"apiVersion": "airflow-agentic/v1", "kind": "Model", "name": model, "version": "1"}
                write(folder / "cards" / name / f"{model}.yaml", {**head, **card})
        lines = [json.dumps(row) + "\n" for row in records(case)]
        (folder / f"{case.name}.jsonl").write_text("".join(lines))


def workflow(case: Case, name: str) -> dict[str, Any]:
    """The YAML of a workflow."""
    return {
        "apiVersion": "airflow-agentic/v1",
        "kind": "Workflow",
        "name": name,
        "models": f"../cards/{name}",
        "task": {"retries": 0, "on_failure_callback": "pattern_runs:record_failure"},
        "input": {"uri": f"../{case.name}.jsonl", "features": {"channel": "string"}},
        "parallelism": 2,
        "shard": {"rows": SHARD},
        "publish": {"uri": "answers/", "format": "jsonl"},
        **case.spec,
    }


def write(path: Path, content: dict[str, Any]) -> None:
    """As YAML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def by_coordinator(path: Path) -> list[dict[str, Any]]:
    """The answers of the workflow without Airflow."""
    from airflow_agentic import Workflow
    from airflow_agentic.coordinator import Coordinator
    from airflow_agentic.pipeline.inputs import Input, read_records

    found = Workflow.load(path, allowed_handlers=HANDLERS)
    spec = found.spec.input
    if spec is None:
        raise ValueError(f"{path} has no input")
    (table,) = read_records(Input(uri=spec.uri, base=path.parent, features=spec.features))
    rows: list[dict[str, Any]] = Coordinator(found.plan, allowed_handlers=HANDLERS).run(table).to_pylist()
    return rows


def by_airflow(dag: DAG, artifacts: Path) -> dict[str, Any]:
    """States, failures, and the answers if there are some."""
    FAILURES.clear()
    run = dag.test()
    instances = [(ti.task_id, ti.map_index, str(ti.state)) for ti in run.get_task_instances()]
    folder = artifacts / "default" / dag.dag_id
    parts = sorted(folder.glob("*/answers/part-*.jsonl"))
    letters = sorted(folder.glob("*/answers/dead_letters/part-*.jsonl"))
    return {
        "state": str(run.state),
        "tasks": instances,
        "failures": list(FAILURES),
        "published": bool(parts),
        "answers": lines(parts) if parts else committed(folder),
        "dead_letters": lines(letters),
    }


def lines(paths: list[Path]) -> list[dict[str, Any]]:
    """The rows of JSONL files."""
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def committed(folder: Path) -> list[dict[str, Any]]:
    """The answers of a run that published nothing; empty where Aggregate did not get to them."""
    from airflow_agentic.artifacts import Store
    from airflow_agentic.exceptions import ArtifactError
    from airflow_agentic.execution import Folder

    (manifest,) = folder.glob("*/manifest-*.json")
    run = Folder(Store.open(manifest.parent.as_uri())).open(manifest.stem.removeprefix("manifest-"))
    try:
        return [row for _, table in run.answers() for row in table.to_pylist()]
    except ArtifactError:
        return []


def fail(context: Any) -> None:
    """Put before Route's ``execute``."""
    raise RuntimeError("the worker was lost")


def store(dags: dict[str, DAG]) -> None:
    """What the Dag processor does once; the configured Dags folder is empty, so that no run parses anything again."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.collection import update_dag_parsing_results_in_db
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils.session import create_session

    with create_session() as session:
        DagBundlesManager().sync_bundles_to_db(session=session)
        session.flush()
        parsed = [LazyDeserializedDAG.from_dag(dag) for dag in dags.values()]
        update_dag_parsing_results_in_db("dags-folder", None, parsed, {}, None, set(), session=session)


def main(folder: Path) -> None:
    """Everything; the result is ``FOLDER/results.json``."""
    from airflow_agentic import load_workflows

    project, artifacts = folder / "project", folder / "artifacts"
    write_project(project)
    dags = load_workflows(project / "workflows")
    store(dags)
    results = {}
    for case in CASES:
        for variant in variants(case):
            name = f"{case.name}.{variant}"
            if variant == NO_ROUTE:
                cast("BaseOperator", dags[name].get_task("route"))._pre_execute_hook = fail
            results[name] = by_airflow(dags[name], artifacts)
            if variant != NO_ROUTE and not variant.startswith("unit-"):
                results[name]["expected"] = by_coordinator(project / "workflows" / f"{name}.yaml")
    (folder / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    time.sleep = lambda _: None  # dag.test() waits a second for what its next look at the database settles
    sys.modules["pattern_runs"] = sys.modules["__main__"]  # the callback's module is this one
    main(Path(sys.argv[1]))
