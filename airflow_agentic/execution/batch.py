"""A batch run over the artifact store: what the Airflow operators call, one method a node.

State lies below ``{base}/{deployment}/{dag_id}/{run_id}``: frozen plans, manifests, and for every node its data files
and markers. Invariants:

* a *manifest* names the plan, the shards and their content; it is created once under the digest of what it says, and
  its key is all that Airflow tasks pass to each other;
* a shard's key at a node is the digest of the node, the shard's content and the content of what it reads, a lost unit
  being named as lost: so a cleared task reuses what still holds and recomputes what changed;
* control nodes and Aggregate decide from markers alone, never from the state of Airflow tasks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, combinations, islice
from typing import Any, Final, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic.artifacts import DataFile, Marker, Markers, NotFoundError, Store
from airflow_agentic.artifacts.digests import digest
from airflow_agentic.artifacts.erased import read_data, write_data
from airflow_agentic.exceptions import ArtifactError, PlanMismatchError, StoreError
from airflow_agentic.execution import nodes as functions
from airflow_agentic.execution.counts import bounded, count_answers, summed
from airflow_agentic.execution.expiry import refuse_expired, revive
from airflow_agentic.execution.freeze import frozen_document
from airflow_agentic.execution.nodes import ShardState
from airflow_agentic.plan.ir import Aggregate, AnyNode, Gate, Infer, Node, Plan, Preprocess, Publish, Route
from airflow_agentic.routing.decide import Decider

LOST: Final = "lost"
MAX_VARIANTS: Final = 4096
"""Choices of lost units that are tried for one marker."""

N = TypeVar("N", bound=Node)


@dataclass(frozen=True, kw_only=True)
class ShardFile:
    """A shard: its number and its committed records."""

    number: int
    data: DataFile
    errors: int


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Consecutive shards that one process works through: what a mapped Airflow task gets."""

    number: int
    first: int
    last: int
    rows: int
    manifest: str

    def to_json(self) -> dict[str, Any]:
        """For XCom."""
        return {
            "unit": self.number,
            "first": self.first,
            "last": self.last,
            "rows": self.rows,
            "manifest": self.manifest,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Unit:
        """From XCom."""
        return cls(
            number=value["unit"],
            first=value["first"],
            last=value["last"],
            rows=value["rows"],
            manifest=value["manifest"],
        )


@dataclass(frozen=True)
class Folder:
    """Where a run's state lies.

    :param store: below ``{base}/{deployment}/{dag_id}/{run_id}``.
    """

    store: Store
    allowed_handlers: Sequence[str] = ()

    @classmethod
    def of(cls, base: Store, deployment: str, dag_id: str, run_id: str, allowed_handlers: Sequence[str] = ()) -> Folder:
        """The folder of one Dag run."""
        return cls(base.child(deployment, dag_id, run_id), allowed_handlers)

    def start(
        self,
        plan: Plan,
        chunks: Iterable[pa.Table],
        inputs: Sequence[Mapping[str, Any]],
        *,
        params: Mapping[str, Any] | None = None,
        salt: str = "",
    ) -> Run:
        """Freeze the plan and cut the input into shards. A run that has expired begins anew.

        :param plan: with its snapshot.
        :param chunks: normalised records (``tables.RECORD`` and feature columns).
        :param inputs: the input's fingerprint, for provenance.
        :param salt: anything new makes every later node compute again.
        """
        revive(self.store)
        document = frozen_document(plan, params or {})
        plan_name = f"plan-{digest(document)[:16]}.json"
        markers = Markers(self.store)
        markers.freeze("plan.json", document)
        markers.freeze(plan_name, document)
        node = plan.of(Preprocess)[0]
        shards = []
        for number, records in enumerate(cut(chunks, plan.options.shard_rows, plan.options.shard_bytes)):
            prepared = functions.preprocess(node, records, allowed_handlers=self.allowed_handlers)
            data = write_data(self.store, prepared, f"{node.id}/data")
            errors = len(prepared) - prepared.column("error").null_count
            shards.append({"number": number, "errors": errors, "data": vars(data)})
        content = {"plan": plan_name, "salt": salt, "inputs": list(inputs), "shards": shards}
        key = digest(content)
        markers.freeze(_manifest(key), content)
        return self.open(key)

    def open(self, manifest: str, *, topology: str | None = None) -> Run:
        """The run that ``manifest`` describes.

        :param topology: digest of the topology of the Dag that asks.
        :raises ExpiredRunError: it was pruned.
        :raises ArtifactError: it is not there: removed by hand, or never committed.
        :raises PlanMismatchError: the run's plan was frozen for a Dag of another topology.
        """
        refuse_expired(self.store)
        try:
            content = json.loads(self.store.read(_manifest(manifest)))
            document = json.loads(self.store.read(content["plan"]))
        except NotFoundError as error:
            raise ArtifactError(
                f"{error}: the run's artifacts were removed, or its first Airflow task did not commit; "
                "clear the whole run"
            ) from error
        shards = tuple(
            ShardFile(number=one["number"], errors=one["errors"], data=DataFile(**one["data"]))
            for one in content["shards"]
        )
        plan = Plan.model_validate(document["plan"])
        if topology is not None and digest(plan.topology) != topology:
            raise PlanMismatchError(
                f"the Dag of {plan.workflow!r} has changed since this run froze its plan: "
                "clear the whole run to use the new plan, or restore the workflow's file"
            )
        return Run(
            folder=self,
            manifest=manifest,
            plan=plan,
            params=document["params"],
            shards=shards,
            salt=content["salt"],
            inputs=content["inputs"],
        )


def _fewest_first(places: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every choice of at least one of ``places``."""
    return chain.from_iterable(combinations(places, count) for count in range(1, len(places) + 1))


def _manifest(key: str) -> str:
    return f"manifest-{key[:32]}.json"


def cut(chunks: Iterable[pa.Table], rows: int, size: int) -> Iterator[pa.Table]:
    """Shards of at most ``rows`` rows and about ``size`` bytes, in order."""
    waiting: list[pa.Table] = []
    count = held = 0
    for chunk in chunks:
        fitting = max(1, min(rows, int(chunk.num_rows * size / max(chunk.nbytes, 1))))
        for start in range(0, chunk.num_rows, fitting):
            piece = chunk.slice(start, min(fitting, rows))
            while piece.num_rows:
                room = min(rows - count, piece.num_rows)
                waiting.append(piece.slice(0, room))
                count += room
                held += waiting[-1].nbytes
                piece = piece.slice(room)
                if count == rows or held >= size:
                    yield pa.concat_tables(waiting).combine_chunks()
                    waiting, count, held = [], 0, 0
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


@dataclass(frozen=True, kw_only=True)
class Run:
    """A started run: its frozen plan and shards."""

    folder: Folder
    manifest: str
    plan: Plan
    params: Mapping[str, Any]
    shards: tuple[ShardFile, ...]
    salt: str
    inputs: Sequence[Mapping[str, Any]]
    _found: dict[tuple[str, int], Marker | None] = field(default_factory=dict, repr=False)

    @cached_property
    def markers(self) -> Markers:
        """Of this run."""
        return Markers(self.folder.store)

    @cached_property
    def decider(self) -> Decider:
        """Decides from the frozen snapshot."""
        return Decider(self.plan.models)

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """What each node does, by its id."""
        return {node.id: self.plan.node_digest(node) for node in self.plan.nodes}

    def node(self, node_id: str, kind: type[N]) -> N:
        """The node called ``node_id``.

        :raises PlanMismatchError: it is not of ``kind``.
        """
        node = self.plan.node(node_id)
        if not isinstance(node, kind):
            raise PlanMismatchError(
                f"{node_id!r} is a node of kind {node.kind} in the frozen plan: clear the whole run"
            )
        return node

    @property
    def rows(self) -> int:
        """Records in the run."""
        return sum(shard.data.rows for shard in self.shards)

    def units(self) -> list[Unit]:
        """The shards in at most ``parallelism`` runs of about equal length."""
        count = min(self.plan.options.parallelism, len(self.shards))
        units = []
        for number in range(count):
            first, end = (len(self.shards) * place // count for place in (number, number + 1))
            rows = sum(shard.data.rows for shard in self.shards[first:end])
            units.append(Unit(number=number, first=first, last=end - 1, rows=rows, manifest=self.manifest))
        return units

    def key(self, node: AnyNode, shard: ShardFile) -> str:
        """The key of what ``node`` is asked about ``shard``, as the markers are now."""
        return self._key(node, [self._need(need, shard) for need in node.needs])

    def _key(self, node: AnyNode, needs: Sequence[str]) -> str:
        return digest({"node": self.digests[node.id], "salt": self.salt, "needs": list(needs)})

    def _need(self, node_id: str, shard: ShardFile) -> str:
        if node_id == self.plan.nodes[0].id:
            return shard.data.sha256
        marker = self.marker(node_id, shard)
        return LOST if marker is None else marker.data.sha256

    def marker(self, node_id: str, shard: ShardFile) -> Marker | None:
        """The committed answer of a node for a shard, if there is one. A commit that was seen stays seen.

        A node that decided while a unit was lost stays valid when a zombie commits that unit after all: its marker is
        found under the key that names the unit as lost.
        """
        place = (node_id, shard.number)
        if self._found.get(place) is None:
            node = self.plan.node(node_id)
            found = self.markers.find(node_id, shard.number, self.key(node, shard))
            self._found[place] = self._decided_without(node, shard) if found is None else found
        return self._found[place]

    def committed(self, node: AnyNode, shard: ShardFile) -> Marker:
        """The same, where it must be there.

        :raises ArtifactError: it is not.
        """
        marker = self.marker(node.id, shard)
        if marker is None:
            raise ArtifactError(
                f"{node.id!r} has not committed shard {shard.number}: clear the Airflow task {node.id!r}"
            )
        return marker

    def _decided_without(self, node: AnyNode, shard: ShardFile) -> Marker | None:
        """The marker of a node that saw fewer predictions than are committed now."""
        if not any(isinstance(self.plan.node(need), Infer) for need in node.needs):
            return None
        present = self.markers.keys(node.id).get(shard.number, [])
        if not present:
            return None
        needs = [self._need(need, shard) for need in node.needs]
        late = [
            place
            for place, need in enumerate(node.needs)
            if needs[place] != LOST and isinstance(self.plan.node(need), Infer)
        ]
        for lost in islice(_fewest_first(late), MAX_VARIANTS):
            key = self._key(node, [LOST if place in lost else need for place, need in enumerate(needs)])
            if key in present:
                return self.markers.find(node.id, shard.number, key)
        return None

    def records(self, shard: ShardFile) -> pa.Table:
        """The shard's records."""
        return read_data(self.folder.store, shard.data, "clear the whole run")

    def state(self, shard: ShardFile, node: AnyNode) -> ShardState:
        """What ``node`` may know of ``shard``.

        :raises StoreError: a control node that it needs has not committed: it failed, or Airflow ran the tasks out of
            order.
        """
        state = ShardState(self.plan, self.records(shard))
        for need in node.needs[1:]:
            marker = self.marker(need, shard)
            if marker is not None:
                state = state.with_table(need, self.markers.read(marker))
            elif not isinstance(self.plan.node(need), Infer):
                raise StoreError(
                    f"{need!r} has not committed shard {shard.number}: clear the Airflow task {need!r}, then this one"
                )
        return state

    def control(self, node: Route | Gate) -> dict[str, int]:
        """Run Route or a gate over all shards; returns how many rows each target or outcome got."""
        return bounded(summed(self._once(node, shard, self._decide).counts for shard in self.shards))

    def _decide(self, node: AnyNode, state: ShardState) -> tuple[pa.Table, dict[str, int]]:
        if isinstance(node, Route):
            table = functions.route(node, state, self.decider)
        elif isinstance(node, Gate):
            table = functions.gate(node, state, self.decider, allowed_handlers=self.folder.allowed_handlers)
        else:
            raise TypeError(f"{node.id!r} is no control node")
        counts: dict[str, int] = {}
        for column in ("target", "outcome"):
            for entry in pc.value_counts(table.column(column).cast(pa.string())).to_pylist():
                if entry["values"] is not None:
                    counts[entry["values"]] = entry["counts"]
        return table, counts

    def selected(self, node: Infer, shard: ShardFile) -> int:
        """How many rows of ``shard`` the node is given, from its controls' markers alone."""
        markers = [self.marker(control, shard) for control in node.controls]
        return sum(marker.counts.get(node.id, 0) for marker in markers if marker is not None)

    def selects_any(self, node_id: str) -> bool:
        """Whether the infer node ``node_id`` is given any row."""
        node = self.plan.node(node_id)
        return isinstance(node, Infer) and any(self.selected(node, shard) for shard in self.shards)

    def unit_shards(self, node: Infer, unit: Unit) -> list[ShardFile]:
        """The shards of ``unit`` in which the node is given rows."""
        return [shard for shard in self.shards[unit.first : unit.last + 1] if self.selected(node, shard)]

    def infer(self, node: Infer, shard: ShardFile, predict: functions.Predict) -> Marker:
        """Run a model over its rows of a shard, unless that is committed already."""

        def compute(_: AnyNode, state: ShardState) -> tuple[pa.Table, dict[str, int]]:
            table = functions.infer(node, state, predict, allowed_handlers=self.folder.allowed_handlers)
            errors = len(table) - table.column("error").null_count
            return table, {"predictions": len(table), "errors": errors}

        return self._once(node, shard, compute)

    def aggregate(self, node: Aggregate) -> dict[str, int]:
        """Answer every record; returns counts of answers, errors by code, and of answers by model."""

        def compute(_: AnyNode, state: ShardState) -> tuple[pa.Table, dict[str, int]]:
            table = functions.aggregate(node, state, allowed_handlers=self.folder.allowed_handlers)
            return table, count_answers(table)

        return bounded(summed(self._once(node, shard, compute).counts for shard in self.shards))

    def answers(self) -> Iterator[tuple[ShardFile, pa.Table]]:
        """The committed answers, by shard.

        :raises ArtifactError: some are not committed.
        """
        node = self.plan.of(Aggregate)[0]
        for shard in self.shards:
            marker = self.answered(shard) or self.marker(node.id, shard)
            if marker is None:
                raise ArtifactError(f"shard {shard.number} has no answers yet: clear the Airflow task {node.id!r}")
            yield shard, self.markers.read(marker)

    def answered(self, shard: ShardFile) -> Marker | None:
        """The answers that one process made of the whole plan, without markers in between."""
        return self.markers.find(self.plan.of(Aggregate)[0].id, shard.number, self.whole(shard))

    def commit_answers(self, shard: ShardFile, answers: pa.Table) -> Marker:
        """Commit the answers of one process to a shard."""
        node = self.plan.of(Aggregate)[0]
        return self.markers.commit(node.id, shard.number, self.whole(shard), answers, count_answers(answers))

    def whole(self, shard: ShardFile) -> str:
        """The key of all nodes at once, but for Publish: where answers go changes none."""
        whole = [self.digests[node.id] for node in self.plan.nodes if not isinstance(node, Publish)]
        return digest({"plan": whole, "salt": self.salt, "shard": shard.data.sha256})

    def _once(
        self, node: AnyNode, shard: ShardFile, compute: Callable[[AnyNode, ShardState], tuple[pa.Table, dict[str, int]]]
    ) -> Marker:
        """The marker of ``node`` for ``shard``: the one that stands, or ours."""
        key = self.key(node, shard)
        found = self.markers.find(node.id, shard.number, key)
        if found is None:
            table, counts = compute(node, self.state(shard, node))
            found = self.markers.commit(node.id, shard.number, key, table, counts)
        self._found[(node.id, shard.number)] = found
        return found
