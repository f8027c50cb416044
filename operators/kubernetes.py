"""One model over one unit, in a pod of its own.

The pod commits its answers to the artifact store, shard by shard. What counts is what is committed there: whatever
became of the pod, or of the Airflow task's knowledge of it, the operator looks for the markers, reads their data, and
succeeds exactly if the unit is complete. Nothing is returned by XCom from the pod.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from kubernetes.client import models as k8s

from airflow_agentic.container.exits import Exit, LastWords
from airflow_agentic.container.parcel import LINE, VARIABLE, receive, send
from airflow_agentic.exceptions import AgenticError, InputError
from airflow_agentic.hooks.store import ArtifactStoreHook, settings_list
from airflow_agentic.operators.committed import complete, judged, verdict
from airflow_agentic.operators.node import failing_fast, work_of
from airflow_agentic.operators.pod import log_line, merged, parsed, pod_arguments
from airflow_agentic.operators.reach import reachable_store, reference_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_agentic.execution import Run, Unit
    from airflow_agentic.plan.ir import Infer
    from airflow_agentic.spec.model import ModelCard

GRACE_SECONDS: Final = 30
"""Kubernetes' own, where no ``termination_grace_period`` is set."""
MODELS: Final = "agentic-models"
MODELS_PATH: Final = "/models"
"""``$AIRFLOW_AGENTIC_CACHE`` of the model images."""


