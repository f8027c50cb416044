"""A model's pod: from its card, over that the workflow's defaults, over that an operator's own arguments.

All three are arguments of KubernetesInferenceOperator, which takes every one of KubernetesPodOperator. Later ones win;
what is made of named things is merged:

============================================================  ======================================
``labels``, ``annotations``, ``node_selector``                by key
``env_vars``, ``volumes``, ``volume_mounts``, ``ports``,      by name (mounts: by path)
``init_containers``, ``image_pull_secrets``
``tolerations``, ``env_from``, ``configmaps``, ``secrets``,   one after the other
``host_aliases``, ``pod_runtime_info_envs``
all other arguments                                           as a whole
============================================================  ======================================

Objects may be written in Kubernetes' own notation (``volumes: [{name: data, emptyDir: {}}]``); a field that Kubernetes
does not know is refused. The lowest layer makes a pod pass the pod security level ``restricted``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kubernetes.client import ApiClient
from kubernetes.client import models as k8s

from airflow_agentic.container.logs import shown
from airflow_agentic.exceptions import CompileError
from airflow_agentic.spec.base import Spec
from airflow_agentic.spec.model import ModelCard

GPU: Final = "nvidia.com/gpu"
SCRATCH: Final = "agentic-scratch"
LABEL_MODEL: Final = "airflow-agentic/model"
LABEL_VERSION: Final = "airflow-agentic/model-version"

_BY_KEY: Final = frozenset({"labels", "annotations", "node_selector"})
_BY_NAME: Final = {
    "env_vars": "name",
    "volumes": "name",
    "volume_mounts": "mount_path",
    "ports": "name",
    "init_containers": "name",
    "image_pull_secrets": "name",
}
_APPENDED: Final = frozenset(
    {"tolerations", "env_from", "configmaps", "secrets", "host_aliases", "pod_runtime_info_envs"}
)
_FLAGS: Final = frozenset({"fetch", "shared_storage", "warm"})
_TYPES: Final = {
    "affinity": "V1Affinity",
    "container_resources": "V1ResourceRequirements",
    "container_security_context": "V1SecurityContext",
    "dns_config": "V1PodDNSConfig",
    "env_from": "list[V1EnvFromSource]",
    "env_vars": "list[V1EnvVar]",
    "full_pod_spec": "V1Pod",
    "host_aliases": "list[V1HostAlias]",
    "image_pull_secrets": "list[V1LocalObjectReference]",
    "init_containers": "list[V1Container]",
    "pod_override": "V1Pod",
    "ports": "list[V1ContainerPort]",
    "security_context": "V1PodSecurityContext",
    "tolerations": "list[V1Toleration]",
    "volume_mounts": "list[V1VolumeMount]",
    "volumes": "list[V1Volume]",
    "xcom_sidecar_container_security_context": "V1SecurityContext",
}
"""Arguments that are Kubernetes objects; ``pod_override`` is KubernetesExecutor's."""


class PodArgumentError(ValueError):
    """An argument cannot be used; ``argument`` is its name."""

    def __init__(self, argument: str, message: str) -> None:
        self.argument = argument
        super().__init__(message)

    def refusal(self, spec: Spec, *place: str) -> CompileError:
        """The same as a problem of ``spec``, at the place where the argument is written."""
        message, _, hint = str(self).partition("\n")
        return CompileError(spec.problem(place, message, hint or None))


