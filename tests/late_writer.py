"""A process that does one node's work of a run and stops just before its first commit, until it is told to go on.

``python late_writer.py FOLDER NODE``: FOLDER holds the pipes ``reached`` and ``go_on`` and, in ``artifacts``, the run.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from builders import compiled
from executing import ALLOWED, CARDS, World, records, started, worked

from airflow_agentic.artifacts import Store
from airflow_agentic.coordinator import ModelPool
from airflow_agentic.coordinator.batch import answer_run
from airflow_agentic.execution import Folder
from airflow_agentic.execution.publish import publish
from airflow_agentic.plan import Plan
from airflow_agentic.plan.ir import Aggregate, Gate, Infer, Publish, Route

COMPACT: Final = "compact"
"""In place of a node: the coordinator, for all of them."""
COMMITS: Final = ("/part-", "manifest-", "answers/")
"""In the names of objects that commit something, as opposed to data files."""


class PausingStore(Store):
    """Pauses once, before what commits: to whoever waits for it, its process is dead."""

    folder: Path
    paused = False

    def create(self, name: str, data: bytes) -> bool:
        self._pause(name)
        return super().create(name, data)

    def write(self, name: str, data: bytes) -> None:
        self._pause(name)
        super().write(name, data)

    def child(self, *parts: str) -> Store:
        below = super().child(*parts)
        own = PausingStore(below._objects, below.base, below._prefix)
        own.folder = self.folder
        return own

    def _pause(self, name: str) -> None:
        if not PausingStore.paused and any(part in f"{self.base}/{name}" for part in COMMITS) and "/data/" not in name:
            PausingStore.paused = True
            (self.folder / "reached").write_text(name)
            (self.folder / "go_on").read_text()


def plan() -> Plan:
    """A cascade over three shards in two units."""
    use = {"cascade": ["a", "b"], "accept": "prediction.score >= 0.5"}
    return compiled(use, *CARDS, shard={"rows": 5}, parallelism=2, publish={"uri": "answers/"})


def main(folder: Path, node_id: str) -> None:
    """Do the node's work; the models answer as those of the other writer, but take their own time."""
    store = PausingStore.open(str(folder / "artifacts"))
    pausing = PausingStore(store._objects, store.base, store._prefix)
    pausing.folder = folder
    if node_id == "preprocess":
        started(plan(), records(), pausing)
        return
    manifest = (folder / "manifest").read_text()
    run = Folder.of(pausing, "test", "demo", "run", ALLOWED).open(manifest)
    if node_id == COMPACT:
        answer_run(run, pool=ModelPool(starter=World().start), allowed_handlers=ALLOWED)
        return
    node = run.plan.node(node_id)
    if isinstance(node, Publish):
        publish(run, "run", Store.open)
    else:
        assert isinstance(node, Route | Gate | Infer | Aggregate)
        worked(run, World(), only=node_id)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
