"""A user's project in a temporary folder, and its workflow run as users run it, with real model processes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from builders import API_VERSION, card_data
from executing import comparable

from airflow_agentic.artifacts import Store
from airflow_agentic.coordinator import Coordinator
from airflow_agentic.coordinator.batch import answer_run
from airflow_agentic.exceptions import AgenticError
from airflow_agentic.execution import Folder, Run, node_card, snapshot
from airflow_agentic.pipeline.inputs import Input, fingerprint, read_records
from airflow_agentic.plan.ir import Aggregate, Gate, Infer, Route
from airflow_agentic.project import Workflow
from airflow_agentic.runtime import predict_records, start

HANDLERS = ("bad_models",)


@dataclass
class Project:
    """A folder with ``models``, ``workflows`` and whatever a test puts there."""

    root: Path
    allowed_uris: Sequence[str] = ()
    allowed_handlers: Sequence[str] = HANDLERS
    failures: list[AgenticError] = field(default_factory=list)
    """What ended units of the last batch run, as red Airflow tasks."""

    def card(self, name: str = "mood", *, handler: str = "mood", **changes: Any) -> Path:
        """``models/NAME.yaml``: a handler of ``bad_models`` in a process of its own."""
        runtime = {"framework": "python", "handler": f"bad_models:{handler}"}
        said = {"classes": ("good", "bad"), "runtime": runtime, "isolation": "process", **changes}
        return self._write("models", name, "Model", card_data(name, **said))

    def workflow(self, *routes: Any, **changes: Any) -> Path:
        """``workflows/demo.yaml``; without routes all records go to ``mood``."""
        listed = list(routes) or [{"use": "mood"}]
        return self._write("workflows", "demo", "Workflow", {"name": "demo", "routes": listed, **changes})

    def _write(self, folder: str, name: str, kind: str, data: dict[str, Any]) -> Path:
        path = self.root / folder / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"apiVersion": API_VERSION, "kind": kind, **data}), encoding="utf-8")
        return path

    def lines(self, *rows: Any, name: str = "inbox.jsonl") -> Input:
        """A JSONL file: bytes as they are, all else as JSON."""
        (self.root / name).write_bytes(
            b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)
        )
        return Input(uri=name, base=self.root)

    def load(self) -> Workflow:
        """The workflow as it is on disk now."""
        return Workflow.load(self.root / "workflows" / "demo.yaml", allowed_handlers=self.allowed_handlers)

    def chunks(self, source: Input) -> Iterator[pa.Table]:
        """The records of ``source``, with the features of the workflow."""
        return read_records(source, allowed_uris=self.allowed_uris)

    def start(self, source: Input, *, store: Store | None = None, run_id: str = "run") -> Run:
        """What PreprocessOperator does."""
        base = store or Store.open(str(self.root / "store"))
        folder = Folder.of(base, "test", "demo", run_id, self.allowed_handlers)
        return folder.start(snapshot(self.load().plan), self.chunks(source), fingerprint(source))

    def work(self, run: Run) -> Run:
        """What the other Airflow tasks do, each opening the run anew; a red one ends only itself."""
        self.failures = []
        for node in run.plan.nodes:
            own = run.folder.open(run.manifest)
            if isinstance(node, Route | Gate):
                own.control(node)
            elif isinstance(node, Infer):
                for unit in own.units():
                    try:
                        self.infer(
                            own, node, [one for one in own.unit_shards(node, unit) if not own.marker(node.id, one)]
                        )
                    except AgenticError as error:
                        self.failures.append(error)
            elif isinstance(node, Aggregate):
                own.aggregate(node)
        return run.folder.open(run.manifest)

    def infer(self, run: Run, node: Infer, shards: Sequence[Any]) -> None:
        """What LocalInferenceOperator does with a unit."""
        if not shards:
            return
        used = node_card(run.plan, node)
        predictor = start(used, allowed_handlers=self.allowed_handlers)
        try:
            for shard in shards:
                run.infer(node, shard, lambda given: predict_records(predictor, used, given))
        finally:
            predictor.close()

    def online(self, source: Input) -> pa.Table:
        """What the command line does: the Coordinator, in process."""
        records = pa.concat_tables(list(self.chunks(source)))
        return Coordinator(self.load().plan, allowed_handlers=self.allowed_handlers).run(records)

    def both(self, source: Input) -> dict[str, dict[str, Any]]:
        """The committed answers of a batch run, by record id; the Coordinator's and the compact layout's are equal."""
        committed = answers_of(self.work(self.start(source)))
        compact = self.start(source, run_id="compact")
        answer_run(compact, allowed_handlers=self.allowed_handlers)
        expected = comparable(committed)
        for other in (self.online(source), answers_of(compact)):
            assert comparable(other) == expected
        return {row["record_id"]: row for row in committed.to_pylist()}


def answers_of(run: Run) -> pa.Table:
    """The committed answers."""
    return pa.concat_tables([answers for _, answers in run.folder.open(run.manifest).answers()])


def labels(answers: dict[str, dict[str, Any]]) -> dict[str, str | None]:
    """Each record's label, or its error's code."""
    return {name: row["error"]["code"] if row["error"] else row["label"] for name, row in answers.items()}


def python(*arguments: str) -> list[str]:
    """A command line of this interpreter that finds the tests' modules."""
    return [sys.executable, *arguments]
