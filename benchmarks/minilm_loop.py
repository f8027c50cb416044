"""The floor of MiniLM: a loop over batches of 32 texts, in one process on the core that its argument names."""

from __future__ import annotations

import json
import os
import sys
import time

from airflow_agentic.pipeline.inputs import inline_records
from airflow_agentic.registry import Registry
from airflow_agentic.runtime import open_predictor
from benchmarks.base import ROOT
from benchmarks.serving import TEXTS

if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[1])})
    predictor = open_predictor(Registry.load([ROOT / "dags" / "models"]).cards["minilm-torch"])
    predictor.load()
    batch = inline_records(list(TEXTS), task="text-analysis")
    predictor.predict(batch)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < 10.0:
        count += predictor.predict(batch).num_rows
    print(json.dumps({"rate": count / (time.perf_counter() - began)}))
