"""What a pod reaches: the artifact store, and in it its unit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from airflow_agentic.artifacts import Store
from airflow_agentic.container.reference import UnitReference
from airflow_agentic.exceptions import InputError
from airflow_agentic.hooks.store import ArtifactStoreHook
from airflow_agentic.operators.pod import SCRATCH

if TYPE_CHECKING:
    from kubernetes.client import models as k8s

    from airflow_agentic.execution import Run, Unit
    from airflow_agentic.plan.ir import Infer


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


def reference_of(
    run: Run, node: Infer, unit: Unit, *, base: str, allowed_handlers: Sequence[str] = ()
) -> UnitReference:
    """How a pod finds its unit.

    :param base: of the artifact store, as the pod reaches it.
    """
    inside = run.folder.store.base.removeprefix(ArtifactStoreHook().get_conn().base)
    return UnitReference(
        store=f"{base}{inside}",
        manifest=unit.manifest,
        node=node.id,
        unit=unit.number,
        allowed_handlers=tuple(allowed_handlers),
    )


def durable_mounts(pod: k8s.V1Pod, container: str) -> list[k8s.V1VolumeMount]:
    """Where the container of a running pod has volumes that outlive it."""
    lasting = {volume.name for volume in pod.spec.volumes or () if volume.empty_dir is None}
    (found,) = [one for one in pod.spec.containers if one.name == container]
    return [mount for mount in found.volume_mounts or () if mount.name in lasting]
