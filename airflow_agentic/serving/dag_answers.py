"""The answers of a Dag run, from the artifact store that the gateway shares with Airflow; read only."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from airflow_agentic.artifacts import Store


def dag_answers(base: Store, deployment: str, dag_id: str, run_id: str) -> pa.Table:
    """``tables.ANSWER``, in the order of the records. Blocks: to be called in a thread.

    :param base: Airflow's ``[agentic] artifacts``.
    :param deployment: Airflow's ``[agentic] deployment``.
    :raises ArtifactError: the run has not committed answers to all records, or the store is not the one that Airflow
        writes to; :class:`ExpiredRunError` if it was pruned.
    """
    raise NotImplementedError
