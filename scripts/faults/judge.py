"""What became of a run: every record answered once, rightly, and every marker single and whole."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow.parquet as pq

from airflow_agentic.artifacts import Markers, Store
from airflow_agentic.exceptions import AgenticError
from airflow_agentic.execution import Folder
from airflow_agentic.plan.ir import Infer, Preprocess, Publish
from scripts.faults.workload import Answer, judged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ANSWERS: Final = "answers"
"""Where the workflows publish: the files there are no markers."""
MANIFEST: Final = "manifest-"
SHOWN: Final = 3
"""Problems of one run that are told."""


@dataclass
class Verdict:
    """Counts over runs; ``problems`` says what they are."""

    runs: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    late: int = 0
    """Data files that no marker names: a writer came too late, or was killed before its marker."""
    problems: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing is lost, doubled or wrong."""
        return not (self.lost or self.doubled or self.wrong)

    def add(self, other: Verdict) -> None:
        """Count another's runs with these."""
        self.runs += other.runs
        self.lost += other.lost
        self.doubled += other.doubled
        self.wrong += other.wrong
        self.late += other.late
        self.problems += other.problems


def unanswered(name: str, expected: Mapping[str, Answer], why: str) -> Verdict:
    """A run that did not succeed: all its records are lost."""
    return Verdict(runs=1, lost=len(expected), problems=[f"{name}: {why}"])


def judge_answers(name: str, rows: Iterable[Mapping[str, Any]], expected: Mapping[str, Answer]) -> Verdict:
    """Hold the answers of one run against what they must be."""
    found: dict[str, list[Answer]] = {}
    for row in rows:
        found.setdefault(row["record_id"], []).append(judged(row))
    lost = sorted(expected.keys() - found.keys())
    doubled = sorted(record for record, answers in found.items() if len(answers) > 1)
    wrong = sorted(record for record, answers in found.items() if any(one != expected.get(record) for one in answers))
    verdict = Verdict(runs=1, lost=len(lost), doubled=len(doubled), wrong=len(wrong))
    for what, records in (("lost", lost), ("doubled", doubled), ("wrong", wrong)):
        verdict.problems += [f"{name}: {what} {record}: {found.get(record)}" for record in records[:SHOWN]]
    return verdict


def judge_markers(name: str, store: Store) -> Verdict:
    """Hold the markers of a run, in which no unit was given up, to the protocol.

    A second key of a shard counts as doubled, data that is not what its marker pins as wrong.
    """
    verdict = Verdict()
    markers = Markers(store)
    files = store.list()
    named: set[str] = set()
    for node in sorted({file.rpartition("/")[0] for file in files if "/part-" in file}):
        if node.startswith(ANSWERS):
            continue
        for shard, keys in markers.keys(node).items():
            if len(keys) > 1:
                verdict.doubled += 1
                verdict.problems.append(f"{name}: shard {shard} of {node!r} has the markers {keys}")
            for key in keys:
                try:
                    marker = markers.find(node, shard, key)
                    if marker is not None:
                        named.add(marker.data.name)
                        markers.read(marker)
                except AgenticError as error:
                    verdict.wrong += 1
                    verdict.problems.append(f"{name}: {error}")
    data = {file for file in files if "/data/" in file and not file.startswith("preprocess/")}
    verdict.late = len(data - named)
    return verdict


def judge_keys(name: str, store: Store) -> Verdict:
    """Hold every node's answer to the question that the run asks as its markers are now.

    A marker that was written anew, or a second manifest, would leave behind what followed: counted as wrong.
    """
    verdict = Verdict()
    manifests = [file for file in store.list(recursive=False) if file.startswith(MANIFEST)]
    for file in manifests:
        run = Folder(store).open(file.removeprefix(MANIFEST).removesuffix(".json"))
        for shard in run.shards:
            if run.answered(shard) is not None:
                continue
            for node in run.plan.nodes:
                idle = isinstance(node, Infer) and not run.selected(node, shard)
                if not isinstance(node, Preprocess | Publish) and not idle and run.marker(node.id, shard) is None:
                    verdict.problems.append(f"{name}: shard {shard.number} of {node.id!r} answers another question")
    if len(manifests) != 1:
        verdict.problems.append(f"{name}: has the manifests {manifests}")
    verdict.wrong = len(verdict.problems)
    return verdict


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The answers in a file that the command line wrote."""
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    return [json.loads(line) for line in path.read_text().splitlines()]
