"""What a person or another system does to a workflow's Dag: form, schedule, assets, clearing, a broken file."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import airflow_extras
import pytest

from scripts.airflow_demo import read_answers

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.airflow_server import AirflowServer

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

LABELS = {"r0": "positive", "r1": "negative", "r2": "positive", "r3": "negative", "r4": "negative", "r5": None}
"""Of the reviews; the last has none of the model's words, the one before has one of each."""


@pytest.fixture(scope="module")
def server(airflow_server: AirflowServer) -> AirflowServer:
    """With the further Dags."""
    airflow_extras.add(airflow_server.dags)
    for dag_id in ("reviews", "reviews-compact", "daily", "after-reviews", "on-delivery", "follower", "own"):
        airflow_server.wait_dag(dag_id)
    return airflow_server


def answers(server: AirflowServer, dag_id: str, run_id: str, task_id: str = "publish") -> list[dict[str, Any]]:
    return read_answers(server.xcom(dag_id, run_id, task_id)["uri"])


def run(server: AirflowServer, dag_id: str, conf: dict[str, Any] | None = None) -> tuple[str, str]:
    """A finished run's id and state."""
    run_id = server.trigger(dag_id, conf)
    return run_id, server.wait_run(dag_id, run_id)["state"]


def first_run(server: AirflowServer, dag_id: str) -> str:
    """The id of the oldest run that Airflow made by itself, once it has finished."""
    run_id = server.first_run(dag_id)
    assert server.wait_run(dag_id, run_id)["state"] == "success"
    return run_id


def clear(server: AirflowServer, dag_id: str, run_id: str, *task_ids: str, downstream: bool = False) -> None:
    """Clear Airflow tasks, and wait for the run."""
    body = {
        "dry_run": False,
        "dag_run_id": run_id,
        "task_ids": list(task_ids),
        "only_failed": False,
        "include_downstream": downstream,
    }
    server.request("POST", f"/api/v2/dags/{dag_id}/clearTaskInstances", body=body)


def tries(server: AirflowServer, dag_id: str, run_id: str) -> dict[str, int]:
    return {each["task_id"]: each["try_number"] for each in server.tasks(dag_id, run_id)}


@pytest.fixture(scope="module")
def reviewed(server: AirflowServer) -> str:
    """A run of the reviews, shared by those who only look at it or clear it."""
    run_id, state = run(server, "reviews")
    assert state == "success"
    return run_id


def test_a_run_answers_every_record(server: AirflowServer, reviewed: str) -> None:
    found = {answer["record_id"]: answer["label"] for answer in answers(server, "reviews", reviewed)}

    assert found == LABELS


def test_the_compact_layout_answers_alike(server: AirflowServer) -> None:
    run_id, state = run(server, "reviews-compact")

    assert state == "success"
    assert {each["task_id"] for each in server.tasks("reviews-compact", run_id)} == {"workflow"}
    found = {answer["record_id"]: answer["label"] for answer in answers(server, "reviews-compact", run_id, "workflow")}
    assert found == LABELS


def test_a_uri_and_a_limit_from_the_form(server: AirflowServer) -> None:
    run_id, state = run(server, "reviews-compact", {"uri": "../days/2026-01-02*.jsonl", "limit": 1})

    assert state == "success"
    assert [answer["label"] for answer in answers(server, "reviews-compact", run_id, "workflow")] == ["positive"]


def test_on_error_from_the_form(server: AirflowServer) -> None:
    letters, kept = run(server, "reviews-compact", {"on_error": "dead_letter"})
    failed, state = run(server, "reviews-compact", {"on_error": "fail"})

    assert (kept, state) == ("success", "failed")
    summary = server.xcom("reviews-compact", letters, "workflow")
    assert [letter["record_id"] for letter in read_answers(summary["dead_letters"])] == ["r5"]
    said = "AnswersFailedError: 1 of 6 records have no answer, and the workflow says on_error: fail."
    assert said in server.task_log("reviews-compact", failed, "workflow")


@pytest.mark.parametrize(
    "conf", [{"limit": 0}, {"limit": "many"}, {"on_error": "ignore"}, {"task": "text-painting"}, {"recompute": "yes"}]
)
def test_a_wrong_value_is_refused(server: AirflowServer, conf: dict[str, Any]) -> None:
    answer = server.send("POST", "/api/v2/dags/reviews/dagRuns", body={"logical_date": None, "conf": conf})

    assert 400 <= answer.status_code < 500
    assert next(iter(conf)) in answer.text


