"""Whether a pod reaches the artifact store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from airflow_agentic.artifacts import Store
from airflow_agentic.exceptions import InputError
from airflow_agentic.operators.pod import SCRATCH


def reachable_store(base: str, mounts: Sequence[Any]) -> str:
    """The normalised base URI of a store that a pod with these volume mounts reaches.

    :raises InputError: it lies in the worker's memory, or in a folder that no volume is mounted at.
    """
    if "://" in base and not base.startswith(("file:", "memory:")):
        return base.rstrip("/")
    uri = Store.open(base).base
    if uri.startswith("memory:"):
        raise InputError(f"[agentic] artifacts is {base!r}, which no pod can reach: use a bucket or a shared folder")
    path = PurePosixPath(unquote(urlsplit(uri).path))
    if not any(path.is_relative_to(mount.mount_path) for mount in mounts if mount.name != SCRATCH):
        raise InputError(
            f"the artifact store {uri} is a folder, and no volume of the pod is mounted there: mount it "
            "(kubernetes: volumes, volume_mounts), say where pods see it (kubernetes: artifacts: file:///…), "
            "or use a bucket"
        )
    return uri
