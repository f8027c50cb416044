"""The commit protocol: a shard of a node is done exactly if its marker exists.

Layout below a run's store::

    {node}/data/{sha256}.parquet        a data file, named by its content
    {node}/part-{shard}.{key}.json      a marker: it commits one data file as the answer to ``key``

``key`` is the digest of what was asked. Invariants:

1. A marker is created once and never rewritten. Of several writers the first wins; the others get its marker.
2. A data file is written whole before the marker that names it, so whoever sees a marker can read its data. A data
   file without a marker (a crash between the two, a late writer) is waste, never a result.
3. Readers follow the marker of the key they computed. Other keys of a shard are other questions' answers.
4. Neither path nor content of a marker holds a try number; only ``written_at`` depends on the moment.
5. Erasure leaves markers and keys as they are: a reader that does not find a data file follows the redirect beside it
   (:mod:`.erased`).
6. A marker says which schema it was written with; one of another :data:`SCHEMA_VERSION` is refused, never guessed at.

On a local folder nothing is fsynced (see :mod:`.store`): a power cut can leave an empty file, which is refused as
damaged.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_agentic.artifacts.erased import read_data
from airflow_agentic.artifacts.store import DataFile, NotFoundError, Store, StoreRefusedError
from airflow_agentic.exceptions import ArtifactError, InputError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

SCHEMA_VERSION: Final = 1

_NODE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_PART: Final = re.compile(r"part-(0|[1-9][0-9]*)\.([A-Za-z0-9_-]+)\.json")


@dataclass(frozen=True, kw_only=True)
class Marker:
    """One committed shard of one node."""

    node: str
    shard: int
    key: str
    data: DataFile
    counts: dict[str, int]
    """What the node counted, for XCom and progress: answered, errors, calls…"""
    written_at: str
    """ISO 8601, UTC."""

    @property
    def name(self) -> str:
        """Of its object, below the run's store."""
        return _path(self.node, self.shard, self.key)


class Markers:
    """The markers of one run.

    :param store: the run's store.
    :param clock: the time of day, with its zone.
    """

    def __init__(self, store: Store, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store = store
        self._clock = clock

    def commit(self, node: str, shard: int, key: str, table: pa.Table, counts: Mapping[str, int]) -> Marker:
        """Write the data, then its marker.

        :returns: the marker that stands: ours, or that of whoever came first.
        :raises StoreError: the store failed; nothing is committed, or all of it: the same call again finds out.
        """
        path = _path(node, shard, key)
        data = self._store.write_table(table, f"{node}/data")
        written_at = self._clock().astimezone(UTC).isoformat()
        marker = Marker(node=node, shard=shard, key=key, data=data, counts=dict(counts), written_at=written_at)
        if self._store.create(path, _dump({"schema": SCHEMA_VERSION, **asdict(marker)})):
            return marker
        return self._parse_marker(self._earlier(path), path)

    def find(self, node: str, shard: int, key: str) -> Marker | None:
        """The marker of what was asked, or ``None``. Always asks the store: one small read.

        :raises ArtifactError: the marker is damaged or of another schema.
        """
        path = _path(node, shard, key)
        try:
            data = self._store.read(path)
        except NotFoundError:
            return None
        return self._parse_marker(data, path)

    def keys(self, node: str) -> dict[int, list[str]]:
        """The keys present of each shard, sorted, by one listing; shards without a marker are absent."""
        _check_node(node)
        found: dict[int, list[str]] = {}
        for name in self._store.list(node, recursive=False):
            if match := _PART.fullmatch(name.removeprefix(f"{node}/")):
                found.setdefault(int(match[1]), []).append(match[2])
        return {shard: sorted(found[shard]) for shard in sorted(found)}

    def read(self, marker: Marker) -> pa.Table:
        """The committed table, or what erasure left of it.

        :raises ChecksumError: the bytes or the number of rows are not those the marker pins.
        :raises NotFoundError: the data file is gone.
        """
        way_out = f"delete {self._store.uri(marker.name)} and clear the Airflow task"
        return read_data(self._store, marker.data, way_out)

    def freeze(self, name: str, document: dict[str, Any]) -> dict[str, Any]:
        """Store a JSON object once, as ``plan.json``.

        :returns: what is stored, as read back: ours, or the earlier one.
        :raises TypeError: the document is no JSON.
        :raises StoreRefusedError: the store takes a second create, so no marker would be safe in it.
        """
        data = _dump(document)
        if not self._store.create(name, data):
            return _parse(self._earlier(name), self._store.uri(name))
        if self._store.create(name, data):
            raise StoreRefusedError(
                f"creating {self._store.uri(name)} twice succeeded twice: the store ignores If-None-Match and could "
                "lose results; use a local folder, or a bucket with conditional writes"
            )
        return _parse(data, self._store.uri(name))

    def _earlier(self, name: str) -> bytes:
        """What a lost create lost to. S3 also answers "conflict" while the other write is still under way."""
        try:
            return self._store.read(name)
        except NotFoundError as error:
            uri = self._store.uri(name)
            raise StoreError(f"creating {uri} failed: another process writes or deletes it right now; retry") from error

    def _parse_marker(self, data: bytes, path: str) -> Marker:
        uri = self._store.uri(path)
        marker = _load(data, uri)
        if marker.name != path:
            raise ArtifactError(_damaged(uri, f"it is the marker {marker.name!r}"))
        return marker


def _path(node: str, shard: int, key: str) -> str:
    _check_node(node)
    if shard < 0:
        raise InputError(f"shard {shard!r} cannot have a marker: shards count from 0")
    if not _KEY.fullmatch(key):
        raise InputError(f"{key!r} cannot be a marker's key: use a digest")
    return f"{node}/part-{shard}.{key}.json"


def _check_node(node: str) -> None:
    if not _NODE.fullmatch(node):
        raise InputError(
            f"{node!r} cannot name a node: use letters, digits, '_', '-' and '.', none of the last two first"
        )


def _dump(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1, allow_nan=False).encode("ascii")


def _parse(data: bytes, uri: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError as error:
        raise ArtifactError(_damaged(uri, f"it is no JSON: {error}")) from error
    if not isinstance(document, dict):
        raise ArtifactError(_damaged(uri, "it is no JSON object"))
    return document


def _load(data: bytes, uri: str) -> Marker:
    document = _parse(data, uri)
    schema = document.pop("schema", None)
    if schema != SCHEMA_VERSION:
        raise ArtifactError(
            f"{uri} has marker schema {schema!r}, but this installation reads {SCHEMA_VERSION}: "
            "run it with the version of airflow-agentic that wrote it, or start a new run"
        )
    try:
        return Marker(**{**document, "data": DataFile(**document["data"])})
    except (KeyError, TypeError) as error:
        raise ArtifactError(_damaged(uri, f"its fields are wrong: {error}")) from error


def _damaged(uri: str, why: str) -> str:
    return f"{uri} is damaged: {why}; delete it and clear the Airflow task that wrote it"
