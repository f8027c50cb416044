"""Erasing a record: its content is gone from every file of ours, and its runs stay whole.

Rows are addressed by their place in a shard, so a row is redacted, never removed. Markers, manifests and keys stay as
they are; a redacted data file is found over a redirect (:mod:`airflow_agentic.artifacts.erased`). Invariants:

1. Every file is complete at any moment, before or after; a crash between two steps leaves both, never neither.
2. Erasing again finishes what a crash left, and finds nothing to do where all is done.
3. The records' files, which say in which rows of which shard the record is, are redacted last: until then another try
   finds the selections, which name rows only.
4. What lies outside of a run's folder (an absolute ``publish.uri``) is erased where it can be opened, else named.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic.artifacts import NotFoundError, Store
from airflow_agentic.artifacts.erased import chain_of, redirect_of, replace_data
from airflow_agentic.artifacts.store import parse_table
from airflow_agentic.exceptions import ArtifactError, ChecksumError, InputError, StoreError
from airflow_agentic.execution.expiry import sweep
from airflow_agentic.execution.publish import PUBLISHED, OpenStore, outside_folders, serialise
from airflow_agentic.execution.redaction import CODE, redact, redact_lines
from airflow_agentic.execution.retention import Clock, now
from airflow_agentic.execution.runs import MARKER, RunPlace, State, StoredRun, find_runs

_DATA: Final = re.compile(r"(?:.+/)?data/[0-9a-f]{64}\.parquet")


@dataclass(frozen=True, kw_only=True)
class Erased:
    """What was done to a run that held the record."""

    place: RunPlace
    state: State
    """Of a run that is not complete, an Airflow task may still write what it read before: erase again after it."""
    files: int
    """Files that were redacted, published ones included."""
    rows: int
    unreached: tuple[str, ...] = ()
    """Folders of published answers that could not be read or written, and why."""


def erase(
    base: Store,
    deployment: str,
    record_id: str,
    open_store: OpenStore,
    *,
    dag_id: str | None = None,
    run_id: str | None = None,
    clock: Clock = now,
) -> Iterator[Erased]:
    """Erase a record from every run, one by one as they are taken; runs that do not hold it are left out.

    Reads all data of those runs. One process may erase at a time, and none of their Airflow tasks should be running.

    :param record_id: as it stands in the answers: given, or derived.
    :param open_store: opens a folder outside the run's artifacts.
    :param dag_id: only of this Dag.
    :param run_id: only in this run of it.
    :raises InputError: ``record_id`` is empty.
    """
    if not record_id:
        raise InputError("the record_id is '': name the record that is to be erased, as it stands in the answers")
    for run in find_runs(base, deployment, dag_id=dag_id, run_id=run_id):
        eraser = _Eraser(run, record_id)
        eraser.inside()
        eraser.outside(open_store)
        if eraser.files or eraser.unreached:
            yield Erased(
                place=run.place,
                state=run.state(clock()),
                files=eraser.files,
                rows=eraser.rows,
                unreached=tuple(eraser.unreached),
            )


@dataclass
class _Eraser:
    run: StoredRun
    record_id: str
    new_id: str = CODE
    files: int = 0
    rows: int = 0
    unreached: list[str] = field(default_factory=list)
    places: dict[int, set[int]] = field(default_factory=dict)
    """The record's rows, by shard."""

    @property
    def store(self) -> Store:
        return self.run.store

    def inside(self) -> None:
        """Erase from the run's own folder: selections, then what has ids, then the records."""
        if self.run.tombstone is not None:
            sweep(self.store)  # what lies behind a tombstone is waste
            return
        names = [one.name for one in self.run.objects]
        records = self._of_kinds(names, "preprocess")
        held = self._held(records)
        if self.places:
            self._selections(names)
        for name in names:
            if name not in records:
                self._guarded(self._file, self.store, name)
        for name in held:
            self._guarded(self._file, self.store, name)

    def outside(self, open_store: OpenStore) -> None:
        """Erase from the answers that were published elsewhere."""
        tombstone = self.run.tombstone
        for uri in outside_folders(self.run.plans()) if tombstone is None else tombstone.published:
            try:
                folder = open_store(uri).child(self.run.place.run_id)
                names = folder.list()
            except (ArtifactError, InputError) as error:
                self.unreached.append(str(error))
                continue
            for name in names:
                if PUBLISHED.fullmatch(name):
                    self._guarded(self._file, folder, name)

    def _guarded(self, step: Callable[[Store, str], None], store: Store, name: str) -> None:
        """One file that cannot be read must not keep the others; a store that is away is the caller's matter."""
        try:
            step(store, name)
        except NotFoundError:
            return  # deleted since it was listed
        except ArtifactError as error:
            if isinstance(error, StoreError) and store is self.store:
                raise
            self.unreached.append(str(error))
        except ValueError as error:
            self.unreached.append(f"{store.uri(name)} cannot be read, and may hold the record: {error}")

    def _of_kinds(self, names: Iterable[str], *kinds: str) -> list[str]:
        """The data files of nodes of these kinds, in any of the run's plans."""
        nodes = {node["id"] for plan in self.run.plans() for node in plan.get("nodes", []) if node["kind"] in kinds}
        return [name for name in names if _DATA.fullmatch(name) and name.partition("/")[0] in nodes]

    def _held(self, records: Iterable[str]) -> list[str]:
        """The files that hold the record itself; learns its rows and its new name from them."""
        numbers: dict[str, set[int]] = {}
        for number, name in self.run.shard_files():
            for present in chain_of(self.store, name):
                numbers.setdefault(present, set()).add(number)
        held: list[str] = []

        def look(_: Store, name: str) -> None:
            table = self._table(name)
            rows = self._rows(table)
            if rows:
                held.append(name)
                self.new_id = f"{CODE}-{table.column('position')[rows[0]].as_py()}"
            for number in numbers.get(name, ()):
                self.places.setdefault(number, set()).update(rows)

        for name in records:
            self._guarded(look, self.store, name)
        self.places = {number: rows for number, rows in self.places.items() if rows}
        return held

    def _selections(self, names: Sequence[str]) -> None:
        """Erase the reasons of the record's rows.

        A file that no marker names may be of any shard. One that several shards share says the same of other records,
        so it tells nothing of this one and stays theirs.
        """
        shards: dict[str, set[int]] = {}
        for path in names:
            if match := MARKER.fullmatch(path):
                for present in chain_of(self.store, json.loads(self.store.read(path))["data"]["name"]):
                    shards.setdefault(present, set()).add(int(match[2]))
        anywhere = set[int]().union(*self.places.values())

        def mark(_: Store, name: str) -> None:
            table = self._table(name)
            wanted = set(anywhere).intersection(*(self.places.get(shard, ()) for shard in shards.get(name, ())))
            rows = _indices(pc.is_in(table.column("row"), pa.array(sorted(wanted), pa.int32())))
            reasons = table.column("reason").take(pa.array(rows, pa.int64())).to_pylist()
            if any(reason != CODE for reason in reasons):
                self._replace(name, redact(table, rows, self.new_id), len(rows))

        for name in self._of_kinds(names, "route", "gate"):
            self._guarded(mark, self.store, name)

    def _file(self, store: Store, name: str) -> None:
        """Erase from a file whose rows have ids."""
        if name.endswith(".jsonl"):
            left = redact_lines(store.read(name).decode(), self.record_id, self.new_id)
            if left is not None:
                self._rewrite(store, name, left.encode(), 1)
        elif name.endswith(".parquet"):
            ours = store is self.store and _DATA.fullmatch(name) is not None
            table = self._table(name) if ours else store.read_table(name)
            rows = self._rows(table)
            if not rows:
                return
            left_over = redact(table, rows, self.new_id)
            if ours:
                self._replace(name, left_over, len(rows))
            else:
                self._rewrite(store, name, serialise(left_over, "parquet"), len(rows))

    def _table(self, name: str) -> pa.Table:
        """A data file of the run: what it holds must be what its name says, or a redirect would pin damaged bytes."""
        content = self.store.read(name)
        if hashlib.sha256(content).hexdigest() != name.rpartition("/")[2].removesuffix(".parquet"):
            raise ChecksumError(
                f"{self.store.uri(name)} is damaged, and may hold the record: delete it and clear the Airflow task"
            )
        return parse_table(content, self.store.uri(name))

    def _rows(self, table: pa.Table) -> list[int]:
        if "record_id" not in table.column_names:
            return []
        return _indices(pc.equal(table.column("record_id"), self.record_id))

    def _replace(self, name: str, left: pa.Table, rows: int) -> None:
        if redirect_of(self.store, name) is not None:  # a crash came before the last step
            self.store.delete(name)
        else:
            replace_data(self.store, name, left)
        self._count(rows)

    def _rewrite(self, store: Store, name: str, content: bytes, rows: int) -> None:
        store.write(name, content)
        self._count(rows)

    def _count(self, rows: int) -> None:
        self.files += 1
        self.rows += rows


def _indices(hit: pa.ChunkedArray) -> list[int]:
    """The places where it is true; null is false."""
    found: list[int] = pc.indices_nonzero(pc.fill_null(hit, False)).to_pylist()
    return found