def pod_arguments(card: ModelCard, *layers: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of KubernetesInferenceOperator for a model.

    :param layers: over those of the card: the workflow's, then an operator's own.
    :raises PodArgumentError: one is written as Kubernetes does not read it.
    """
    made: dict[str, Any] = {}
    for layer in (_restricted(), _of_card(card), card.kubernetes, *layers):
        for name, value in layer.items():
            value = parsed(name, value)
            made[name] = merged(name, made[name], value) if name in made else value
    if made.get("fetch") and made.get("shared_storage") is False:
        message = "no pod reaches the artifact store (shared_storage: false)"
        raise PodArgumentError("fetch", f"{message}\nbake the model into the image, or remove fetch")
    return made


def merged(name: str, under: Any, over: Any) -> Any:
    """The value of one argument in two layers."""
    if not under or over is None:
        return under if over is None else over
    if name in _BY_KEY:
        return {**under, **over}
    if name in _BY_NAME:
        key = _BY_NAME[name]
        return list({getattr(one, key): one for one in (*under, *over)}.values())
    return [*under, *over] if name in _APPENDED else over


def parsed(name: str, value: Any) -> Any:
    """An argument's value; Kubernetes' notation becomes its objects.

    :raises PodArgumentError: Kubernetes does not read it.
    """
    if name in _FLAGS and not isinstance(value, bool):
        raise PodArgumentError(name, f"expected true or false, found {value!r}")
    kind = _TYPES.get(name)
    if kind is None or value is None:
        return value
    if name == "env_vars" and isinstance(value, Mapping):
        return [k8s.V1EnvVar(name=key, value=str(text)) for key, text in value.items()]
    if name == "image_pull_secrets" and isinstance(value, str):
        value = [{"name": secret} for secret in value.split(",")]
    written = value if isinstance(value, list | tuple) else [value]
    if not any(isinstance(one, Mapping) for one in written):
        return value
    return _deserialized(name, value, kind)


@dataclass(frozen=True)
class _Answer:
    """What the client's deserialisation reads."""

    data: str


def _deserialized(name: str, value: Any, kind: str) -> Any:
    client = ApiClient()
    try:
        made = client.deserialize(_Answer(json.dumps(client.sanitize_for_serialization(value))), kind)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise PodArgumentError(name, f"Kubernetes does not read it: {error}") from error
    lost = _lost(client.sanitize_for_serialization(value), client.sanitize_for_serialization(made), name)
    if lost is not None:
        raise PodArgumentError(name, f"Kubernetes knows no field {lost}\nwrite its fields as in a pod's YAML")
    return made


def _lost(written: Any, read: Any, path: str) -> str | None:
    """The first field that was not understood."""
    if isinstance(written, dict):
        for key, value in written.items():
            if not isinstance(read, dict) or (key not in read and value not in (None, {}, [])):
                return f"{path}.{key}"
            if key in read and (found := _lost(value, read[key], f"{path}.{key}")):
                return found
    elif isinstance(written, list):
        if not isinstance(read, list) or len(read) != len(written):
            return path
        for index, (value, known) in enumerate(zip(written, read, strict=True)):
            if found := _lost(value, known, f"{path}[{index}]"):
                return found
    return None


def label(text: str) -> str:
    """The value of a label: at most 63 characters, ``+`` as ``_``, a letter or digit at both ends. The chart computes
    the same."""
    return text.replace("+", "_")[:63].strip("-._")


def log_line(container: str, message: str) -> str:
    """A line of a pod in the Airflow task's log."""
    return f"[{container}] {shown(message)}"


def _of_card(card: ModelCard) -> dict[str, Any]:
    made: dict[str, Any] = {
        "labels": {LABEL_MODEL: label(card.name), LABEL_VERSION: label(card.version)},
        "container_resources": resources(card),
    }
    return made if card.image is None else {**made, "image": card.image}


def resources(card: ModelCard) -> k8s.V1ResourceRequirements:
    """What the card's model needs: cpu as a request alone, as a limit would only slow it; memory and GPUs as both."""
    given = card.resources
    memory = None if given.memory is None else {"memory": str(given.memory)}
    gpu = {GPU: str(given.gpu)} if given.gpu else {}
    requests = {**({"cpu": given.cpu} if given.cpu else {}), **(memory or {}), **gpu}
    return k8s.V1ResourceRequirements(requests=requests or None, limits={**(memory or {}), **gpu} or None)


def _restricted() -> dict[str, Any]:
    """No user root, no privilege, nothing to write but an own ``/tmp``, no token of the cluster."""
    return {
        "automount_service_account_token": False,
        "security_context": k8s.V1PodSecurityContext(
            run_as_non_root=True, seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault")
        ),
        "container_security_context": k8s.V1SecurityContext(
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            capabilities=k8s.V1Capabilities(drop=["ALL"]),
        ),
        "volumes": [k8s.V1Volume(name=SCRATCH, empty_dir=k8s.V1EmptyDirVolumeSource())],
        "volume_mounts": [k8s.V1VolumeMount(name=SCRATCH, mount_path="/tmp")],  # noqa: S108  # of the pod
    }
