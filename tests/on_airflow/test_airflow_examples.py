"""The example workflows on a real scheduler, against the Coordinator: DESIGN §2 rule 4."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from airflow_agentic import Workflow
from airflow_agentic.coordinator import Coordinator
from airflow_agentic.pipeline.inputs import Input, read_records
from scripts.airflow_demo import read_answers

if TYPE_CHECKING:
    from scripts.airflow_server import AirflowServer

pytestmark = [pytest.mark.airflow, pytest.mark.models, pytest.mark.timeout(600)]

EXAMPLES: Final = sorted(path.stem for path in (Path(__file__).parents[2] / "dags" / "workflows").glob("*.yaml"))
TOLERANCE: Final = 1e-4
"""Two runs of one model in two processes: threads and batches may differ in the last bits."""


@pytest.fixture(scope="module")
def published(airflow_server: AirflowServer) -> dict[str, dict[str, Any]]:
    """Every example's run: all at once, because most of a run is waiting for Airflow."""
    for name in EXAMPLES:
        airflow_server.wait_dag(name)
    runs = {name: airflow_server.trigger(name) for name in EXAMPLES}
    states = {name: airflow_server.wait_run(name, run_id, timeout=400)["state"] for name, run_id in runs.items()}
    assert states == dict.fromkeys(EXAMPLES, "success")
    return {name: summary(airflow_server, name, run_id) for name, run_id in runs.items()}


def summary(server: AirflowServer, dag_id: str, run_id: str) -> dict[str, Any]:
    """What the last Airflow task returned."""
    names = {each["task_id"] for each in server.tasks(dag_id, run_id)}
    found: dict[str, Any] = server.xcom(dag_id, run_id, "publish" if "publish" in names else "workflow")
    return found


def coordinated(path: Path) -> tuple[Workflow, list[dict[str, Any]]]:
    """The workflow's own input, answered in this process."""
    workflow = Workflow.load(path)
    spec = workflow.spec.input
    assert spec is not None
    tables = read_records(Input(uri=spec.uri, format=spec.format, base=path.parent, columns=spec.columns))
    rows = [row for table in tables for row in Coordinator(workflow.plan).run(table).to_pylist()]
    return workflow, rows


def near_a_gate(workflow: Workflow, answer: dict[str, Any]) -> bool:
    """Whether one of the scores lies within the tolerance of a number in an ``accept``: it may fall on either side."""
    gates = [number for accept in accepts(workflow.spec.model_dump()) for number in re.findall(r"\d+\.\d+", accept)]
    scores = [member["score"] for member in answer["predictions"] if member["score"] is not None]
    return any(abs(score - float(gate)) <= TOLERANCE for score in scores for gate in gates)


def accepts(value: Any) -> Iterator[str]:
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if key == "accept" and isinstance(item, str):
            yield item
        elif isinstance(item, dict | list):
            yield from accepts(item)


def decided(answer: dict[str, Any]) -> dict[str, Any]:
    """What both executors must agree on. Scores in a reason are shown with two digits."""
    error = answer["error"] and answer["error"]["code"]
    return {**{name: answer[name] for name in ("task", "model", "label", "degraded", "route")}, "error": error}


@pytest.mark.parametrize("name", EXAMPLES)
def test_both_executors_answer_alike(
    name: str,
    published: dict[str, dict[str, Any]],
    airflow_dags: Path,
    record_property: Callable[[str, object], None],
) -> None:
    answers = read_answers(published[name]["uri"])
    workflow, expected = coordinated(airflow_dags / "workflows" / f"{name}.yaml")
    apart = [answer["record_id"] for answer in expected if near_a_gate(workflow, answer)]
    record_property("near a gate", ", ".join(apart))

    assert [answer["record_id"] for answer in answers] == [answer["record_id"] for answer in expected]
    for found, wanted in zip(answers, expected, strict=True):
        if found["record_id"] in apart:
            continue
        assert decided(found) == decided(wanted), found["record_id"]
        assert values(found) == pytest.approx(values(wanted), abs=TOLERANCE), found["record_id"]


def values(answer: dict[str, Any]) -> list[float]:
    """Every number of an answer."""
    vector = re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", answer["output"]) if answer["output"] else []
    numbers = [answer["score"], answer["value"], *(entry["p"] for entry in answer["scores"] or ()), *vector]
    return [float(number) for number in numbers if number is not None]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_summary_counts_every_record_once(name: str, published: dict[str, dict[str, Any]]) -> None:
    found = published[name]
    answers = read_answers(found["uri"])

    assert found["records"] == len(answers) == len({answer["record_id"] for answer in answers})
    assert found["errors"] == sum(answer["error"] is not None for answer in answers)
    assert found["cost"] == pytest.approx(sum(answer["cost"] for answer in answers), abs=1e-8)


def test_an_example_is_triggered_with_pasted_text(airflow_server: AirflowServer) -> None:
    conf = {"text": "What a wonderful film.\nThis is awful.", "task": "text-analysis"}
    airflow_server.wait_dag("mixed-inbox")
    run_id = airflow_server.trigger("mixed-inbox", conf)

    assert airflow_server.wait_run("mixed-inbox", run_id)["state"] == "success"
    answers = read_answers(summary(airflow_server, "mixed-inbox", run_id)["uri"])
    assert [(answer["task"], answer["label"]) for answer in answers] == [
        ("text-analysis", "positive"),
        ("text-analysis", "negative"),
    ]
    skipped = {each["task_id"] for each in airflow_server.tasks("mixed-inbox", run_id) if each["state"] == "skipped"}
    assert any(task.endswith("lite0-tf") for task in skipped)
