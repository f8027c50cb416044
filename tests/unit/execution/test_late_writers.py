"""A zombie of every kind of node: a process that wakes up and commits after another has done its work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import late_writer
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from executing import ALLOWED, World, comparable, coordinated, records, started, worked
from late_writer import COMPACT

from airflow_agentic.artifacts import Markers, Store
from airflow_agentic.coordinator import ModelPool
from airflow_agentic.coordinator.batch import answer_run
from airflow_agentic.execution import Run
from airflow_agentic.execution.publish import publish

NODES = [node.id for node in late_writer.plan().nodes]


def objects(run: Run) -> dict[str, bytes]:
    """All that commits or publishes something, by name; of progress nobody decides."""
    store = run.folder.store
    return {name: store.read(name) for name in store.list() if "/data/" not in name and "/progress-" not in name}


def start(folder: Path, node_id: str) -> subprocess.Popen[bytes]:
    """The zombie, once it is about to commit."""
    for name in ("reached", "go_on"):
        os.mkfifo(folder / name)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    zombie = subprocess.Popen([sys.executable, late_writer.__file__, str(folder), node_id], env=environment)
    assert (folder / "reached").read_text()
    return zombie


@pytest.mark.parametrize("node_id", [*NODES, COMPACT])
def test_a_late_writer_changes_nothing(tmp_path: Path, node_id: str) -> None:
    plan, shard = late_writer.plan(), records()
    store = Store.open(str(tmp_path / "artifacts"))
    if node_id != "preprocess":
        run = started(plan, shard, store)
        (tmp_path / "manifest").write_text(run.manifest)
        if node_id != COMPACT:
            worked(run, World(), until=node_id)
    with start(tmp_path, node_id) as zombie:
        run = started(plan, shard, store)
        if node_id == COMPACT:
            answer_run(run, pool=ModelPool(starter=World().start), allowed_handlers=ALLOWED)
        else:
            worked(run, World())
        publish(run, "run", Store.open)
        before = objects(run)
        (tmp_path / "go_on").write_text("on")
        assert zombie.wait() == 0
    assert objects(run) == before
    published = pa.concat_tables(
        [pq.read_table(path) for path in sorted((tmp_path / "artifacts").rglob("answers/part-*.parquet"))]
    )
    assert comparable(published) == comparable(coordinated(plan, shard))
    markers = Markers(run.folder.store)
    keys = [keys for node in plan.nodes for keys in markers.keys(node.id).values()]
    assert keys
    assert all(len(each) == 1 for each in keys)
