"""Which runs lie below an artifact store, and how far each has come: by listing, and two small documents a run.

Layout: ``{base}/{deployment}/{dag_id}/{run_id}``, and a folder more for a model operator in a user's own Dag: its
Airflow task's id. A folder is a run exactly if a plan, a manifest or a tombstone lies right in it; others are left
alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final, Literal
from urllib.parse import unquote

from airflow_agentic.artifacts import NotFoundError, Store
from airflow_agentic.artifacts.store import StoredObject
from airflow_agentic.exceptions import InputError
from airflow_agentic.execution.expiry import EXPIRED, Tombstone, tombstone_of

State = Literal["running", "complete", "partly", "expired"]
"""``complete``: every shard has answers; else ``running`` if something was written within :data:`ACTIVE`, ``partly`` if
not; ``expired``: pruned."""

ACTIVE: Final = timedelta(hours=1)

_ROOT: Final = re.compile(r"(?:([^/]+)/)?(?:plan\.json|expired\.json|manifest-[0-9a-f]{32}\.json)")
_MANIFEST: Final = re.compile(r"manifest-([0-9a-f]{32})\.json")
_PLAN: Final = re.compile(r"plan(-[0-9a-f]+)?\.json")
MARKER: Final = re.compile(r"([^/]+)/part-([0-9]+)\.[^/]+\.json")
"""A marker's name below a run: its node and its shard."""


