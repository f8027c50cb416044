"""Committed answers → where the workflow wants them.

One file a shard under the run's own folder; writing a file again writes the same content, so a retry is harmless.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic.artifacts import Store
from airflow_agentic.exceptions import AnswersFailedError
from airflow_agentic.execution.batch import Run, count_answers
from airflow_agentic.plan.ir import Publish

DEAD_LETTERS: Final = "dead_letters"
MAX_NAMED: Final = 5
"""Records that a failure names."""

OpenStore = Callable[[str], Store]


def publish(run: Run, run_id: str, open_store: OpenStore) -> dict[str, Any]:
    """Write the answers, and the dead letters where the workflow asks for them.

    :param open_store: opens a folder outside the run's artifacts.
    :returns: ``uri``, ``format``, ``dead_letters`` (a URI, or absent), and the counts of :func:`count_answers` with
        ``cost``.
    :raises AnswersFailedError: ``on_error: fail`` and a record has no answer. Nothing is published; all answers are
        committed, and clearing recomputes only what is missing.
    """
    node = run.plan.of(Publish)[0]
    if run.plan.options.on_error == "fail":
        _refuse_failures(run)
    folder = target(run.folder.store, run_id, node.uri, open_store)
    summary: dict[str, Any] = {"uri": folder.base, "format": node.format, "cost": 0.0}
    for shard, answers in run.answers():
        folder.write(f"part-{shard.number:05}.{node.format}", serialise(answers, node.format))
        for name, count in count_answers(answers).items():
            summary[name] = summary.get(name, 0) + count
        summary["cost"] += pc.sum(answers.column("cost")).as_py() or 0.0
        if run.plan.options.on_error == "dead_letter":
            letters = _dead_letters(answers, run.records(shard))
            if len(letters):
                apart = folder.child(DEAD_LETTERS)
                apart.write(f"part-{shard.number:05}.{node.format}", serialise(letters, node.format))
                summary["dead_letters"] = apart.base
    summary["cost"] = round(summary["cost"], 9)
    return summary


def serialise(table: pa.Table, format_: str) -> bytes:
    """A table as the bytes of a Parquet or JSONL file."""
    if format_ == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist()).encode()
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def outside_folders(plans: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The absolute ``publish.uri``s of frozen plans: in each, a run has a folder of its own, named by its id."""
    nodes = (node for plan in plans for node in plan.get("nodes", []) if node["kind"] == "publish")
    return tuple(dict.fromkeys(node["uri"] for node in nodes if _is_outside(node["uri"])))


def target(store: Store, run_id: str, uri: str, open_store: OpenStore) -> Store:
    """Where a run's answers are published: a relative folder is the run's own, an absolute one gets a folder a run.

    :param store: the run's folder.
    """
    if _is_outside(uri):
        return open_store(uri).child(run_id)
    return store.child(*(part for part in uri.split("/") if part))


def _is_outside(uri: str) -> bool:
    return "://" in uri or uri.startswith("/")


def _dead_letters(answers: pa.Table, records: pa.Table) -> pa.Table:
    """The records without an answer, with the error of their answer."""
    failed = pc.is_valid(answers.column("error"))
    letters = records.filter(failed)
    column = letters.schema.get_field_index("error")
    return letters.set_column(column, "error", answers.filter(failed).column("error"))


def _refuse_failures(run: Run) -> None:
    named: list[str] = []
    count = 0
    for _, answers in run.answers():
        failed = answers.filter(pc.is_valid(answers.column("error"))).select(["record_id", "error"]).to_pylist()
        count += len(failed)
        named += [
            f"{quote(row['record_id'], safe=' /')}: {row['error']['message']}"
            for row in failed[: MAX_NAMED - len(named)]
        ]
    if count:
        raise AnswersFailedError(
            f"{count} of {run.rows} records have no answer, and the workflow says on_error: fail. "
            f"The answers are committed; mend the cause and clear the failed Airflow tasks, or write on_error: keep. "
            f"First: {'; '.join(named)}"
        )
