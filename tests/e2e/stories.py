"""Stories of what goes wrong, told side by side, because most of a story is waiting; a test judges each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cluster import eventually
from stage import Stage

if TYPE_CHECKING:
    import pytest
    from kubernetes import client

Story = Callable[[Stage, Path], None]
"""Is told on a stage, with a project's folder; fails as a test does."""
PREDICTED: Final = "predictions:"
"""In a pod's log, once a shard is committed."""


def asked_for(request: pytest.FixtureRequest) -> set[str]:
    """The values of the parameter ``name`` of this session's tests."""
    items = [item for item in request.session.items if hasattr(item, "callspec")]
    return {str(item.callspec.params.get("name")) for item in items}


@contextmanager
def under_way(
    request: pytest.FixtureRequest, stories: dict[str, Story], stage: Stage, project: Path
) -> Iterator[dict[str, Future[None]]]:
    """The stories that are asked for; each future has what became of one."""
    wanted = asked_for(request)
    with ThreadPoolExecutor(len(stories)) as pool:
        yield {name: pool.submit(tell, stage, project) for name, tell in stories.items() if name in wanted}


def started(stage: Stage, dag_id: str, shards: int = 0) -> client.V1Pod:
    """The running pod of a Dag, once it has committed so many shards."""
    pod = stage.pod(dag_id, "Running")
    eventually(lambda: _committed(stage, pod) >= shards, what=f"{shards} shards of {dag_id} committed")
    return pod


def _committed(stage: Stage, pod: client.V1Pod) -> int:
    return str(stage.pods.read_namespaced_pod_log(pod.metadata.name, stage.space)).count(PREDICTED)


def unit(stage: Stage, dag_id: str, run_id: str) -> dict[str, Any]:
    """The only unit of the run, as Airflow knows it."""
    (found,) = (each for each in stage.server.tasks(dag_id, run_id) if each["map_index"] >= 0)
    return found


def in_state(stage: Stage, dag_id: str, run_id: str, state: str) -> None:
    """Wait for the unit's Airflow task."""
    eventually(lambda: unit(stage, dag_id, run_id)["state"] == state, what=f"the unit of {dag_id} {state}")


def computed(stage: Stage, dag_id: str, run_id: str) -> int:
    """How many shards the second try of the run's only unit computed."""
    found = unit(stage, dag_id, run_id)
    said = stage.server.task_log(dag_id, run_id, found["task_id"], try_number=2, map_index=found["map_index"])
    return len({line.partition("airflow_agentic.container")[2] for line in said.splitlines() if PREDICTED in line})
