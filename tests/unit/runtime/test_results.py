from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from runtime_samples import card, errors

from airflow_agentic.exceptions import RecordError
from airflow_agentic.runtime.results import Ranking, best, results, with_errors
from airflow_agentic.tables import RESULT

matrices = st.integers(1, 8).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(0, 3).map(float), min_size=width, max_size=width), min_size=1, max_size=5
    )
)


@given(matrices, st.integers(1, 8))
def test_best_is_the_head_of_a_sort(rows: list[list[float]], keep: int) -> None:
    scores = np.array(rows)
    keep = min(keep, scores.shape[1])
    found = best(scores, keep)
    for row, order in zip(rows, found.tolist(), strict=True):
        assert len(set(order)) == keep
        assert [row[place] for place in order] == sorted(row, reverse=True)[:keep]
        assert order[0] == row.index(max(row))


def test_ranking_keeps_the_best() -> None:
    ranking = Ranking(["a", "b", "c"], card(output={"classes": ["a", "b", "c"], "top_k": 2}))
    found = ranking.table(np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]))
    assert found.schema.equals(RESULT)
    assert found.select(["label", "score", "scores"]).to_pylist() == [
        {"label": "c", "score": 0.7, "scores": [{"label": "c", "p": 0.7}, {"label": "b", "p": 0.2}]},
        {"label": "a", "score": 0.5, "scores": [{"label": "a", "p": 0.5}, {"label": "b", "p": 0.3}]},
    ]


def test_outputs_that_share_a_label_are_one_class() -> None:
    output = {"classes": ["tabby", "hound", "siamese"], "label_map": {"tabby": "cat", "siamese": "cat", "hound": "dog"}}
    scores = np.array([[0.25, 0.5, 0.25], [0.125, 0.75, 0.125]])
    found = Ranking(output["classes"], card(output=output)).table(scores)
    assert found.column("label").to_pylist() == ["cat", "dog"]
    assert found.column("scores").to_pylist()[1] == [{"label": "dog", "p": 0.75}, {"label": "cat", "p": 0.25}]
    found = Ranking(output["classes"], card(output={**output, "score_kind": "margin"})).table(scores)
    assert found.column("label").to_pylist() == ["dog", "dog"]
    assert found.column("scores").to_pylist()[0] == [{"label": "dog", "p": 0.5}, {"label": "cat", "p": 0.25}]


def test_numbers_that_are_not_finite_are_errors_of_their_rows() -> None:
    ranking = Ranking(["a", "b"], card())
    found = ranking.table(np.array([[0.1, 0.9], [np.nan, 0.9], [np.inf, 0.1]]))
    problem = ("bad_output", "the model gave a number that is not finite (NaN or infinity)")
    assert errors(found) == [None, problem, problem]
    assert found.column("label").to_pylist() == ["b", None, None]


def test_errors_are_put_among_the_answers() -> None:
    answers = results(2, label=["x", "y"])
    found = with_errors(answers, {0: RecordError("a", "first"), 2: RecordError("b", "third")}, 4)
    assert found.schema.equals(RESULT)
    assert found.column("label").to_pylist() == [None, "x", None, "y"]
    assert errors(found) == [("a", "first"), None, ("b", "third"), None]


def test_without_errors_the_answers_are_as_they_were() -> None:
    answers = results(1, label=["x"])
    assert with_errors(answers, {}, 1) is answers
