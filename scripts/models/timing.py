"""``python -m scripts.models.timing CARD RECORDS``: CPU time of a model, printed as JSON.

CPU time and not time on the wall: with one thread they are the same on an idle machine, and on a busy one the wait for
a core is no property of the model. Runs in a process of its own, so that what it counts is one model's.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_agentic.runtime import Predictor, open_predictor, predict_records
from airflow_agentic.spec.load import load_model

if TYPE_CHECKING:
    from airflow_agentic.spec.model import ModelCard

SINGLES: Final = 30
"""Records that are answered one by one: their median is the latency."""
ROUNDS: Final = 2
"""Times a sample is answered in the card's batches: the fastest is the throughput."""
SAMPLE: Final = 96


def main(card_path: str, records_path: str) -> int:
    """Print ``latency_ms`` and ``throughput_per_s``."""
    card, records = load_model(Path(card_path)), pq.read_table(records_path)
    predictor = open_predictor(card)
    predictor.load()
    step = max(1, records.num_rows // SAMPLE)
    sample = records.take(list(range(0, records.num_rows, step))[:SAMPLE])
    _seconds(predictor, card, sample)  # the first calls compile, allocate and read
    batched = min(_seconds(predictor, card, sample) for _ in range(ROUNDS))
    rows = [index % sample.num_rows for index in range(SINGLES)]
    singles = sorted(_seconds(predictor, card, sample.slice(row, 1)) for row in rows)
    predictor.close()
    found = {"latency_ms": singles[len(singles) // 2] * 1000, "throughput_per_s": sample.num_rows / batched}
    print(json.dumps(found))
    return 0


def _seconds(predictor: Predictor, card: ModelCard, records: pa.Table) -> float:
    began = time.process_time()
    predict_records(predictor, card, records)
    return time.process_time() - began


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