def test_scheduled_runs_cover_their_intervals(server: AirflowServer) -> None:
    def finished() -> list[dict[str, Any]]:
        runs = server.request("GET", "/api/v2/dags/daily/dagRuns", params={"order_by": "run_after"})["dag_runs"]
        return runs if len([one for one in runs if one["end_date"]]) == 2 else []

    runs = server._wait("'daily' has not run twice", finished, 120)

    assert [(one["run_type"], one["state"], one["data_interval_start"], one["data_interval_end"]) for one in runs] == [
        ("scheduled", "success", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ("scheduled", "success", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"),
    ]
    assert [len(answers(server, "daily", one["dag_run_id"], "workflow")) for one in runs] == [1, 2]


def test_other_dags_run_after_publish_and_see_its_counts(server: AirflowServer) -> None:
    run_id, state = run(server, "reviews-compact", {"limit": 3})
    published = server.xcom("reviews-compact", run_id, "workflow")

    assert state == "success"
    assert (published["records"], published["errors"], published["model:words"]) == (3, 0, 3)
    extras = server._wait(
        "the follower has not seen this run",
        lambda: [extra for extra in seen(server) if extra["uri"] == published["uri"]],
        120,
    )
    assert extras == [published]


def seen(server: AirflowServer) -> list[dict[str, Any]]:
    """The extras of every event that the follower's finished runs saw."""
    runs = server.request("GET", "/api/v2/dags/follower/dagRuns", params={"state": "success"})["dag_runs"]
    return [extra for one in runs for extra in server.xcom("follower", one["dag_run_id"], "seen")]


def test_a_workflow_runs_after_another_workflow(server: AirflowServer) -> None:
    run(server, "reviews-compact", {"limit": 1})

    run_id = first_run(server, "after-reviews")
    assert server.request("GET", f"/api/v2/dags/after-reviews/dagRuns/{run_id}")["run_type"] == "asset_triggered"


def test_a_workflow_runs_on_an_asset_event_from_outside(server: AirflowServer) -> None:
    assets = server.request("GET", "/api/v2/assets", params={"name_pattern": "delivery"})["assets"]
    (asset,) = [one for one in assets if one["name"] == "delivery"]  # on-delivery has an asset, too
    server.request("POST", "/api/v2/assets/events", body={"asset_id": asset["id"], "extra": {"from": "a test"}})

    run_id = first_run(server, "on-delivery")
    assert {
        answer["record_id"]: answer["label"] for answer in answers(server, "on-delivery", run_id, "workflow")
    } == LABELS


def test_clearing_publish_publishes_the_same_again(server: AirflowServer, reviewed: str) -> None:
    before = answers(server, "reviews", reviewed)
    tried = tries(server, "reviews", reviewed)["publish"]

    clear(server, "reviews", reviewed, "publish")

    assert server.wait_run("reviews", reviewed)["state"] == "success"
    assert tries(server, "reviews", reviewed)["publish"] == tried + 1
    assert answers(server, "reviews", reviewed) == before


def test_clearing_a_model_reuses_what_it_committed(server: AirflowServer, reviewed: str) -> None:
    markers = sorted(path.name for path in server.artifacts.rglob("main.words/*.json") if "reviews/" in str(path))

    clear(server, "reviews", reviewed, "main.words", downstream=True)

    assert server.wait_run("reviews", reviewed)["state"] == "success"
    again = [server.xcom("reviews", reviewed, "main.words", map_index=unit) for unit in (0, 1)]
    assert [(one["unit"], one["resumed_shards"]) for one in again] == [(0, 1), (1, 2)]
    assert (
        sorted(path.name for path in server.artifacts.rglob("main.words/*.json") if "reviews/" in str(path)) == markers
    )


def test_recompute_reuses_nothing(server: AirflowServer) -> None:
    run_id, state = run(server, "reviews", {"recompute": True, "text": "a good one"})
    assert state == "success"

    clear(server, "reviews", run_id, "preprocess", downstream=True)

    assert server.wait_run("reviews", run_id)["state"] == "success"
    assert server.xcom("reviews", run_id, "main.words", map_index=0)["resumed_shards"] == 0


def test_a_broken_workflow_is_a_dag_that_says_why(server: AirflowServer) -> None:
    server.wait_dag("misspelt")
    details = server.request("GET", "/api/v2/dags/misspelt/details")

    assert sorted(tag["name"] for tag in details["tags"]) == ["airflow-agentic", "spec-error"]
    assert "routes[0].use: no model is called 'wrods'\n    did you mean 'words'" in details["doc_md"]
    assert details["timetable_summary"] is None
    assert server.request("GET", "/api/v2/importErrors")["total_entries"] == 0
    run_id, state = run(server, "misspelt")
    assert state == "failed"
    assert "no model is called 'wrods'" in server.task_log("misspelt", run_id, "spec-error")


def test_a_models_operator_and_decorator_in_a_users_own_dag(server: AirflowServer) -> None:
    run_id, state = run(server, "own")

    assert state == "success"
    found = {
        task: [(answer["label"], answer["task"]) for answer in answers(server, "own", run_id, task)]
        for task in ("listed", "from-file", "decorated")
    }
    assert found["listed"] == [("positive", "text-analysis"), ("negative", "text-analysis")]
    assert [label for label, _ in found["from-file"]] == list(LABELS.values())
    assert found["decorated"] == [("positive", "text-analysis")] * 2


def test_airflow_knows_the_provider(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "providers", "get", "airflow-agentic", "--full", "--output", "json"],
        cwd=tmp_path,
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert '"package-name": "airflow-agentic"' in done.stdout
