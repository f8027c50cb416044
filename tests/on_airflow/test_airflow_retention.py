"""Retention on a real Airflow: the maintenance Dag, and what the Airflow tasks of an expired run say."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final

import airflow_extras
import pytest
import yaml

from airflow_agentic.exceptions import ExpiredRunError
from airflow_agentic.execution.expiry import EXPIRED
from scripts.airflow_demo import read_answers

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.airflow_server import AirflowServer

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

DAG: Final = "kept-a-month"
MAINTENANCE: Final = "agentic_maintenance"
SECRET: Final = "a good film, says Ottilie-Sauerkirsch-4711"


@pytest.fixture(scope="module")
def server(airflow_server: AirflowServer) -> AirflowServer:
    """With a workflow whose runs are kept for a month."""
    folder = airflow_server.dags / "retention"
    for name in ("workflows", "models"):
        (folder / name).mkdir(parents=True)
    (folder / "models" / "words.yaml").write_text(yaml.safe_dump(airflow_extras.CARD))
    workflow = {
        "apiVersion": "airflow-agentic/v1",
        "kind": "Workflow",
        "name": DAG,
        "input": "../reviews.jsonl",
        "routes": [{"name": "main", "use": "words"}],
        "retention": "30d",
    }
    (folder / "workflows" / f"{DAG}.yaml").write_text(yaml.safe_dump(workflow, sort_keys=False))
    airflow_extras.write_records(folder / "reviews.jsonl", [SECRET, "a bad film"])
    (folder / "loader.py").write_text(airflow_extras.LOADER)
    for dag_id in (DAG, MAINTENANCE):
        airflow_server.wait_dag(dag_id)
    return airflow_server


def finished(server: AirflowServer, dag_id: str, conf: dict[str, Any] | None = None) -> str:
    run_id = server.trigger(dag_id, conf)
    assert server.wait_run(dag_id, run_id)["state"] == "success"
    return run_id


def clear(server: AirflowServer, run_id: str, *task_ids: str) -> str:
    """Clear Airflow tasks, or all, and return the state that the run comes to."""
    body: dict[str, Any] = {"dry_run": False, "dag_run_id": run_id, "only_failed": False}
    body |= {"task_ids": list(task_ids)} if task_ids else {}
    server.request("POST", f"/api/v2/dags/{DAG}/clearTaskInstances", body=body)
    return str(server.wait_run(DAG, run_id)["state"])


def pruned(server: AirflowServer, **conf: Any) -> dict[str, Any]:
    counts: dict[str, Any] = server.xcom(MAINTENANCE, finished(server, MAINTENANCE, conf), "prune")
    return counts


def objects(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_run_lives_and_expires_and_is_computed_anew(server: AirflowServer) -> None:
    run_id = finished(server, DAG)
    published = server.xcom(DAG, run_id, "publish")
    assert len(read_answers(published["uri"])) == 2
    (folder,) = (server.artifacts / "default" / DAG).iterdir()

    assert pruned(server)["runs_by_workflow"].get(DAG) is None, "it is young"
    for path in objects(folder):
        os.utime(path, (time.time() - 31 * 86400,) * 2)
    counts = pruned(server, dry_run=True)
    assert (counts["simulated"], counts["runs_by_workflow"]) == (True, {DAG: 1})
    assert counts["objects"] == len(objects(folder)) > 10
    assert pruned(server) == {**counts, "simulated": False}
    assert [path.name for path in objects(folder)] == [EXPIRED]

    with pytest.raises(ExpiredRunError, match=r"expired on .*, kept for 30d\. Its records, predictions"):
        read_answers(published["uri"])
    assert clear(server, run_id, "publish") == "failed"
    said = server.task_log(DAG, run_id, "publish", try_number=2)
    assert "ExpiredRunError: the run in " in said
    assert ", kept for 30d. Its records, predictions and answers are deleted; clear the whole run" in said

    assert clear(server, run_id) == "success"
    assert [answer["label"] for answer in read_answers(published["uri"])] == ["positive", "negative"]
    assert EXPIRED not in {path.name for path in objects(folder)}
