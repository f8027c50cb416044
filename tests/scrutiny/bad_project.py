"""A user's project in a temporary folder, and its workflow run as users run it: by Airflow's operators and the CLI."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pyarrow.parquet as pq
from airflow_tasks import Tasks
from builders import API_VERSION, card_data
from typer.testing import CliRunner

from airflow_agentic.cli.app import app
from airflow_agentic.pipeline.document import answer_document
from airflow_agentic.project import Workflow

if TYPE_CHECKING:
    from typer.testing import Result

Answers = dict[str, dict[str, Any]]
"""As the command line's ``--json`` shows them, by record id."""


@dataclass
class Project:
    """A folder with ``models``, ``workflows``, the artifact store ``store`` and whatever a test puts there."""

    root: Path
    allowed_uris: Sequence[str] = ()
    allowed_handlers: Sequence[str] = ("bad_models",)
    store: Path = field(init=False)
    failed: dict[str, str] = field(default_factory=dict)
    """The Airflow tasks that failed in the last :meth:`answers`, and why."""

    def __post_init__(self) -> None:
        self.store = self.root / "store"

    def card(self, name: str = "mood", *, handler: str = "mood", **changes: Any) -> None:
        """``models/NAME.yaml``: a handler of ``bad_models`` in a process of its own."""
        runtime = {"framework": "python", "handler": f"bad_models:{handler}"}
        said = {"classes": ("good", "bad"), "runtime": runtime, "isolation": "process", **changes}
        self._write("models", name, "Model", card_data(name, **said))

    def workflow(self, *routes: Any, **changes: Any) -> None:
        """The workflow ``demo``, and ``compact``, which differs in its layout: one unit, no retries.

        Without routes all records go to ``mood``.
        """
        for name, layout in (("demo", "expanded"), ("compact", "compact")):
            fixed = {"layout": layout, "task": {"retries": 0}, "parallelism": 1}
            listed = list(routes) or [{"name": "main", "use": "mood"}]
            self._write("workflows", name, "Workflow", {"name": name, "routes": listed, **fixed, **changes})

    def _write(self, folder: str, name: str, kind: str, data: Mapping[str, Any]) -> None:
        path = self.root / folder / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"apiVersion": API_VERSION, "kind": kind, **data}), encoding="utf-8")

    def lines(self, *rows: Any, name: str = "inbox.jsonl") -> str:
        """A JSONL file: bytes as they are, all else as JSON. Returns its name."""
        (self.root / name).write_bytes(
            b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)
        )
        return name

    def tasks(self, source: str = "inbox.jsonl", *, workflow: str = "demo", run_id: str = "run") -> Tasks:
        """A Dag run that reads ``source``; none of its Airflow tasks has run."""
        said = {
            "artifacts": str(self.store),
            "allowed_handlers": self.allowed_handlers,
            "allowed_uris": self.allowed_uris,
        }
        settings = {
            f"AIRFLOW__AGENTIC__{name.upper()}": value if isinstance(value, str) else ",".join(value)
            for name, value in said.items()
        }
        path = self.root / "workflows" / f"{workflow}.yaml"
        return Tasks(lambda: Workflow.load(path).dag(), settings, {"uri": str(self.root / source)}, run_id)

    def command_line(self, source: str = "inbox.jsonl", *options: str) -> Result:
        """``airflow-agentic run --json`` in the project's folder; errors that it does not show are raised."""
        said = ["run", "--json", "--workflow", "demo", "--input", source, *options]
        for option, values in (("--allow-handler", self.allowed_handlers), ("--allow-uri", self.allowed_uris)):
            said += [part for value in values for part in (option, value)]
        with contextlib.chdir(self.root):
            return CliRunner().invoke(app, said, catch_exceptions=False)

    def answers(self, source: str = "inbox.jsonl") -> Answers:
        """The answers of a Dag run; those of the compact layout and of the command line are held to be the same."""
        expanded = self.tasks(source).work()
        self.failed = expanded.failed
        found = published(expanded)
        others = published(self.tasks(source, workflow="compact").work()), printed(self.command_line(source))
        for other in others:
            assert {name: _essence(row) for name, row in other.items()} == {
                name: _essence(row) for name, row in found.items()
            }
        return found


def published(tasks: Tasks) -> Answers:
    """The answers that a Dag run published as Parquet."""
    folder = Path(unquote(urlsplit(tasks.published["uri"]).path))
    rows = [row for path in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]
    return {row["record_id"]: answer_document(row) for row in rows}


def printed(result: Result) -> Answers:
    """The answers that the command line wrote."""
    return {row["record_id"]: row for row in map(json.loads, result.stdout.splitlines())}


def labels(answers: Answers) -> dict[str, str | None]:
    """Each record's label, or its error's code."""
    return {name: row["error"]["code"] if "error" in row else row.get("label") for name, row in answers.items()}


def _essence(row: Mapping[str, Any]) -> list[Any]:
    """What all ways of running a workflow agree on: all but measured time and the words of an error."""
    return [row.get("error", {}).get("code"), *(row.get(key) for key in ("label", "score", "value", "output", "model"))]