class KubernetesInferenceOperator(KubernetesPodOperator):
    """Run a node's model over a unit in a pod, resuming after the last committed shard.

    A unit for which nothing was selected is skipped, and one that is complete already succeeds, before a pod is made.
    Pushes counts as ``return_value``.

    Takes every argument of KubernetesPodOperator. What is set here alone:

    :param node: the infer node's id in the plan.
    :param topology: digest of the Dag's topology.
    :param unit: one of the units that PreprocessOperator returned.
    :param card: the model's card, whose pod this is; generated Dags have merged it into the other arguments.
    :param artifacts: base URI of the artifact store as pods reach it; by default as the worker does.
    :param fetch: whether an init container fetches the model's files from the artifact store, to which the worker
        copies them; without it they are in the image, or on a volume at ``/models``.
    :param shared_storage: whether pods reach the artifact store. Without, a unit's records travel in the pod's
        environment and its answers in the pod's log; both are limited (:mod:`airflow_agentic.container.parcel`).
    """

    BASE_CONTAINER_NAME = "model"
    template_fields: Sequence[str] = (*KubernetesPodOperator.template_fields, "unit", "artifacts")
    ui_color = "#e6e4f7"

    def __init__(
        self,
        *,
        node: str,
        topology: str,
        unit: Any,
        card: ModelCard | None = None,
        artifacts: str | None = None,
        fetch: bool | None = None,
        shared_storage: bool | None = None,
        **kwargs: Any,
    ) -> None:
        if card is not None:
            own = {"artifacts": artifacts, "fetch": fetch, "shared_storage": shared_storage, **kwargs}
            kwargs = pod_arguments(card, {name: value for name, value in own.items() if value is not None})
            artifacts, fetch, shared_storage = (
                kwargs.pop(name, None) for name in ("artifacts", "fetch", "shared_storage")
            )
            kwargs.pop("warm", None)  # which operator it is was chosen
        kwargs.setdefault("log_formatter", log_line)
        kwargs.setdefault("log_pod_spec_on_failure", False)
        super().__init__(**kwargs)
        self.node = node
        self.topology = topology
        self.unit = unit
        self.artifacts = artifacts
        self.fetch = bool(fetch)
        self.shared_storage = shared_storage is not False
        self._parcels: list[str] = []
        self._last_pod: k8s.V1Pod | None = None

    def execute(self, context: Context) -> None:
        """Make the pod, wait for it, and look at what it has committed."""
        with failing_fast():
            run, node, unit = work_of(context, self.unit, self.node, self.topology)
            if complete(context, run, node, unit):
                return
            self._describe(context, run, node, unit)
        self._judged(context, run, node, unit, lambda: KubernetesPodOperator.execute(self, context))

    def trigger_reentry(self, context: Context, event: dict[str, Any]) -> None:
        """Back from the triggerer; called, too, where the pod had ended before there was anything to wait for."""
        with failing_fast():
            run, node, unit = work_of(context, self.unit, self.node, self.topology)
        self._judged(context, run, node, unit, lambda: KubernetesPodOperator.trigger_reentry(self, context, event))

    def cleanup(self, pod: k8s.V1Pod, remote_pod: k8s.V1Pod, *args: Any, **kwargs: Any) -> None:
        """Remember how the pod ended before it is deleted."""
        if remote_pod is not None:
            with suppress(Exception):  # it is gone, or the API server is away: what is known has to do
                remote_pod = self.pod_manager.read_pod(remote_pod)
            self._last_pod = remote_pod
            if not self.shared_storage:
                with suppress(Exception):
                    self._parcels = [line for line in self._lines(remote_pod) if line.startswith(LINE)]
        super().cleanup(pod, remote_pod, *args, **kwargs)

    def _write_logs(  # type: ignore[override]  # the parent's is wrapped by a decorator without types
        self, pod: k8s.V1Pod, follow: bool = False, since_time: Any = None
    ) -> None:
        """As the parent does after a deferral, which knows no ``log_formatter`` there."""
        if since_time is not None:  # between two deferrals
            super()._write_logs(pod, follow=follow, since_time=since_time)
            return
        for line in self._lines(pod, follow=follow):
            self.log.info("%s", (self.log_formatter or log_line)(self.base_container_name, line))

    def _lines(self, pod: k8s.V1Pod, *, follow: bool = False) -> Iterator[str]:
        """The log of the model's container, without empty lines."""
        lines = self.client.read_namespaced_pod_log(
            name=pod.metadata.name,
            namespace=pod.metadata.namespace,
            container=self.base_container_name,
            follow=follow,
            _preload_content=False,
        )
        for line in lines:
            if text := line.decode("utf-8", errors="backslashreplace").rstrip("\n"):
                yield text

    def _judged(self, context: Context, run: Run, node: Infer, unit: Unit, wait: Callable[[], object]) -> None:
        """Wait for the pod, commit what it returned by its log, and look at what is committed."""

        def work() -> None:
            try:
                wait()
            finally:
                receive(run.folder.store, node, self._parcels)

        judged(context, run, node, unit, work, self._failure)

    def _describe(self, context: Context, run: Run, node: Infer, unit: Unit) -> None:
        """Say to the pod which unit is its own, and give it the model's files."""
        from airflow_agentic.execution import node_card

        hook = ArtifactStoreHook()
        allowed = settings_list("allowed_handlers")
        grace = max(1, (self.termination_grace_period or GRACE_SECONDS) - 5)
        if self.shared_storage:
            base, environment = reachable_store(self.artifacts or hook.base, self.volume_mounts), hook.environment
        else:
            base, environment = "", {VARIABLE: send(run, node, unit)}
        reference = reference_of(run, node, unit, base=base, allowed_handlers=allowed)
        told = reference.to_arguments(parcel=not self.shared_storage)
        self.arguments = self.arguments or ["unit", *told, f"--grace={grace}"]
        self.env_vars = merged("env_vars", parsed("env_vars", environment), parsed("env_vars", self.env_vars))
        if self.fetch:
            self._fetch(base, node_card(run.plan, node))

    def _fetch(self, base: str, card: ModelCard) -> None:
        """Copy the model's files to the store, unless it has them, and have an init container fetch them."""
        from airflow_agentic.container.models import publish, published
        from airflow_agentic.runtime import resolve

        store = ArtifactStoreHook().get_conn()
        digests = []
        for uri in dict.fromkeys(card.files.values()):
            sha256 = card.pinned(uri)
            if sha256 is None:
                raise InputError(
                    f"{card.name!r}: {uri!r} cannot be fetched by its digest: pin it in the card "
                    "(runtime.sha256, runtime.files), or bake it into the image"
                )
            if not published(store, sha256):  # the worker need not have it, then
                publish(store, resolve(uri, base=card.folder, sha256=sha256), sha256)
            digests.append(sha256)
        if not digests:
            return
        mount = k8s.V1VolumeMount(name=MODELS, mount_path=MODELS_PATH)
        self.volumes = [*self.volumes, k8s.V1Volume(name=MODELS, empty_dir=k8s.V1EmptyDirVolumeSource())]
        container = k8s.V1Container(
            name="fetch-model",
            image=self.image,
            image_pull_policy=self.image_pull_policy,
            args=["fetch", f"--store={base}", *(f"--sha256={one}" for one in digests)],
            env=self.env_vars,
            env_from=self.env_from,
            volume_mounts=[*self.volume_mounts, mount],
            security_context=self.container_security_context,
            resources=self.container_resources,
        )
        self.init_containers = [container, *self.init_containers]
        self.volume_mounts = [
            *self.volume_mounts,
            k8s.V1VolumeMount(name=MODELS, mount_path=MODELS_PATH, read_only=True),
        ]

    def _failure(self, missing: AgenticError, ended: Exception | None) -> Exception:
        """What is said of a unit that is not complete."""
        pod = self._last_pod or self.pod
        name = pod.metadata.name if pod is not None and pod.metadata is not None else "none was made"
        words, reason = last_words(self._last_pod, self.base_container_name)
        heard = (ended.__context__ or ended) if ended is not None else None
        why = f"{words.error}: {words.message}" if words else reason or str(heard or "it said nothing")
        return verdict(missing, name, why, words, _MEMORY if killed(words) else None if words else next_step(why))


