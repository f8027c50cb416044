"""Artifacts: where a run's data lies, what it is called, and when it counts.

A :class:`Store` holds objects below one base URI; :class:`Markers` commits a shard's data in it exactly once; a digest
names values and files. Pure core: this package never imports Airflow, because model pods use it too.
"""

from __future__ import annotations

from airflow_agentic.artifacts.digests import digest, file_digest, tree_digest
from airflow_agentic.artifacts.markers import Marker, Markers
from airflow_agentic.artifacts.store import DataFile, NotFoundError, Store, StoreRefusedError

__all__ = [
    "DataFile",
    "Marker",
    "Markers",
    "NotFoundError",
    "Store",
    "StoreRefusedError",
    "digest",
    "file_digest",
    "tree_digest",
]
