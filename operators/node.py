"""What the operators of a generated Dag share: one node of a run's frozen plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_agentic.compat import AirflowFailException
from airflow_agentic.exceptions import AgenticError
from airflow_agentic.hooks.store import ArtifactStoreHook, setting, settings_list
from airflow_agentic.plan.ir import PREPROCESS, Infer

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_agentic.execution import Folder, Run, Unit


class failing_fast:  # noqa: N801  # used as a context manager, like contextlib.suppress
    """Errors that the same input brings again fail the Airflow task at once, without a retry."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, AgenticError) and not error.retryable:
            raise AirflowFailException(f"{type(error).__name__}: {error}") from error


def folder(context: Context) -> Folder:
    """Where the state of this Dag run lies."""
    from airflow_agentic.execution import Folder

    run = context["dag_run"]
    store = ArtifactStoreHook().get_conn()
    return Folder.of(store, setting("deployment", "default"), run.dag_id, run.run_id, settings_list("allowed_handlers"))


def work_of(context: Context, unit: Any, node: str, topology: str) -> tuple[Run, Infer, Unit]:
    """The run, the infer node and the unit of a mapped Airflow task.

    :param unit: one of the units that PreprocessOperator returned.
    """
    from airflow_agentic.execution import Unit

    found = Unit.from_json(unit)
    run = folder(context).open(found.manifest, topology=topology)
    return run, run.node(node, Infer), found


def shown(counts: Mapping[str, int]) -> str:
    """Counts as a line of a log: ``records: 2, errors: 0``."""
    return ", ".join(f"{name}: {count:,}" for name, count in counts.items()) or "no rows"


class NodeOperator(BaseOperator):
    """Base of the operators that run one node over the whole batch.

    :param node: the node's id in the plan.
    :param topology: digest of the Dag's topology; a run whose frozen plan has another one is refused.
    """

    template_fields: Sequence[str] = ()

    def __init__(self, *, node: str, topology: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.node = node
        self.topology = topology

    def run_of(self, context: Context) -> Run:
        """This Dag run's state, by the manifest that Preprocess returned."""
        return folder(context).open(manifest_of(context), topology=self.topology)


def manifest_of(context: Context) -> str:
    """The manifest that the first Airflow task returned.

    :raises AirflowFailException: it returned none.
    """
    units = context["ti"].xcom_pull(task_ids=PREPROCESS)
    if isinstance(units, Sequence) and units and isinstance(units[0], Mapping):
        return str(units[0]["manifest"])
    raise AirflowFailException(f"the Airflow task {PREPROCESS!r} left no units: clear it, and all after it")
