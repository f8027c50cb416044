"""One answer is checked in plain Python as many are by Arrow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from builders import card
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_checks import batched_predictions

from airflow_agentic.runtime.batching import predictions
from airflow_agentic.runtime.results import results
from airflow_agentic.spec.model import ModelCard

CARDS = (
    card("listed", classes=["a", "b", "c"], cost=3.0),
    card("mapped", output={"classes": ["a", "b"], "label_map": {"a": "c"}, "top_k": 1}),
    card("named", classes="moods"),
    card("number", output={"value": "euro"}),
    card("vector", output={"embedding": 2}),
    card("object", output={"fields": {"x": "string"}}),
)
NUMBERS = st.one_of(st.none(), st.floats(), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
LABELS = st.one_of(st.none(), st.sampled_from(["a", "b", "c", "d"]))
PAIRS = st.fixed_dictionaries({"label": LABELS, "p": NUMBERS})
ERRORS = st.one_of(st.none(), st.none(), st.just({"code": "x", "message": "y", "retryable": True}))
ANSWERS = st.fixed_dictionaries(
    {
        "label": LABELS,
        "score": NUMBERS,
        "scores": st.one_of(st.none(), st.lists(PAIRS, max_size=7)),
        "value": NUMBERS,
        "output": st.one_of(st.none(), st.just("{}")),
        "error": ERRORS,
    }
)
GOOD = st.fixed_dictionaries(
    {
        "label": st.sampled_from("bc"),
        "score": st.floats(0, 1),
        "scores": st.lists(st.fixed_dictionaries({"label": st.sampled_from("bc"), "p": st.floats(0, 1)}), max_size=7),
        "value": st.just(1.5),
        "output": st.just("{}"),
        "error": st.none(),
    }
)


@settings(max_examples=300)
@given(st.sampled_from(CARDS), st.one_of(ANSWERS, GOOD))
def test_one_row_as_a_batch(made: ModelCard, answer: dict[str, Any]) -> None:
    found = results(1, **{name: [value] for name, value in answer.items()})
    records = pa.table({"record_id": ["r0"], "row": pa.array([5], pa.int32())})
    latencies = np.array([1.5])
    alone = predictions(made, records, found, latencies)
    among = batched_predictions(made, records, found, latencies)
    assert alone.schema.equals(among.schema)
    assert repr(alone.to_pylist()) == repr(among.to_pylist())
