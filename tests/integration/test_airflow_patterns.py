"""Every pattern × {all well, one unit lost, one model lost, route failed} in Airflow, against the Coordinator.

DESIGN §2 rule 4 and §8: equal label, error code and route for every record, each record once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from pattern_cases import CASES, LOST, NO_ROUTE, RECORDS, WELL, Case, variants

pytestmark = pytest.mark.timeout(600)

HERE: Final = Path(__file__).parent
FIELDS: Final = ("task", "model", "label", "degraded", "route")

Results = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What came of all runs: they share one process, because importing Airflow takes longer than a run."""
    folder = tmp_path_factory.mktemp("patterns")
    (folder / "dags").mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(folder / "home"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__AGENTIC__ARTIFACTS": (folder / "artifacts").as_uri(),
        "AIRFLOW__AGENTIC__ALLOWED_HANDLERS": "pattern_models",
    }
    for command in (["-m", "airflow", "db", "migrate"], [str(HERE / "pattern_runs.py"), str(folder)]):
        done = subprocess.run(
            [sys.executable, *command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-6000:]
    found: Results = json.loads((folder / "results.json").read_text())
    return found


def runs(*kinds: str) -> list[Any]:
    """A parameter for each case and each of its variants that is one of ``kinds``."""
    chosen = [(case, one) for case in CASES for one in variants(case)]
    return [pytest.param(case, one, id=f"{case.name}.{one}") for case, one in chosen if one.startswith(kinds)]


def compared(answers: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What both executors must agree on, by record; the scores apart, for a tolerance."""
    return {
        answer["record_id"]: {
            **{name: answer[name] for name in FIELDS},
            "error": answer["error"] and answer["error"]["code"],
            "numbers": pytest.approx([number or 0.0 for number in numbers(answer)], abs=1e-9),
        }
        for answer in answers
    }


def numbers(answer: dict[str, Any]) -> list[float | None]:
    return [answer["score"], answer["value"], *(entry["p"] for entry in answer["scores"] or ())]


def same(found: list[dict[str, Any]], expected: dict[str, dict[str, Any]]) -> None:
    """Equal for every record. ``approx`` compares with numbers only, hence the two sides."""
    for answer in found:
        wanted = expected[answer["record_id"]]
        got = {name: answer[name] for name in FIELDS} | {"error": answer["error"] and answer["error"]["code"]}
        assert got == {name: value for name, value in wanted.items() if name != "numbers"}, answer["record_id"]
        assert [number or 0.0 for number in numbers(answer)] == wanted["numbers"], answer["record_id"]


def states(result: dict[str, Any], model: str) -> dict[int, str]:
    """The states of a model's mapped Airflow tasks, by unit."""
    return {
        unit: state for task, unit, state in result["tasks"] if task.rpartition(".")[2] == model and "gate-" not in task
    }


@pytest.mark.parametrize(("case", "variant"), runs(WELL, "unit-", "model-"))
def test_every_record_has_exactly_one_answer(results: Results, case: Case, variant: str) -> None:
    result = results[f"{case.name}.{variant}"]

    assert [answer["record_id"] for answer in result["answers"]] == [f"r{number}" for number in range(RECORDS)]


@pytest.mark.parametrize(("case", "variant"), runs(WELL, "model-"))
def test_the_answers_are_those_of_the_coordinator(results: Results, case: Case, variant: str) -> None:
    result = results[f"{case.name}.{variant}"]

    same(result["answers"], compared(result["expected"]))


@pytest.mark.parametrize(("case", "variant"), runs("unit-"))
def test_a_lost_unit_takes_no_other_with_it(results: Results, case: Case, variant: str) -> None:
    result = results[f"{case.name}.{variant}"]
    victim = variant.removeprefix("unit-")
    well = compared(results[f"{case.name}.{WELL}"]["expected"])
    lost = compared(results[f"{case.name}.model-{victim}"]["expected"])

    assert states(result, victim)[1] == "failed"
    assert states(result, victim).get(0) in {"success", "skipped"}
    same(result["answers"], {record: lost[record] if record in LOST else well[record] for record in well})


@pytest.mark.parametrize(("case", "variant"), runs(WELL, "unit-", "model-"))
def test_a_lost_model_fails_the_run_only_if_the_workflow_says_so(results: Results, case: Case, variant: str) -> None:
    result = results[f"{case.name}.{variant}"]
    errors = {answer["record_id"]: answer["error"] for answer in result["answers"] if answer["error"] is not None}

    if case.workflow.get("on_error") == "fail" and errors:
        first = "; ".join(f"{record}: {error['message']}" for record, error in list(errors.items())[:5])
        assert (result["state"], result["published"]) == ("failed", False)
        assert ["publish", _refusal(len(errors), first)] in result["failures"]
    else:
        assert (result["state"], result["published"]) == ("success", True)
    wanted = set(errors) if case.workflow.get("on_error") == "dead_letter" else set()
    assert {letter["record_id"] for letter in result["dead_letters"]} == wanted


def _refusal(count: int, first: str) -> str:
    return (
        f"AnswersFailedError: {count} of {RECORDS} records have no answer, and the workflow says on_error: fail. "
        f"The answers are committed; mend the cause and clear the failed Airflow tasks, or write on_error: keep. "
        f"First: {first}"
    )


@pytest.mark.parametrize(("case", "variant"), runs(NO_ROUTE))
def test_a_failed_route_fails_the_run_and_publishes_nothing(results: Results, case: Case, variant: str) -> None:
    result = results[f"{case.name}.{variant}"]
    failures = dict(result["failures"])

    assert (result["state"], result["published"], result["answers"]) == ("failed", False, [])
    assert failures["route"] == "the worker was lost"
    said = "'route' has not committed shard 0: clear the Airflow task 'route', then this one"
    assert {message for task, message in failures.items() if task != "route"} == {said}
    assert {task: state for task, _, state in result["tasks"]}["aggregate"] == "failed"
    assert {task: state for task, _, state in result["tasks"]}["publish"] == "upstream_failed"
