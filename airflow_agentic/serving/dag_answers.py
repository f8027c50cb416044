"""The answers of a Dag run, from the artifact store that the gateway shares with Airflow; read only.

Compact and expanded runs commit answers alike, and before Publish: so they are there also where ``on_error: fail`` made
the run fail, and wherever the workflow publishes to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from airflow_agentic.exceptions import ArtifactError, InputError
from airflow_agentic.execution import Folder
from airflow_agentic.execution.expiry import refuse_expired
from airflow_agentic.execution.runs import RunPlace, find_run

if TYPE_CHECKING:
    from airflow_agentic.artifacts import Store


def dag_answers(base: Store, deployment: str, dag_id: str, run_id: str) -> pa.Table:
    """``tables.ANSWER``, in the order of the records. Blocks: to be called in a thread.

    :param base: Airflow's ``[agentic] artifacts``.
    :param deployment: Airflow's ``[agentic] deployment``.
    :raises ExpiredRunError: the run was pruned.
    :raises ArtifactError: the run has not committed answers to all records, or this is not the store that Airflow
        writes to.
    """
    try:
        found = find_run(base, deployment, RunPlace(dag_id=dag_id, run_id=run_id))
    except InputError as error:
        raise ArtifactError(
            f"{base.child(deployment).base} holds nothing of the run {run_id!r} of {dag_id!r}: its first Airflow task "
            "committed nothing, or the gateway's artifact store or deployment is not the one in Airflow's [agentic]"
        ) from error
    refuse_expired(found.store)
    if found.manifest is None:
        raise ArtifactError(
            f"the run {run_id!r} of {dag_id!r} has not read its records yet; see its first Airflow task"
        )
    return pa.concat_tables(answers for _, answers in Folder(found.store).open(found.manifest).answers())
