"""Committed answers → where the workflow wants them.

One file a shard under the run's own folder; writing a file again writes the same content, so a retry is harmless. What
an earlier try left and this one does not write (it had more shards, or dead letters that are answered now) is deleted
last: the folder then holds this run's answers, each once.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic.artifacts import Store
from airflow_agentic.exceptions import AnswersFailedError, InputError
from airflow_agentic.execution.batch import Run
from airflow_agentic.execution.counts import bounded, count_answers, summed
from airflow_agentic.plan.ir import Publish

OWNER: Final = "_run.json"
"""Beside answers published outside the run's folder: whose they are. Readers of Parquet folders pass it over."""
DEAD_LETTERS: Final = "dead_letters"
MAX_NAMED: Final = 5
"""Records that a failure names."""

PUBLISHED: Final = re.compile(rf"(?:{DEAD_LETTERS}/)?part-[0-9]{{5,}}\.(?:parquet|jsonl)")
"""The files that :func:`publish` writes."""

OpenStore = Callable[[str], Store]


def publish(run: Run, run_id: str, open_store: OpenStore) -> dict[str, Any]:
    """Write the answers, and the dead letters where the workflow asks for them.

    :param open_store: opens a folder outside the run's artifacts.
    :returns: ``uri``, ``format``, ``dead_letters`` (a URI, or absent), and the counts of :func:`count_answers` with
        ``cost``.
    :raises InputError: the workflow's absolute ``publish.uri`` holds the answers of another Dag's run of this id.
    :raises AnswersFailedError: ``on_error: fail`` and a record has no answer. Nothing is published; all answers are
        committed, and clearing recomputes only what is missing.
    """
    node = run.plan.of(Publish)[0]
    if run.plan.options.on_error == "fail":
        _refuse_failures(run)
    folder = target(run.folder.store, run_id, node.uri, open_store)
    if _is_outside(node.uri):
        _claim(folder, run, node.uri)
    letters_folder = folder.child(DEAD_LETTERS)
    summary: dict[str, Any] = {"uri": folder.base, "format": node.format}
    counts: list[dict[str, int]] = []
    cost = 0.0
    written: set[str] = set()
    for shard, answers in run.answers():
        name = f"part-{shard.number:05}.{node.format}"
        folder.write(name, serialise(answers, node.format))
        written.add(name)
        counts.append(count_answers(answers))
        cost += pc.sum(answers.column("cost")).as_py() or 0.0
        if run.plan.options.on_error == "dead_letter":
            letters = _dead_letters(answers, run.records(shard))
            if len(letters):
                letters_folder.write(name, serialise(letters, node.format))
                written.add(f"{DEAD_LETTERS}/{name}")
                summary["dead_letters"] = letters_folder.base
    for name in folder.list():
        if PUBLISHED.fullmatch(name) and name not in written:
            folder.delete(name)
    return {**summary, **bounded(summed(counts)), "cost": round(cost, 9)}


def serialise(table: pa.Table, format_: str) -> bytes:
    """A table as the bytes of a Parquet or JSONL file; JSON has bytes, of a dead letter's input, in base64."""
    if format_ == "jsonl":
        rows = (json.dumps(row, ensure_ascii=False, default=_base64) for row in table.to_pylist())
        return "".join(f"{row}\n" for row in rows).encode()
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


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


def _claim(folder: Store, run: Run, uri: str) -> None:
    """Two Dags may have runs of one id, as every hour's: they must not share a folder.

    :raises InputError: the folder holds another run's answers.
    """
    mine = json.dumps({"run": run.folder.store.base}).encode()
    if not folder.create(OWNER, mine) and (found := folder.read(OWNER)) != mine:
        raise InputError(
            f"publish.uri is {uri!r}, where {folder.base} holds the answers of another run ({found.decode()}); "
            "give each workflow a publish.uri of its own"
        )


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
