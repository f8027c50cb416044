"""Plan → Dag: tasks, edges, rules, and what Airflow stores of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG, Asset, TriggerRule
from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.serialization.serialized_objects import DagSerialization

from airflow_agentic.dagbuilder.assets import asset_of
from airflow_agentic.dagbuilder.build import build_dag
from airflow_agentic.exceptions import CompileError

if TYPE_CHECKING:
    from conftest import ProjectFolder

CASCADE = "[{name: main, use: {cascade: [cheap, strong]}, accept: prediction.score > 0.5}]"


def edges(dag: DAG) -> dict[str, list[str]]:
    return {task_id: sorted(task.downstream_task_ids) for task_id, task in dag.task_dict.items()}


def stored(dag: DAG) -> str:
    """What the Dag processor writes to the database."""
    dag.fileloc, dag.relative_fileloc = "/dags/agentic.py", "agentic.py"
    return json.dumps(DagSerialization.to_dict(dag), sort_keys=True)


def test_a_cascade(project: ProjectFolder) -> None:
    dag = project.workflow(routes=CASCADE).dag()

    assert edges(dag) == {
        "preprocess": ["main.cheap", "main.strong", "route"],  # the units, over which models are mapped
        "route": ["main.cheap"],
        "main.cheap": ["main.gate-cheap"],
        "main.gate-cheap": ["main.strong"],
        "main.strong": ["aggregate"],
        "aggregate": ["publish"],
        "publish": [],
    }


def test_an_ensemble(project: ProjectFolder) -> None:
    dag = project.workflow(routes="[{name: main, use: {ensemble: [cheap, strong, other]}}]").dag()

    assert edges(dag)["route"] == ["main.cheap", "main.other", "main.strong"]
    assert all(edges(dag)[f"main.{name}"] == ["aggregate"] for name in ("cheap", "strong", "other"))


def test_models_are_mapped_over_the_units(project: ProjectFolder) -> None:
    dag = project.workflow(routes=CASCADE).dag()

    mapped = {task_id for task_id, task in dag.task_dict.items() if isinstance(task, MappedOperator)}
    assert mapped == {"main.cheap", "main.strong"}
    assert dag.get_task("main.cheap").map_index_template == "unit {{ task.unit.unit }}"


def test_what_decides_runs_whatever_became_of_the_models(project: ProjectFolder) -> None:
    dag = project.workflow(routes=CASCADE).dag()

    rules = {task_id: task.trigger_rule for task_id, task in dag.task_dict.items()}
    assert {task_id for task_id, rule in rules.items() if rule == TriggerRule.ALL_DONE} == {
        "main.gate-cheap",
        "aggregate",
    }
    assert set(rules.values()) == {TriggerRule.ALL_DONE, TriggerRule.ALL_SUCCESS}


def test_a_route_is_a_task_group(project: ProjectFolder) -> None:
    routes = "[{name: a, when: record.task == 'x', use: cheap}, {name: b, use: strong}]"
    dag = project.workflow(routes=routes).dag()

    groups = {name: sorted(group.children) for name, group in dag.task_group.get_task_group_dict().items() if name}
    assert groups == {"a": ["a.cheap"], "b": ["b.strong"]}


def test_the_compact_layout_is_one_task(project: ProjectFolder) -> None:
    dag = project.workflow("layout: compact", routes=CASCADE).dag()

    assert edges(dag) == {"workflow": []}
    assert dag.get_task("workflow").outlets == [asset_of("demo")]


def test_publish_updates_the_workflows_asset(project: ProjectFolder) -> None:
    dag = project.workflow().dag()

    assert dag.get_task("publish").outlets == [
        Asset(name="airflow-agentic/demo", uri="x-airflow-agentic://workflow/demo")
    ]


def test_dag_and_task_arguments_arrive(project: ProjectFolder) -> None:
    dag = project.workflow(
        "description: What it does.\ndag: {tags: [mine], max_active_runs: 2}\ntask: {retries: 4, pool: gpu}"
    ).dag()

    assert (dag.description, dag.max_active_runs, dag.catchup) == ("What it does.", 2, False)
    assert dag.tags == {"airflow-agentic", "mine"}
    assert {(task.retries, task.pool) for task in dag.tasks} == {(4, "gpu")}


def test_the_document_draws_the_plan(project: ProjectFolder) -> None:
    dag = project.workflow("description: What it does.", routes=CASCADE).dag()

    assert str(dag.doc_md).startswith("What it does.\n\n```text\n")
    assert "strong" in str(dag.doc_md)


@pytest.mark.parametrize("layout", ["expanded", "compact"])
def test_the_dag_survives_the_database(project: ProjectFolder, layout: str) -> None:
    dag = project.workflow(f"layout: {layout}", routes=CASCADE).dag()

    back: Any = DagSerialization.from_dict(json.loads(stored(dag)))

    assert edges(back) == edges(dag)
    assert {task.task_id: task.trigger_rule for task in back.tasks} == {
        task.task_id: task.trigger_rule for task in dag.tasks
    }
    assert list(back.params) == list(dag.params)


def test_equal_files_give_byte_identical_dags(project: ProjectFolder) -> None:
    text = "dag: {schedule: {assets: [b, a]}, tags: [z, a, m]}"

    assert stored(project.workflow(text, routes=CASCADE).dag()) == stored(project.workflow(text, routes=CASCADE).dag())


def test_records_reach_no_stored_dag(project: ProjectFolder) -> None:
    """The plan and the input travel in the Dag file, not through the database."""
    assert "predictions" not in stored(project.workflow("input: {uri: inbox/}", routes=CASCADE).dag())


def test_more_units_than_airflow_maps_are_refused(project: ProjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "5")
    build_dag(project.workflow("parallelism: 5", routes=CASCADE))

    with pytest.raises(
        CompileError, match=r"parallelism: Airflow maps at most 5 Airflow tasks here \(\[core\] max_map"
    ):
        build_dag(project.workflow("parallelism: 6", routes=CASCADE))


def test_least_loaded_needs_the_compact_layout(project: ProjectFolder) -> None:
    workflow = project.workflow(routes="[{name: main, use: {single: [cheap, strong]}, policy: least-loaded}]")

    with pytest.raises(CompileError, match=r"  layout expanded cannot run 'route': least-loaded looks at the moment\n"):
        build_dag(workflow)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "dag: {max_active_runs: many}",
            "dag: Airflow refuses it: 'max_active_runs' must be <class 'int'> (got 'many'",
        ),
        ("task: {retries: two}", "task: Airflow refuses it: 'retries' type must be int, not str"),
    ],
)
def test_what_airflow_refuses_is_a_compile_error(project: ProjectFolder, text: str, message: str) -> None:
    workflow = project.workflow(text)

    with pytest.raises(CompileError) as caught:
        workflow.dag()

    assert message in str(caught.value)
