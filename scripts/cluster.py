"""A Kubernetes cluster for tests and benchmarks: that of ``KUBECONFIG``, a namespace of one's own in it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from kubernetes import client, config

RESTRICTED: Final = {"pod-security.kubernetes.io/enforce": "restricted"}


@contextmanager
def connected() -> Iterator[client.ApiClient]:
    """The cluster, with its administrator's rights."""
    with config.new_client_from_config(os.environ["KUBECONFIG"]) as api:
        yield api


@contextmanager
def namespace(api: client.ApiClient, name: str) -> Iterator[str]:
    """A namespace in which only pods of the level ``restricted`` may run; deleted afterwards."""
    core, full = client.CoreV1Api(api), f"{name}-{uuid.uuid4().hex[:8]}"
    core.create_namespace({"metadata": {"name": full, "labels": RESTRICTED}})
    try:
        yield full
    finally:
        core.delete_namespace(full)


def host_address(api: client.ApiClient) -> str:
    """Where pods reach this machine: ``HOST_ADDRESS``, or the node's own address, if the node is this machine."""
    (node, *_) = client.CoreV1Api(api).list_node().items
    address = next(one.address for one in node.status.addresses if one.type == "InternalIP")
    return os.environ.get("HOST_ADDRESS", str(address))
