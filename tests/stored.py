"""Artifact stores that tests look into, copy and break."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_agentic.artifacts import Store
from scripts.s3 import make_bucket, s3_options


def s3_store(endpoint: str) -> Store:
    """A bucket of its own."""
    bucket = f"bucket-{uuid4().hex}"
    make_bucket(endpoint, bucket)
    return Store.open(f"s3://{bucket}/base/", options=s3_options(endpoint))


def copied(store: Store) -> Store:
    """The same objects in a store in memory."""
    copy = Store.open("memory://")
    for name in store.list():
        copy.write(name, store.read(name))
    return copy


class CrashError(RuntimeError):
    """The process is gone."""


@dataclass
class _Mortal:
    """The objects of a store, for a process that dies instead of its n-th change."""

    objects: Any
    changes: int

    def __getattr__(self, name: str) -> Any:
        if name in {"put", "delete"}:
            self.changes -= 1
            if self.changes < 0:
                raise CrashError
        return getattr(self.objects, name)


def mortal(store: Store, changes: int) -> Store:
    """The same store, in the hands of a process that dies after so many changes."""
    objects: Any = _Mortal(store._objects, changes)
    return Store(objects, store.base, store._prefix)


def written(store: Store) -> bytes:
    """Every byte of every object and every name, Parquet uncompressed: where to look for what must not be there."""
    return b"\0".join(name.encode() + b"\0" + _plain(name, store.read(name)) for name in store.list())


def _plain(name: str, data: bytes) -> bytes:
    if not name.endswith(".parquet"):
        return data
    sink = pa.BufferOutputStream()
    pq.write_table(pq.ParquetFile(pa.BufferReader(data)).read(), sink, compression="none")
    return data + bytes(sink.getvalue())
