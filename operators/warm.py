"""One model over one unit, in a pod where the model is loaded already.

The chart's model servers keep such pods. The unit is handed over by executing a command in one of them; the command
stays attached to the Airflow task, so that a cancelled or lost Airflow task stops the unit after the shard in hand.
As with a pod of its own, what is committed decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.sdk import BaseOperator
from kubernetes.client import models as k8s
from kubernetes.stream import stream

from airflow_agentic.compat import AirflowException
from airflow_agentic.container.exits import LastWords
from airflow_agentic.exceptions import AgenticError
from airflow_agentic.hooks.store import ArtifactStoreHook
from airflow_agentic.operators.committed import complete, judged, verdict
from airflow_agentic.operators.node import failing_fast, work_of
from airflow_agentic.operators.pod import LABEL_MODEL, LABEL_VERSION, label, log_line
from airflow_agentic.operators.reach import durable_mounts, reachable_store, reference_of

if TYPE_CHECKING:
    from airflow.sdk import Context
    from kubernetes.stream.ws_client import WSClient

    from airflow_agentic.execution import Run, Unit
    from airflow_agentic.plan.ir import Infer
    from airflow_agentic.spec.model import ModelCard

CONTAINER: Final = "model"
SOCKET: Final = "airflow-agentic/socket"
"""The annotation of a warm pod that says where its model listens."""
COMPONENT: Final = "app.kubernetes.io/component=model-server"


class WarmInferenceOperator(BaseOperator):
    """Run a node's model over a unit in a warm pod, resuming after the last committed shard.

    Units are spread over the ready pods of the model and its version; each pod works through one at a time. A retry
    goes to the next pod. A unit for which nothing was selected is skipped, and one that is complete already succeeds,
    before a pod is looked for. Pushes counts as ``return_value``.

    :param node: the infer node's id in the plan.
    :param topology: digest of the Dag's topology.
    :param unit: one of the units that PreprocessOperator returned.
    :param artifacts: base URI of the artifact store as the pods reach it; by default as the worker does.
    :param namespace: of the pods; by default the connection's.
    :param kubernetes_conn_id: with ``in_cluster``, ``cluster_context`` and ``config_file`` as KubernetesPodOperator has
        them.
    """

    template_fields: Sequence[str] = (
        "unit",
        "artifacts",
        "namespace",
        "kubernetes_conn_id",
        "cluster_context",
        "config_file",
    )
    ui_color = "#e6e4f7"

    def __init__(
        self,
        *,
        node: str,
        topology: str,
        unit: Any,
        artifacts: str | None = None,
        namespace: str | None = None,
        kubernetes_conn_id: str | None = KubernetesHook.default_conn_name,
        in_cluster: bool | None = None,
        cluster_context: str | None = None,
        config_file: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.node = node
        self.topology = topology
        self.unit = unit
        self.artifacts = artifacts
        self.namespace = namespace
        self.kubernetes_conn_id = kubernetes_conn_id
        self.in_cluster = in_cluster
        self.cluster_context = cluster_context
        self.config_file = config_file
        self._attached: WSClient | None = None
        self._words: LastWords | None = None

    @cached_property
    def hook(self) -> KubernetesHook:
        """The cluster."""
        return KubernetesHook(
            conn_id=self.kubernetes_conn_id,
            in_cluster=self.in_cluster,
            cluster_context=self.cluster_context,
            config_file=self.config_file,
        )

    def execute(self, context: Context) -> None:
        """Hand the unit over, wait, and look at what is committed."""
        from airflow_agentic.execution import node_card

        with failing_fast():
            run, node, unit = work_of(context, self.unit, self.node, self.topology)
            if complete(context, run, node, unit):
                return
            pod = self._pod(node_card(run.plan, node), turn=unit.number + context["ti"].try_number - 1)
            command = self._command(run, node, unit, pod)

        def failure(missing: AgenticError, ended: Exception | None) -> Exception:
            said = f"{self._words.error}: {self._words.message}" if self._words else None
            why = said or str(ended or "the connection to it ended before the unit did")
            return verdict(missing, pod.metadata.name, why, self._words, None)

        judged(context, run, node, unit, lambda: self._work(pod, command), failure)

    def on_kill(self) -> None:
        """Let go: the unit stops after the shard in hand, the pod and its model stay."""
        if self._attached is not None:
            self._attached.close()

    def _pod(self, card: ModelCard, turn: int) -> k8s.V1Pod:
        """One of the ready pods of the model, the next one each turn.

        :raises AirflowException: there is none.
        """
        namespace = self.namespace or self.hook.get_namespace() or self.hook.DEFAULT_NAMESPACE
        name, version = label(card.name), label(card.version)
        found = self.hook.core_v1_client.list_namespaced_pod(
            namespace, label_selector=f"{COMPONENT},{LABEL_MODEL}={name}"
        ).items
        ready = [pod for pod in found if pod.metadata.labels.get(LABEL_VERSION) == version and _ready(pod)]
        if ready:
            return sorted(ready, key=lambda pod: pod.metadata.name)[turn % len(ready)]
        others = sorted({f"version {pod.metadata.labels.get(LABEL_VERSION)}" for pod in found if _ready(pod)})
        there = f"ready are only those of {', '.join(others)}" if others else f"{len(found)} of the model, none ready"
        raise AirflowException(
            f"no warm pod of model {card.name!r} version {card.version} is ready in namespace {namespace!r}: {there}\n"
            "list the card under modelServers of the chart, wait until its pods are ready, or remove kubernetes: warm"
        )

    def _command(self, run: Run, node: Infer, unit: Unit, pod: k8s.V1Pod) -> list[str]:
        hook = ArtifactStoreHook()
        base = reachable_store(self.artifacts or hook.base, durable_mounts(pod, CONTAINER))
        reference = reference_of(run, node, unit, base=base)
        socket = pod.metadata.annotations[SOCKET]
        return [
            "python",
            "-m",
            "airflow_agentic.runtime",
            "unit",
            *reference.to_arguments(),
            f"--socket={socket}",
            "--attached",
        ]

    def _work(self, pod: k8s.V1Pod, command: Sequence[str]) -> None:
        """Execute the command in the pod: its log becomes the Airflow task's, its last words are kept."""
        self.log.info("handing the unit to pod %s", pod.metadata.name)
        attached = stream(
            self.hook.core_v1_client.connect_get_namespaced_pod_exec,
            pod.metadata.name,
            pod.metadata.namespace,
            container=CONTAINER,
            command=list(command),
            stdin=True,
            stdout=True,
            stderr=True,
            _preload_content=False,
        )
        self._attached = attached
        try:
            said = self._listen(attached)
        finally:
            with suppress(Exception):  # it is gone
                attached.close()
            self._attached = None
        self._words = LastWords.parse(said)
        if said and self._words is None:
            raise AirflowException(said)

    def _listen(self, attached: WSClient) -> str:
        """Log stderr line by line until the command ends; returns its stdout."""
        said, rest = "", ""
        while attached.is_open():
            attached.update(timeout=1)
            *lines, rest = (rest + attached.read_channel(2)).split("\n")
            for line in lines:
                self.log.info("%s", log_line(CONTAINER, line))
            said += attached.read_channel(1)
        if rest:
            self.log.info("%s", log_line(CONTAINER, rest))
        return said.strip()


def _ready(pod: k8s.V1Pod) -> bool:
    conditions = (pod.status.conditions if pod.status else None) or ()
    return pod.metadata.deletion_timestamp is None and any(
        one.type == "Ready" and one.status == "True" for one in conditions
    )