@dataclass(frozen=True, kw_only=True, order=True)
class RunPlace:
    """Whose run it is."""

    dag_id: str
    run_id: str
    task_id: str = ""
    """Of a model operator in a user's own Dag."""

    def __str__(self) -> str:
        return "/".join(part for part in (self.dag_id, self.run_id, self.task_id) if part)

    @classmethod
    def parse(cls, text: str) -> RunPlace:
        """``DAG/RUN`` or ``DAG/RUN/TASK``.

        :raises InputError: it is neither.
        """
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise InputError(
                f"{text!r} names no run: write DAG/RUN, or DAG/RUN/TASK for a model operator, as `artifacts list` does"
            )
        return cls(dag_id=parts[0], run_id=parts[1], task_id=parts[2] if len(parts) == 3 else "")


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A run as its folder shows it at one moment."""

    place: RunPlace
    store: Store
    objects: tuple[StoredObject, ...]
    """All of its folder."""

    @cached_property
    def tombstone(self) -> Tombstone | None:
        """What is left of it, if it has expired."""
        return tombstone_of(self.store) if any(one.name == EXPIRED for one in self.objects) else None

    @cached_property
    def manifest(self) -> str | None:
        """The key of the manifest that was committed last, as :meth:`Folder.open` takes it."""
        found = [(one.written_at, match[1]) for one in self.objects if (match := _MANIFEST.fullmatch(one.name))]
        return max(found)[1] if found else None

    @cached_property
    def _content(self) -> dict[str, Any]:
        return {} if self.manifest is None else self._document(f"manifest-{self.manifest}.json")

    @cached_property
    def plan(self) -> dict[str, Any]:
        """The frozen plan of the last manifest, as JSON; the first one where no manifest was committed."""
        found: dict[str, Any] = self._document(self._content.get("plan", "plan.json")).get("plan", {})
        return found

    def plans(self) -> Iterator[dict[str, Any]]:
        """Every plan that the run ever froze, as JSON."""
        for one in self.objects:
            if _PLAN.fullmatch(one.name):
                yield self._document(one.name).get("plan", {})

    def shard_files(self) -> Iterator[tuple[int, str]]:
        """Number and data file of every shard, of every manifest."""
        for one in self.objects:
            if _MANIFEST.fullmatch(one.name):
                for shard in self._document(one.name).get("shards", []):
                    yield shard["number"], shard["data"]["name"]

    def _document(self, name: str) -> dict[str, Any]:
        """A JSON object of the run; empty where it is gone or damaged: a listing shows what it can."""
        try:
            found = json.loads(self.store.read(name))
        except (NotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def workflow(self) -> str:
        """Its name; empty where the plan cannot be read."""
        return self.tombstone.workflow if self.tombstone is not None else str(self.plan.get("workflow", ""))

    @property
    def records(self) -> int:
        """Of the last manifest."""
        if self.tombstone is not None:
            return self.tombstone.records
        return sum(shard["data"]["rows"] for shard in self._content.get("shards", []))

    @property
    def shards(self) -> int:
        """Of the last manifest."""
        return len(self._content.get("shards", []))

    def committed(self, node_id: str) -> int:
        """How many of these shards have a marker of the node: also one to an earlier question."""
        numbers = {shard["number"] for shard in self._content.get("shards", [])}
        marked = (match for one in self.objects if (match := MARKER.fullmatch(one.name)) and match[1] == node_id)
        return len(numbers & {int(match[2]) for match in marked})

    @cached_property
    def answered(self) -> int:
        """How many of these shards have answers."""
        nodes = self.plan.get("nodes", [])
        return sum(self.committed(node["id"]) for node in nodes if node["kind"] == "aggregate")

    @property
    def bytes(self) -> int:
        """Of all objects."""
        return sum(one.bytes for one in self.objects)

    @cached_property
    def written_at(self) -> datetime:
        """When the run was last written to.

        Of a complete run its last commit counts: publishing again and erasing a record do not make it younger.
        """
        written = [one for one in self.objects if one.name != EXPIRED] or self.objects
        commits = [one for one in written if _is_commit(one.name)]
        return max(one.written_at for one in (commits if commits and self._is_complete else written))

    @property
    def _is_complete(self) -> bool:
        return 0 < self.shards == self.answered

    def state(self, now: datetime) -> State:
        """How far it has come."""
        if self.tombstone is not None:
            return "expired"
        if self._is_complete:
            return "complete"
        return "running" if now - self.written_at < ACTIVE else "partly"

    @property
    def retention(self) -> float | None:
        """Seconds that its workflow says."""
        found = self.plan.get("options", {}).get("retention")
        return None if found is None else float(found)

    def again(self) -> StoredRun:
        """The same run as it is now."""
        return StoredRun(place=self.place, store=self.store, objects=tuple(self.store.objects()))


def _is_commit(name: str) -> bool:
    return any(pattern.fullmatch(name) for pattern in (MARKER, _MANIFEST, _PLAN))


def find_runs(
    base: Store, deployment: str, *, dag_id: str | None = None, run_id: str | None = None
) -> Iterator[StoredRun]:
    """The runs of a deployment, by Dag and run: of one Dag, or one run (which holds several with model operators)."""
    top = base.child(deployment)
    for dag in [dag_id] if dag_id is not None else top.folders():
        for run in [run_id] if run_id is not None else top.child(dag).folders():
            yield from _runs(top.child(dag, run), RunPlace(dag_id=dag, run_id=run))


def look(base: Store, deployment: str, place: RunPlace) -> StoredRun | None:
    """The run at ``place``, without the folders of its nodes: one short listing, however large the run is.

    Its :attr:`~StoredRun.objects` are the documents right in its folder; ``None``: nothing there is a run.

    :raises InputError: an id cannot name a folder.
    """
    store = base.child(deployment, place.dag_id, place.run_id)
    root = store.objects(recursive=False)
    if place.task_id:
        if _is_run(root):  # a folder in it is a node's, whatever it holds
            return None
        store = store.child(place.task_id)
        root = store.objects(recursive=False)
    return StoredRun(place=place, store=store, objects=tuple(root)) if _is_run(root) else None


def _is_run(root: Sequence[StoredObject]) -> bool:
    return any("/" not in one.name and _ROOT.fullmatch(one.name) for one in root)


def find_run(base: Store, deployment: str, place: RunPlace) -> StoredRun:
    """The run at ``place``.

    :raises InputError: there is none.
    """
    near = []
    for run in find_runs(base, deployment, dag_id=place.dag_id, run_id=place.run_id):
        if run.place == place:
            return run
        near.append(str(run.place))
    there = f"there are {', '.join(near)}" if near else "`airflow-agentic artifacts list` shows what is there"
    raise InputError(f"{base.child(deployment).base} holds no run {str(place)!r}; {there}")


def _runs(store: Store, place: RunPlace) -> Iterator[StoredRun]:
    objects = store.objects()
    roots = {match[1] or "" for one in objects if (match := _ROOT.fullmatch(one.name))}
    if "" in roots:  # the nodes' folders are the run's own, whatever they hold
        yield StoredRun(place=place, store=store, objects=tuple(objects))
        return
    for root in sorted(roots):
        task = unquote(root)
        own = store.child(task)
        inside = tuple(
            StoredObject(name=one.name.removeprefix(f"{root}/"), bytes=one.bytes, written_at=one.written_at)
            for one in objects
            if one.name.startswith(f"{root}/")
        )
        yield StoredRun(
            place=RunPlace(dag_id=place.dag_id, run_id=place.run_id, task_id=task), store=own, objects=inside
        )
