"""How a data file is erased without touching what names it.

A data file is named by its content, and markers, manifests and keys name it for as long as the run lives. So what must
go is written anew under another name, and a *redirect* beside the old file leads there::

    {node}/data/{sha256}.parquet        the file before: deleted last
    {node}/data/{sha256}.erased.json    the redirect: which file holds what is left

Invariants:

1. The new file is written whole before the redirect that names it, the redirect before the old file is deleted. Whoever
   looks for the data finds the old file or the new one at any moment, also after a crash between two steps.
2. A redirect is followed only where the file itself is gone; it pins the new file's digest and rows, which are checked
   as a marker's are. Redirects form chains: a file that was erased from may be erased from again.
3. No key changes: it is made of the digests that markers and manifests name, never of a redirect's.
4. What has a redirect is not written again by a run that starts anew from the same input (:func:`write_data`).
5. One process erases at a time: two at once in one run may leave a file that one of them has not seen.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from airflow_agentic.artifacts.store import DataFile, NotFoundError, Store, parse_table
from airflow_agentic.exceptions import ArtifactError, ChecksumError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

SCHEMA_VERSION: Final = 1
SUFFIX: Final = ".erased.json"


def redirect_name(name: str) -> str:
    """Where the redirect of the data file ``name`` lies."""
    return f"{name.removesuffix('.parquet')}{SUFFIX}"


def redirect_of(store: Store, name: str) -> DataFile | None:
    """The file that holds what is left of the data file ``name``; ``None`` where nothing was erased from it.

    :raises ArtifactError: the redirect is damaged or of another schema.
    """
    path = redirect_name(name)
    try:
        document = json.loads(store.read(path))
        if document["schema"] != SCHEMA_VERSION:
            raise ArtifactError(
                f"{store.uri(path)} has schema {document['schema']!r}, but this installation reads {SCHEMA_VERSION}: "
                "run it with the version of airflow-agentic that wrote it"
            )
        return DataFile(**document["data"])
    except NotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{store.uri(path)} is damaged: {error!r}; clear the whole run") from error


def read_data(store: Store, data: DataFile, way_out: str) -> pa.Table:
    """The table of a data file, or what erasure left of it.

    :param way_out: what to do about a file that is damaged or gone.
    :raises ChecksumError: the bytes or the number of rows are not those that are pinned.
    :raises NotFoundError: the file is gone, and nothing was erased from it.
    """
    uri = store.uri(data.name)
    try:
        content = store.read(data.name)
    except NotFoundError as error:
        left = redirect_of(store, data.name)
        if left is None:
            raise NotFoundError(f"{error}; or {way_out}") from error
        return read_data(store, left, way_out)
    if (sha256 := hashlib.sha256(content).hexdigest()) != data.sha256:
        raise ChecksumError(f"{uri}: expected SHA-256 {data.sha256}, found {sha256}; {way_out}")
    table = parse_table(content, uri)
    if table.num_rows != data.rows:
        raise ChecksumError(f"{uri}: expected {data.rows} rows, found {table.num_rows}; {way_out}")
    return table


def read_columns(store: Store, data: DataFile, columns: list[str]) -> pa.Table:
    """Some columns of a data file, or of what erasure left of it. The bytes are not compared with their digest.

    :raises NotFoundError: the file is gone, and nothing was erased from it.
    """
    try:
        return store.read_columns(data.name, columns)
    except NotFoundError:
        left = redirect_of(store, data.name)
        if left is None:
            raise
        return read_columns(store, left, columns)


def write_data(store: Store, table: pa.Table, folder: str) -> DataFile:
    """:meth:`Store.write_table`, but what was erased from such a file stays erased: then nothing is written."""
    data, content = store.data_file(table, folder)
    if not store.exists(redirect_name(data.name)):
        store.write(data.name, content)
    return data


def chain_of(store: Store, name: str) -> Iterator[str]:
    """The data file ``name``, and the files that took its place one after the other: the last one is there."""
    yield name
    further = redirect_of(store, name)
    if further is not None:
        yield from chain_of(store, further.name)


def replace_data(store: Store, name: str, left: pa.Table) -> None:
    """Put ``left`` in the place of the data file ``name``, which is deleted."""
    data = store.write_table(left, name.rpartition("/")[0])
    document = {"schema": SCHEMA_VERSION, "data": asdict(data)}
    store.write(redirect_name(name), json.dumps(document, indent=1).encode("ascii"))
    store.delete(name)
