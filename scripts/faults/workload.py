"""What runs while it is killed: a project of four workflows over the same records, and what their answers must be."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from airflow_agentic.project import Project
from scripts.faults import opinions
from scripts.faults.opinions import scores

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

RECORDS: Final = 36
SHARD: Final = 6
UNITS: Final = 2
CALL_SECONDS: Final = 0.15
ACCEPT: Final = 0.75
HANDLERS: Final = "opinions"
CASCADE: Final = {"cascade": ["quick", "careful"], "accept": f"prediction.score >= {ACCEPT}"}
VOTE: Final = {"ensemble": ["quick", "careful", "third"], "aggregate": "mean"}
WORKFLOWS: Final[Mapping[str, Mapping[str, Any]]] = {
    "cascade": {"use": CASCADE, "layout": "expanded"},
    "vote": {"use": VOTE, "layout": "expanded"},
    "cascade-compact": {"use": CASCADE, "layout": "compact"},
    "vote-compact": {"use": VOTE, "layout": "compact"},
}
RETRIES: Final = 99
RETRY_DELAY: Final = "5s"
MODELS: Final = ("quick", "careful", "third")
LOADER: Final = "from airflow_agentic import load_workflows  # airflow dag\n\nload_workflows('workflows')\n"
JUDGED: Final = ("label", "score", "model", "calls", "degraded", "error")
"""The columns of an answer that no kill may change."""

Answer = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The project in ``dags``, and the one right answer of each record in each workflow."""

    dags: Path
    code: Path
    calls: Path
    """Every call of a model, a line each."""
    expected: Mapping[str, Mapping[str, Answer]]
    """By workflow and record id."""

    def called(self) -> dict[int, list[float]]:
        """Times of day of the models' calls, by their processes' ids."""
        found: dict[int, list[float]] = {}
        for line in self.calls.read_text().splitlines():
            when, pid, _ = line.split(maxsplit=2)
            found.setdefault(int(pid), []).append(float(when))
        return found

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to import the models and to be allowed to."""
        paths = (str(self.code), os.environ.get("PYTHONPATH", ""))
        return {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "AIRFLOW_AGENTIC_ALLOWED_HANDLERS": HANDLERS,
        }


def make(home: Path, chance: random.Random) -> Workload:
    """Write the project below ``home``, and answer its records in this process.

    :raises ValueError: the Coordinator's answers are not those that the models' known scores give.
    """
    dags, code, calls = home / "dags", home / "code", home / "calls.log"
    for folder in (dags / "workflows", dags / "models", code):
        folder.mkdir(parents=True)
    shutil.copy(Path(opinions.__file__), code / f"{HANDLERS}.py")
    (dags / "loader.py").write_text(LOADER)
    _write_cards(dags, calls, seconds=0.0)
    for name, said in WORKFLOWS.items():
        _write(dags / "workflows" / f"{name}.yaml", _workflow(name, said))
    records = [{"record_id": f"r{place:02}", "text": f"{chance.random():.12f}"} for place in range(RECORDS)]
    (dags / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    sys.path.insert(0, str(code))  # a model process inherits the import path
    project = Project(dags, (HANDLERS,))
    expected = {name: _answers(project, name, records) for name in WORKFLOWS}
    _write_cards(dags, calls, seconds=CALL_SECONDS)
    return Workload(dags=dags, code=code, calls=calls, expected=expected)


def judged(row: Mapping[str, Any]) -> Answer:
    """What is compared of an answer, as a row of a file or of a table."""
    said = {name: row.get(name) for name in JUDGED}
    score = said["score"]
    return {**said, "score": None if score is None else round(score, 6)}


def _answers(project: Project, name: str, records: Sequence[Mapping[str, str]]) -> dict[str, Answer]:
    rows = {row["record_id"]: judged(row) for row in project.workflow(name).run(records).to_pylist()}
    for record in records:
        label, score = _truth(WORKFLOWS[name]["use"], record["text"])
        row = rows[record["record_id"]]
        if row["label"] != label or not math.isclose(row["score"], score, abs_tol=1e-5):
            raise ValueError(f"{name}: the Coordinator answers {row} to {record}, expected {label!r} with {score}")
    return rows


def _truth(use: Mapping[str, Any], text: str) -> tuple[str, float]:
    """Label and score by the pattern's definition, without any code of the product."""
    if "cascade" in use:
        quick = scores("quick", text)
        said = quick if max(quick.values()) >= ACCEPT else scores("careful", text)
    else:
        votes = [scores(mood, text) for mood in MODELS]
        said = {label: math.fsum(vote[label] for vote in votes) / len(votes) for label in votes[0]}
    return max(said.items(), key=lambda item: item[1])


def _write_cards(dags: Path, calls: Path, *, seconds: float) -> None:
    for name in MODELS:
        _write(dags / "models" / f"{name}.yaml", _card(name, {"mood": name, "log": str(calls), "seconds": seconds}))


def _card(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "airflow-agentic/v1",
        "kind": "Model",
        "name": name,
        "version": "1",
        "task": "text-analysis",
        "input": "text",
        "output": {"classes": ["negative", "positive"]},
        "runtime": {"framework": "python", "handler": f"{HANDLERS}:Opinion", "args": arguments},
    }


def _workflow(name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "airflow-agentic/v1",
        "kind": "Workflow",
        "name": name,
        "layout": said["layout"],
        "dag": {"schedule": None, "max_active_runs": 100},
        "task": {"retries": RETRIES, "retry_delay": RETRY_DELAY},
        "input": "../records.jsonl",
        "shard": {"rows": SHARD},
        "parallelism": UNITS,
        "routes": [{"name": "main", "use": said["use"]}],
        "publish": {"uri": "answers/", "format": "parquet"},
    }


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