def last_words(pod: k8s.V1Pod | None, container: str) -> tuple[LastWords | None, str | None]:
    """What a pod's containers said last, and what Kubernetes says of how they ended."""
    status = pod.status if pod is not None else None
    if status is None:
        return None, None
    reason = ": ".join(text for text in (status.reason, status.message) if text) or None
    for one in (*(status.init_container_statuses or ()), *(status.container_statuses or ())):
        state = one.state
        ended, waiting = state.terminated if state else None, state.waiting if state else None
        if ended is not None and ended.exit_code:
            said = LastWords.parse(ended.message)
            if said is not None:
                return said, reason
            return None, f"container {one.name} ended with exit code {ended.exit_code} ({ended.reason})"
        if waiting is not None and waiting.reason not in {None, "PodInitializing", "ContainerCreating"}:
            reason = f"container {one.name} waits: {waiting.reason}: {waiting.message or ''}".rstrip(": ")
    for one in status.conditions or ():
        if one.type == "PodScheduled" and one.status == "False":
            reason = f"{one.reason}: {one.message}"
    return None, reason


def killed(words: LastWords | None) -> bool:
    """Whether the container itself says that its memory did not suffice; all else it says names its own next step."""
    return words is not None and words.code == Exit.OUT_OF_MEMORY


_MEMORY: Final = "raise resources.memory in the model's card, or lower batch.rows"
_STEPS: Final[Mapping[str, str]] = {
    "OOMKilled": _MEMORY,
    "exit code 137": _MEMORY,
    "ErrImage": "check the card's image, that the cluster can pull it, and image_pull_secrets",
    "ImagePull": "check the card's image, that the cluster can pull it, and image_pull_secrets",
    "InvalidImageName": "check the card's image, that the cluster can pull it, and image_pull_secrets",
    "nschedulable": "no node fits: look at the card's resources, node_selector and tolerations, or wait and clear",
    "FailedScheduling": "no node fits: look at the card's resources, node_selector and tolerations, or wait and clear",
    "Evicted": "the node was short of memory or disk: state resources in the card, then clear the Airflow task",
    "not found": "the pod was deleted from outside: clear the Airflow task; what is committed is not computed again",
    "NotFound": "the pod was deleted from outside: clear the Airflow task; what is committed is not computed again",
}


def next_step(why: str) -> str | None:
    """What to do about how a pod ended."""
    return next((step for sign, step in _STEPS.items() if sign in why), None)
