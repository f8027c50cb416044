"""A combination and an answer for one record are those of its row, to the last bit and word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from predicting import failed, leaf, prediction, shard
from test_aggregation_property import labelled, numbers

from airflow_agentic import tables
from airflow_agentic.pipeline.answers import answer
from airflow_agentic.pipeline.answers_one import OneAnswerer
from airflow_agentic.pipeline.combination import Chained, Coalesce, Combination, Ensemble, FirstAccepted, Primary
from airflow_agentic.pipeline.combine_one import OneCombiner
from airflow_agentic.tables import Selected

MODELS = ("a", "b", "c", "d")
TASKS = {"a": "animals", "b": "birds", "c": "animals", "d": "deer"}
GATES = ("gate-1", "gate-2")
METHODS = ("majority-vote", "weighted-vote", "mean", "weighted-mean", "merge", "best-score")
leaves = st.sampled_from(MODELS).map(leaf)
outputs = st.sampled_from(['{"city": "Rome"}', "[1, 2]"]).map(lambda output: {"output": output})
said = st.none() | labelled | numbers | outputs | st.just(failed("bad_record"))
costly = st.tuples(said, st.none() | st.sampled_from([0.1, 0.2, 0.3, float("nan")]), st.none() | st.just(0.7))
selected = st.builds(
    lambda outcome, rule, reason: Selected("main.a" if outcome is None else None, outcome, rule, reason),
    st.none() | st.sampled_from(["accepted", "rejected", "no_candidate", "no_route", "condition_failed"]),
    st.sampled_from([None, "routes[0]", "gate"]),
    st.sampled_from([None, "", "always", "a was unsure"]),
)
entries = st.lists(selected, max_size=2)


def several(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, min_size=1, max_size=3).map(tuple)
    ensembles = st.builds(
        lambda members, method, weights, quorum: Ensemble(
            method=method,
            members=members,
            names=tuple(f"m{place}" for place in range(len(members))),
            weights=tuple(weights[: len(members)]),
            quorum=min(quorum, len(members)),
        ),
        some,
        st.sampled_from(METHODS),
        st.lists(st.sampled_from([0.0, 0.5, 2.0]), min_size=3, max_size=3),
        st.integers(1, 3),
    )
    cascades = st.builds(
        lambda stages: FirstAccepted(stages=stages, gates=GATES[: len(stages) - 1]),
        st.lists(inner, min_size=2, max_size=3).map(tuple),
    )
    return st.one_of(
        some.map(lambda members: Coalesce(members=members)),
        cascades,
        cascades,
        st.builds(lambda last, earlier: Chained(last=last, earlier=earlier), inner, inner),
        st.builds(lambda primary, shadows: Primary(primary=primary, shadows=shadows), inner, some),
        ensembles,
    )


combinations = st.recursive(leaves, several, max_leaves=6)


def row_of(name: str, given_: tuple[Any, Any, Any]) -> dict[str, Any] | None:
    what, cost, latency = given_
    if what is None:
        return None
    made = tables.table([{**prediction(name, 0, what), "cost": cost, "latency_ms": latency}], tables.PREDICTION)
    return dict(made.to_pylist()[0])


def selection(given_: list[Selected]) -> pa.Table:
    return tables.table([{"row": 0, **one._asdict()} for one in given_], tables.SELECTION)


@given(
    combinations,
    st.fixed_dictionaries(dict.fromkeys(MODELS, costly)),
    st.fixed_dictionaries({"route": entries, **dict.fromkeys(GATES, entries)}),
    st.sampled_from([{}, {"task": "t"}, {"text": 3}, {"text": 3, "task": "t"}]),
)
def test_an_answer_is_that_of_the_shard(
    combination: Combination,
    models: Mapping[str, tuple[Any, Any, Any]],
    selections: Mapping[str, list[Selected]],
    record: dict[str, Any],
) -> None:
    rows = {name: row for name in MODELS if (row := row_of(name, models[name])) is not None}
    accepted = {gate: [0] for gate in GATES if any(one.outcome == "accepted" for one in selections[gate])}
    whole = shard(
        {name: [rows.get(name)] for name in MODELS},
        accepted={gate: accepted.get(gate, []) for gate in GATES},
        selections=[selection(one) for one in selections.values()],
        records=[record],
    )
    expected = answer(combination, whole, TASKS)

    predictions = {f"main.{name}": row for name, row in rows.items()}
    combiner = OneCombiner("r0", predictions, selections)
    found = OneAnswerer(combination, TASKS).answer(combiner, whole.records.to_pylist()[0])

    assert tables.table([found], tables.ANSWER).equals(expected)
    assert found == expected.to_pylist()[0]
