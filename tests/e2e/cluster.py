"""A Kubernetes cluster for tests: namespaces of their own, and who may do what.

``KUBECONFIG`` names the cluster, which has the images that ``make e2e`` builds and loads.
"""

from __future__ import annotations

import copy
import os
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest
from kubernetes import client
from kubernetes.stream import stream
from services import require

from scripts.cluster import connected, namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["account", "cluster", "eventually", "execute", "namespace", "objects"]

HOW: Final = "needs a cluster: make e2e KUBECONFIG=FILE, of kind or any other"
PATIENCE: Final = 120.0
"""Seconds after which something that should happen has failed."""


@contextmanager
def cluster() -> Iterator[client.ApiClient]:
    """The cluster of ``KUBECONFIG``, with its administrator's rights."""
    require(os.environ.get("KUBECONFIG"), HOW)
    with connected() as api:
        yield api


def eventually(look: Callable[[], Any], *, what: str, patience: float = PATIENCE) -> Any:
    """What ``look`` gives once it gives something; it is asked again while it gives nothing."""
    end = time.monotonic() + patience
    while not (found := look()):
        if time.monotonic() > end:
            pytest.fail(f"after {patience:.0f} s there is still not: {what}")
        time.sleep(0.5)
    return found


@contextmanager
def account(api: client.ApiClient, space: str, name: str) -> Iterator[client.ApiClient]:
    """The cluster as a ServiceAccount sees it, by a token of its own."""
    request = {"spec": {"expirationSeconds": 600}}
    token = client.CoreV1Api(api).create_namespaced_service_account_token(name, space, request).status.token
    settings = copy.copy(api.configuration)
    settings.cert_file = settings.key_file = None
    settings.api_key = {"authorization": f"Bearer {token}"}
    with client.ApiClient(settings) as own:
        yield own


def execute(api: client.ApiClient, space: str, pod: str, command: list[str]) -> tuple[int, str]:
    """Exit status and output of a command in a pod's first container."""
    socket = stream(
        client.CoreV1Api(api).connect_get_namespaced_pod_exec,
        pod,
        space,
        command=command,
        stdout=True,
        stderr=True,
        _preload_content=False,
    )
    socket.run_forever(timeout=PATIENCE)
    status = socket.returncode  # before the output, with which the client forgets it
    output = socket.read_all()
    socket.sock.shutdown()  # the client leaves it open when the other side has ended
    return status, output


def objects(api: client.ApiClient, space: str, selector: str) -> set[str]:
    """``kind/name`` of every object of every kind in the namespace that has these labels."""
    core, custom = client.CoreV1Api(api), client.CustomObjectsApi(api)
    found: set[str] = set()
    for resource in _namespaced(core.get_api_resources().resources):
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", resource.kind).lower()
        items = getattr(core, f"list_namespaced_{snake}")(space, label_selector=selector).items
        found |= {f"{resource.kind}/{item.metadata.name}" for item in items}
    for group in client.ApisApi(api).get_api_versions().groups:
        version = group.preferred_version.version
        for resource in _namespaced(custom.get_api_resources(group.name, version).resources):
            listed = custom.list_namespaced_custom_object(
                group.name, version, space, resource.name, label_selector=selector
            )
            found |= {f"{resource.kind}/{item['metadata']['name']}" for item in listed["items"]}
    return found


def _namespaced(resources: list[Any]) -> list[Any]:
    return [one for one in resources if one.namespaced and "list" in one.verbs and "/" not in one.name]
