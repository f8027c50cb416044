"""What the function of ``@task.agentic_model`` is called with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_agentic.operators import ModelOperator


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The records are the answer."""
    monkeypatch.setattr(ModelOperator, "execute", lambda operator, _context: operator.records)


@pytest.mark.usefixtures("answered")
def test_the_function_gets_its_arguments_and_what_it_names_of_the_context() -> None:
    with DAG("own") as dag:

        @task.agentic_model(model="words")
        def told(name: str, *, word: str, dag_run: Any = None) -> list[str]:
            return [f"{name} is {word} in {dag_run.dag_id}"]

        told("this", word="good")

    context = {"dag_run": SimpleNamespace(dag_id="own"), "run_id": "not asked for"}
    assert dag.get_task("told").execute(context) == ["this is good in own"]
    assert context.keys() == {"dag_run", "run_id"}
