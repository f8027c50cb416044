"""Artifacts: where a run's data lies, what it is called, and when it counts.

A :class:`Store` holds objects below one base URI; :class:`Markers` commits a shard's data in it exactly once; a digest
names values and files. Pure core: this package never imports Airflow, because model pods use it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_agentic.artifacts.digests import digest, file_digest, tree_digest
from airflow_agentic.lazy import exports

if TYPE_CHECKING:
    from airflow_agentic.artifacts.markers import Marker, Markers
    from airflow_agentic.artifacts.store import DataFile, NotFoundError, RecordingStore, Store, StoreRefusedError

__all__ = [
    "DataFile",
    "Marker",
    "Markers",
    "NotFoundError",
    "RecordingStore",
    "Store",
    "StoreRefusedError",
    "digest",
    "file_digest",
    "tree_digest",
]

_MODULES = {
    "Marker": "markers",
    "Markers": "markers",
    "DataFile": "store",
    "NotFoundError": "store",
    "RecordingStore": "store",
    "Store": "store",
    "StoreRefusedError": "store",
}
__getattr__ = exports(__name__, _MODULES)
