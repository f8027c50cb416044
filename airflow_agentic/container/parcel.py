"""A unit where container and Airflow share no storage: for small data, a way there and a way back.

What the unit reads travels to the container in the environment variable :data:`VARIABLE`; the container unpacks it into
a folder of its own and works there. Each shard that it commits is one line of its stdout, ``{"parcel": TEXT}``, which
the operator finds in the pod's log. A parcel is a ZIP archive of a run's objects, as base64 text.

Both ways have a limit, beyond which nothing is cut but an error says what to do. Records are then readable for whoever
may read the pod, answers for whoever may read its log.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from airflow_agentic.exceptions import ArtifactError, ChecksumError, InputError

if TYPE_CHECKING:
    from airflow_agentic.artifacts import Marker, Store
    from airflow_agentic.execution import Run, Unit
    from airflow_agentic.plan.ir import Infer

VARIABLE: Final = "AIRFLOW_AGENTIC_PARCEL"
MOST_SENT: Final = 96 * 1024
"""Characters of what a unit reads: Linux takes 128 KiB of one variable."""
MOST_RETURNED: Final = 1024 * 1024
"""Characters of all that a unit answers: kubelet rotates a log after 10 MiB."""
MOST_UNPACKED: Final = 64 * 1024 * 1024
"""Bytes of one parcel's objects."""
LINE: Final = '{"parcel": '
"""How a line with a parcel begins."""
WAY_OUT: Final = "use smaller units (shard.rows, parallelism), or an artifact store that pods reach"


def packed(files: Mapping[str, bytes]) -> str:
    """Objects by name → text."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return base64.b64encode(buffer.getvalue()).decode()


def unpacked(text: str) -> dict[str, bytes]:
    """Text → objects by name.

    :raises ArtifactError: it is no parcel, or holds more than :data:`MOST_UNPACKED`.
    """
    try:
        with zipfile.ZipFile(BytesIO(base64.b64decode(text, validate=True))) as archive:
            if sum(one.file_size for one in archive.infolist()) > MOST_UNPACKED:
                raise ArtifactError(f"a parcel holds more than {MOST_UNPACKED:,} bytes")
            return {name: archive.read(name) for name in archive.namelist()}
    except (binascii.Error, zipfile.BadZipFile, zipfile.LargeZipFile, EOFError) as error:
        raise ArtifactError(f"a parcel is damaged: {error}") from error


def send(run: Run, node: Infer, unit: Unit) -> str:
    """What the container's environment is given: all that the unit reads.

    :raises InputError: it is more than :data:`MOST_SENT`.
    """
    from airflow_agentic.artifacts import RecordingStore
    from airflow_agentic.execution import Folder

    store = RecordingStore(run.folder.store)
    read = Folder(store, run.folder.allowed_handlers).open(run.manifest)
    for shard in read.unit_shards(node, unit):
        if read.marker(node.id, shard) is None:
            read.state(shard, node)
    text = packed(store.seen)
    if len(text) > MOST_SENT:
        raise InputError(
            f"the {unit.rows:,} records of unit {unit.number} take {len(text):,} characters in the pod's environment, "
            f"where at most {MOST_SENT:,} fit (shared_storage: false): {WAY_OUT}"
        )
    return text


def arrived() -> Store:
    """The folder of the run in this container, from its environment."""
    from airflow_agentic.artifacts import Store

    store = Store.open(tempfile.mkdtemp(prefix="agentic-"))
    for name, data in unpacked(os.environ[VARIABLE]).items():
        store.write(name, data)
    return store


class Returning:
    """Returns what a unit commits, shard by shard.

    :raises InputError: it is more than :data:`MOST_RETURNED`; what was returned before stays.
    """

    def __init__(self) -> None:
        self._said = 0

    def __call__(self, store: Store, marker: Marker) -> None:
        """Print the line of one shard."""
        text = packed({name: store.read(name) for name in (marker.data.name, marker.name)})
        self._said += len(text)
        if self._said > MOST_RETURNED:
            raise InputError(
                f"the answers up to shard {marker.shard} take {self._said:,} characters in the pod's log, where at "
                f"most {MOST_RETURNED:,} fit (shared_storage: false): {WAY_OUT}"
            )
        sys.stdout.write(f"{json.dumps({'parcel': text})}\n")
        sys.stdout.flush()


def receive(store: Store, node: Infer, lines: Iterable[str]) -> None:
    """Commit what a container returned: data first, then its marker; what stands already stays.

    :param lines: of the pod's log that begin with :data:`LINE`.
    :raises ArtifactError: a line is damaged, or names an object that is not the node's.
    :raises ChecksumError: data is not what its name says.
    """
    data = re.compile(rf"{re.escape(node.id)}/data/([0-9a-f]{{64}})\.parquet")
    marker = re.compile(rf"{re.escape(node.id)}/part-[0-9]+\.[A-Za-z0-9_-]+\.json")
    for line in lines:
        files = unpacked(_text(line))
        for name in sorted(files, key=lambda name: marker.fullmatch(name) is not None):
            if (found := data.fullmatch(name)) is None and marker.fullmatch(name) is None:
                raise ArtifactError(f"the pod returned {name!r}, which is no answer of {node.id!r}: it was not kept")
            if found is not None and hashlib.sha256(files[name]).hexdigest() != found[1]:
                raise ChecksumError(f"the pod returned {name!r}, and its bytes are others: it was not kept")
            store.create(name, files[name])


def _text(line: str) -> str:
    try:
        found: Any = json.loads(line)["parcel"]
        return str(found)
    except ValueError as error:
        raise ArtifactError(f"a line of the pod's log with answers was cut: {error}") from error
