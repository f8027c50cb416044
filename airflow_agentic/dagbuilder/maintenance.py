"""The maintenance Dag: deletes the artifacts of runs whose time is over."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param

from airflow_agentic.dagbuilder.build import TAG
from airflow_agentic.operators import PruneOperator

_DOCUMENT = """\
Deletes the records, predictions and answers of runs that are older than their workflow's `retention`, else than
`[agentic] retention`. Each run leaves a small object which says that it has expired.
"""


def maintenance_dag(dag_id: str = "agentic_maintenance", **arguments: Any) -> DAG:
    """A Dag of one Airflow task that prunes the artifact store of this deployment.

    :param arguments: of the Dag: give it a ``schedule``, as ``@daily``. Without one it runs when it is triggered.
    """
    given = {"schedule": None, "catchup": False, "max_active_runs": 1, **arguments}
    with DAG(
        dag_id=dag_id,
        tags=sorted({TAG, "maintenance", *given.pop("tags", [])}),
        doc_md=given.pop("doc_md", _DOCUMENT),
        params={**_form(), **given.pop("params", {})},
        render_template_as_native_obj=True,
        **given,
    ) as dag:
        PruneOperator(task_id="prune", older_than="{{ params.older_than }}", simulate="{{ params.dry_run }}")  # type: ignore[arg-type]  # a template
    return dag


def _form() -> dict[str, Param]:
    return {
        "older_than": Param(
            None,
            type=["null", "string"],
            pattern=r"^[0-9]+(\.[0-9]+)?\s*(h|d|w)$",
            title="Older than",
            description="For every run, as 30d. Empty: as its workflow or the configuration says.",
        ),
        "dry_run": Param(
            False, type="boolean", title="Dry run", description="Only log and count what would be deleted."
        ),
    }
