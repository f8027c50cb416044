"""One model over one unit, in a pod of its own.

The pod commits its answers to the artifact store, shard by shard. What counts is what is committed there: whatever
became of the pod, or of the Airflow task's knowledge of it, the operator looks for the markers, reads their data, and
succeeds exactly if the unit is complete. Nothing is returned by XCom from the pod.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from kubernetes.client import models as k8s

from airflow_agentic.compat import AirflowException, AirflowFailException, AirflowSkipException
from airflow_agentic.container.exits import LastWords
from airflow_agentic.container.logs import shown
from airflow_agentic.exceptions import AgenticError, InputError
from airflow_agentic.hooks.store import ArtifactStoreHook, settings_list
from airflow_agentic.operators.node import failing_fast, work_of
from airflow_agentic.operators.pod import merged, parsed, pod_arguments
from airflow_agentic.operators.reach import reachable_store

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
        fetch: bool = False,
        **kwargs: Any,
    ) -> None:
        if card is not None:
            own = {"artifacts": artifacts, "fetch": fetch or None, **kwargs}
            kwargs = pod_arguments(card, {name: value for name, value in own.items() if value is not None})
            artifacts, fetch = kwargs.pop("artifacts", None), kwargs.pop("fetch", False)
        kwargs.setdefault("log_formatter", log_line)
        kwargs.setdefault("log_pod_spec_on_failure", False)
        super().__init__(**kwargs)
        self.node = node
        self.topology = topology
        self.unit = unit
        self.artifacts = artifacts
        self.fetch = fetch
        self._last_pod: k8s.V1Pod | None = None

    def execute(self, context: Context) -> None:
        """Make the pod, wait for it, and look at what it has committed."""
        with failing_fast():
            run, node, unit = work_of(context, self.unit, self.node, self.topology)
            if self._complete(context, run, node, unit):
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
        super().cleanup(pod, remote_pod, *args, **kwargs)

    def _write_logs(  # type: ignore[override]  # the parent's is wrapped by a decorator without types
        self, pod: k8s.V1Pod, follow: bool = False, since_time: Any = None
    ) -> None:
        """As the parent does after a deferral, which knows no ``log_formatter`` there."""
        if since_time is not None:  # between two deferrals
            super()._write_logs(pod, follow=follow, since_time=since_time)
            return
        lines = self.client.read_namespaced_pod_log(
            name=pod.metadata.name,
            namespace=pod.metadata.namespace,
            container=self.base_container_name,
            follow=follow,
            _preload_content=False,
        )
        for line in lines:
            if text := line.decode("utf-8", errors="backslashreplace").rstrip("\n"):
                self.log.info("%s", (self.log_formatter or log_line)(self.base_container_name, text))

    def _complete(self, context: Context, run: Run, node: Infer, unit: Unit) -> bool:
        """Whether every shard is committed already."""
        from airflow_agentic.execution import collect_unit

        shards = run.unit_shards(node, unit)
        if not shards:
            raise AirflowSkipException(f"no record of unit {unit.number} is for {node.model!r}")
        if any(run.marker(node.id, shard) is None for shard in shards):
            return False
        self._push(context, collect_unit(run, node, unit))
        return True

    def _describe(self, context: Context, run: Run, node: Infer, unit: Unit) -> None:
        """Say to the pod which unit is its own, and give it the model's files."""
        from airflow_agentic.container.reference import UnitReference
        from airflow_agentic.execution import node_card

        hook = ArtifactStoreHook()
        base = reachable_store(self.artifacts or hook.base, self.volume_mounts)
        inside = run.folder.store.base.removeprefix(hook.get_conn().base)
        reference = UnitReference(
            store=f"{base}{inside}",
            manifest=unit.manifest,
            node=node.id,
            unit=unit.number,
            allowed_handlers=tuple(settings_list("allowed_handlers")),
        )
        grace = max(1, (self.termination_grace_period or GRACE_SECONDS) - 5)
        self.arguments = self.arguments or ["unit", *reference.to_arguments(), f"--grace={grace}"]
        self.env_vars = merged("env_vars", parsed("env_vars", hook.environment), parsed("env_vars", self.env_vars))
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
            if not published(store, sha256):  # or this worker would have to have it
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

    def _judged(self, context: Context, run: Run, node: Infer, unit: Unit, wait: Callable[[], Any]) -> None:
        """Wait for the pod; whatever was heard of it, what is committed decides.

        :raises AirflowFailException: the same pod would fail again.
        :raises AirflowException: another try can help.
        """
        from airflow_agentic.execution import collect_unit

        ended: Exception | None = None
        try:
            wait()
        except AirflowSkipException:
            raise
        except Exception as error:  # noqa: BLE001  # whatever it was: what is committed decides
            ended = error
        try:
            summary = collect_unit(run, node, unit)
        except AgenticError as error:
            raise self._failure(error, ended) from (ended or error)
        if ended is not None:
            self.log.warning("the pod ended badly, yet all of unit %d is committed: %s", unit.number, ended)
        self._push(context, summary)

    def _failure(self, missing: AgenticError, ended: Exception | None) -> Exception:
        """What is said of a unit that is not complete."""
        pod = self._last_pod or self.pod
        name = pod.metadata.name if pod is not None and pod.metadata is not None else "none was made"
        words, reason = last_words(self._last_pod, self.base_container_name)
        heard = (ended.__context__ or ended) if ended is not None else None
        why = f"{words.error}: {words.message}" if words else reason or str(heard or "it said nothing")
        message = f"{missing}\npod {name}: {why}"
        if hint := next_step(why):
            message = f"{message}\n{hint}"
        final = words is not None and not words.retryable
        return AirflowFailException(message) if final else AirflowException(message)

    def _push(self, context: Context, summary: Any) -> None:
        """Counts, although ``do_xcom_push`` would mean a sidecar here."""
        if summary is not None:
            context["ti"].xcom_push(key="return_value", value=summary.to_json())


def log_line(container: str, message: str) -> str:
    """A line of a pod in the Airflow task's log."""
    return f"[{container}] {shown(message)}"


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


_STEPS: Final[Mapping[str, str]] = {
    "OOMKilled": "raise resources.memory in the model's card, or lower batch.rows",
    "ModelMemoryError": "raise resources.memory in the model's card, or lower batch.rows",
    "exit code 137": "raise resources.memory in the model's card, or lower batch.rows",
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
