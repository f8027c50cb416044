"""The maintenance Dag and its operator, without a scheduler."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from airflow.serialization.serialized_objects import DagSerialization
from builders import card, compiled

from airflow_agentic.artifacts import Store
from airflow_agentic.compat import AirflowFailException
from airflow_agentic.dagbuilder.maintenance import maintenance_dag
from airflow_agentic.exceptions import ExpiredRunError
from airflow_agentic.execution import Folder
from airflow_agentic.execution.expiry import EXPIRED
from airflow_agentic.operators import PruneOperator
from airflow_agentic.pipeline.inputs import inline_records

DAY = 86400


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The artifact store, with two runs: one that says 30d, one that says nothing."""
    monkeypatch.setenv("AIRFLOW__AGENTIC__ARTIFACTS", tmp_path.as_uri())
    for dag_id, kept in (("monthly", "30d"), ("unsaid", None)):
        plan = compiled("fake", card(), name=dag_id, retention=kept)
        Folder.of(Store.open(str(tmp_path)), "default", dag_id, "run").start(plan, [inline_records(["a"])], [])
    return tmp_path


def aged(base: Path, days: float) -> None:
    """As if everything had been written so long ago."""
    for path in base.rglob("*"):
        os.utime(path, (time.time() - days * DAY,) * 2)


def prune(**said: Any) -> dict[str, Any]:
    return PruneOperator(task_id="prune", **said).execute({})  # type: ignore[typeddict-item]  # it asks nothing of it


def left(base: Path) -> list[str]:
    return [name for name in ("monthly", "unsaid") if not (base / "default" / name / "run" / EXPIRED).exists()]


def test_each_run_by_its_workflow_and_the_configuration(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aged(base, 29)
    assert prune()["runs"] == 0
    monkeypatch.setenv("AIRFLOW__AGENTIC__RETENTION", "2w")
    counts = prune()
    assert (counts["runs"], counts["runs_by_workflow"], counts["simulated"]) == (1, {"unsaid": 1}, False)
    assert left(base) == ["monthly"]
    aged(base, 31)
    assert prune()["runs_by_workflow"] == {"monthly": 1}


def test_older_than_and_one_workflow(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    aged(base, 2)
    counts = prune(older_than="1d", workflow="monthly", simulate=True)
    assert (counts["runs"], counts["simulated"], left(base)) == (1, True, ["monthly", "unsaid"])
    assert "monthly/run would expire: last written " in capsys.readouterr().out
    assert prune(older_than="1d", workflow="monthly") == {**counts, "simulated": False}
    assert left(base) == ["unsaid"]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"older_than": "30"}, "InputError: older_than: '30' is not a duration; write for example 200ms, 30s, 5m, "),
        (
            {"older_than": "30m"},
            "InputError: older_than: '30m' is less than an hour, and could end a run that is under ",
        ),
        ({"simulate": "False"}, "InputError: simulate is 'False': give true or false; a template needs render_"),
    ],
)
def test_what_cannot_be_meant_is_refused(base: Path, said: dict[str, Any], message: str) -> None:
    aged(base, 2)
    with pytest.raises(AirflowFailException) as caught:
        prune(**said)
    assert str(caught.value).startswith(message)
    assert left(base) == ["monthly", "unsaid"]


def test_a_wrong_setting_is_named(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTIC__RETENTION", "for ever")
    with pytest.raises(AirflowFailException, match=r"^InputError: \[agentic\] retention: 'for ever' is not a duration"):
        prune()


def test_the_dag_has_no_schedule_and_a_form() -> None:
    dag = maintenance_dag()

    assert (dag.dag_id, dag.schedule, dag.task_ids, sorted(dag.tags)) == (
        "agentic_maintenance",
        None,
        ["prune"],
        ["airflow-agentic", "maintenance"],
    )
    assert {name: dag.params[name] for name in dag.params} == {"older_than": None, "dry_run": False}
    json.dumps(DagSerialization.to_dict(dag))


def test_its_templates_keep_their_types() -> None:
    dag = maintenance_dag(schedule="@daily", tags=["mine"], params={"dry_run": True})
    task = dag.get_task("prune")
    task.render_template_fields({"params": {"older_than": None, "dry_run": True}})  # type: ignore[typeddict-item]
    assert isinstance(task, PruneOperator)
    assert (task.older_than, task.workflow, task.simulate) == (None, None, True)
    assert sorted(dag.tags) == ["airflow-agentic", "maintenance", "mine"]


def test_an_expired_run_is_refused_by_every_operator(base: Path) -> None:
    """What an operator says: it opens the run first."""
    aged(base, 31)
    prune()
    with pytest.raises(ExpiredRunError):
        Folder.of(Store.open(str(base)), "default", "monthly", "run").open("0" * 32)
