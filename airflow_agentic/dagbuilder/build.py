"""Plan → Airflow Dag.

Shape of the expanded layout, as tried with the scheduler: Route is a branch into the first models; each model is mapped
over the units; a gate is a branch after its models; gates and Aggregate run whatever became of the models
(``all_done``) and decide from markers, so that one lost unit does not throw the batch away. Edges are the plan's,
without those that others imply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, TaskGroup, TriggerRule

from airflow_agentic.artifacts.digests import digest
from airflow_agentic.compat import AirflowException, conf
from airflow_agentic.dagbuilder.arguments import dag_arguments, schedule, task_arguments
from airflow_agentic.dagbuilder.assets import asset_of
from airflow_agentic.dagbuilder.executors import own_pod, with_objects
from airflow_agentic.dagbuilder.params import form
from airflow_agentic.exceptions import CompileError
from airflow_agentic.operators import (
    AggregateOperator,
    GateOperator,
    LocalInferenceOperator,
    PreprocessOperator,
    PublishOperator,
    RouteOperator,
    ServiceInferenceOperator,
    WorkflowOperator,
)
from airflow_agentic.plan.draw import terminal
from airflow_agentic.plan.ir import Aggregate, Gate, Infer, Plan, Publish, Route
from airflow_agentic.spec.workflow import WorkflowSpec

if TYPE_CHECKING:
    from airflow_agentic.dagbuilder.plan_cache import Compiled
    from airflow_agentic.project import Workflow

TAG = "airflow-agentic"


def build_dag(workflow: Workflow | Compiled, **arguments: Any) -> DAG:
    """The Dag of ``workflow``.

    :param arguments: of the Dag, instead of those in the workflow's ``dag``.
    :raises CompileError: the workflow does not compile, or asks Airflow for something it does not take.
    """
    spec, plan = workflow.spec, workflow.plan
    given = {**dag_arguments(spec), "schedule": schedule(spec), **arguments}
    tags = {TAG, *given.pop("tags", [])}
    given.setdefault("catchup", False)
    given.setdefault("description", spec.description or None)
    defaults = with_objects(spec, {**given.pop("default_args", {}), **task_arguments(spec)})
    with _refusals(spec, "dag"):
        dag = DAG(
            dag_id=spec.name,
            tags=sorted(tags),
            params={**form(spec, plan.models.values()), **given.pop("params", {})},
            default_args=defaults,
            doc_md=document(spec, plan),
            **given,
        )
        dag.validate()  # type: ignore[no-untyped-call]  # Airflow's
    with dag, _refusals(spec, "task"):
        if spec.layout == "compact":
            WorkflowOperator(
                task_id="workflow",
                plan=plan,
                input=spec.input,
                base=str(spec.folder.resolve()),
                outlets=[asset_of(spec.name)],
                gateway=None if spec.gateway is None else spec.gateway.stated,
                **own_pod(spec, plan, plan.of(Infer) if spec.gateway is None else (), defaults),
            )
        else:
            _Expanded(workflow, defaults).build()
    return dag


@contextmanager
def _refusals(spec: WorkflowSpec, section: str) -> Iterator[None]:
    """What Airflow's classes refuse is the workflow's problem: it must not end the whole Dag file."""
    try:
        yield
    except CompileError:
        raise
    except (AirflowException, TypeError, ValueError, AttributeError) as error:
        said = error.args[0] if error.args else error
        raise CompileError(spec.problem((section,), f"Airflow refuses it: {said}")) from error


def document(spec: WorkflowSpec, plan: Plan) -> str:
    """What the Dag's page says: the description, and the plan as text."""
    return f"{spec.description}\n\n```text\n{terminal(plan)}\n```\n"


class _Expanded:
    """One Airflow task a node."""

    def __init__(self, workflow: Workflow | Compiled, defaults: Mapping[str, Any]) -> None:
        self.workflow = workflow
        self.defaults = defaults
        self.plan = workflow.plan
        self.topology = digest(self.plan.topology)
        self.groups: dict[str, TaskGroup] = {}
        limit = conf.getint("core", "max_map_length", fallback=1024)
        if self.plan.options.parallelism > limit:
            message = f"Airflow maps at most {limit} Airflow tasks here ([core] max_map_length)"
            hint = f"write at most {limit}, and larger units; the number of shards does not matter"
            raise CompileError(workflow.spec.problem(("parallelism",), message, hint))
        online = [node.id for node in self.plan.nodes if node.runs_in == "online"]
        if online:
            raise CompileError(
                workflow.spec.problem(
                    ("layout",),
                    f"layout expanded cannot run {online[0]!r}: least-loaded looks at the moment",
                    "write layout: compact, or choose another policy",
                )
            )

    def build(self) -> None:
        """Make the Airflow tasks and their edges inside the current Dag."""
        spec = self.workflow.spec
        first = self.plan.nodes[0]
        start = PreprocessOperator(task_id=first.id, plan=self.plan, input=spec.input, base=str(spec.folder.resolve()))
        tasks: dict[str, Any] = {first.id: start}
        for node in self.plan.nodes[1:]:
            tasks[node.id] = self._task(node, start.output)
        self._connect(tasks)

    def _connect(self, tasks: Mapping[str, Any]) -> None:
        """Set the edges in few calls: in each, Airflow hashes the whole Dag once a task."""
        after: dict[str, list[Any]] = {}
        for node_id, needs in self.plan.edges().items():
            if len(needs) == 1:
                after.setdefault(needs[0], []).append(tasks[node_id])
            elif needs:
                tasks[node_id].set_upstream([tasks[need] for need in needs])
        for need, following in after.items():
            tasks[need].set_downstream(following)

    def _task(self, node: Any, units: Any) -> Any:
        placed: dict[str, Any] = {"task_id": node.id, "node": node.id, "topology": self.topology}
        if isinstance(node, Infer | Gate) and self._grouped(node):
            placed |= {"task_id": node.id.removeprefix(f"{node.group}."), "task_group": self._group(node.group)}
        if isinstance(node, Infer):
            return self._infer(node, placed).expand(unit=units)
        if isinstance(node, Route):
            return RouteOperator(**placed)
        if isinstance(node, Gate):
            return GateOperator(**placed, trigger_rule=TriggerRule.ALL_DONE)
        if isinstance(node, Aggregate):
            return AggregateOperator(**placed, trigger_rule=TriggerRule.ALL_DONE)
        if isinstance(node, Publish):
            return PublishOperator(**placed, outlets=[asset_of(self.workflow.name)])
        raise TypeError(f"no operator runs a {node.kind} node")

    def _infer(self, node: Infer, placed: dict[str, Any]) -> Any:
        """The operator that runs a model where the workflow says, to be mapped over the units."""
        placed["map_index_template"] = "unit {{ task.unit.unit }}"
        runner = self.plan.options.runners.get(node.model)
        if runner is None:
            placed |= own_pod(self.workflow.spec, self.plan, [node], self.defaults)
            return LocalInferenceOperator.partial(**placed)
        if runner == "service":
            return ServiceInferenceOperator.partial(**placed, service=self.plan.options.services[node.model])
        from airflow_agentic.dagbuilder.pods import operator  # the client takes seconds to import

        kind, given = operator(self.workflow.spec, self.plan, node.model)
        return kind.partial(**placed, **given)

    @staticmethod
    def _grouped(node: Infer | Gate) -> bool:
        return node.group is not None and node.id.startswith(f"{node.group}.")

    def _group(self, name: str | None) -> TaskGroup | None:
        if name is None:
            return None
        if name not in self.groups:
            self.groups[name] = TaskGroup(group_id=name)
        return self.groups[name]
