"""What :mod:`airflow_agentic.runtime.batching` says of a row that is not alone."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from airflow_agentic.runtime.batching import predictions
from airflow_agentic.spec.model import ModelCard


def batched_predictions(card: ModelCard, records: pa.Table, found: pa.Table, latencies: np.ndarray) -> pa.Table:
    """The prediction of one row, checked together with its copy."""
    twice = [pa.concat_tables([table, table]) for table in (records, found)]
    return predictions(card, *twice, np.concatenate([latencies, latencies])).slice(0, 1)
