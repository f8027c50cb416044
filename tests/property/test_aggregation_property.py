"""Vote, mean, median and best score agree with a plain implementation, row by row, ties and quorum included."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from predicting import ensemble, failed, scored, shard

from airflow_agentic.pipeline.combination import Ensemble
from airflow_agentic.pipeline.combine import Combiner

LABELS = ("cat", "dog", "owl")
TOLERANCE = 1e-9
# few different numbers, so that ties are frequent; sixteenths add up exactly
parts = st.integers(0, 16).map(lambda number: number / 16)
class_scores = st.dictionaries(st.sampled_from(LABELS), parts, min_size=1).map(lambda scores: scored(**scores))
lone = st.builds(lambda label, score: {"label": label, "score": score}, st.sampled_from(LABELS), st.none() | parts)
labelled = st.none() | st.just(failed()) | class_scores | lone
numbers = st.none() | st.just(failed()) | st.floats(-1e6, 1e6)
weights = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=4, max_size=4)


def rows_of(answers: st.SearchStrategy[Any]) -> st.SearchStrategy[list[list[Any]]]:
    return st.integers(1, 4).flatmap(
        lambda members: st.lists(st.lists(answers, min_size=members, max_size=members), min_size=1, max_size=6)
    )


def combined(node: Ensemble, rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    combiner = Combiner(shard({name: [row[place] for row in rows] for place, name in enumerate(node.names)}))
    slot = combiner.slot(node)
    found: list[dict[str, Any]] = combiner.pool.take(slot.index).to_pylist()
    return found


def node_of(method: str, rows: Sequence[Sequence[Any]], weight: Sequence[float], quorum: int) -> Ensemble:
    names = [f"m{place}" for place in range(len(rows[0]))]
    return ensemble(method, *names, weights=weight[: len(names)], quorum=min(quorum, len(names)))


def valid(row: Sequence[Any]) -> list[int]:
    return [
        place for place, said in enumerate(row) if said is not None and not (isinstance(said, dict) and "error" in said)
    ]


def weight_of(node: Ensemble, row: Sequence[Any]) -> dict[int, float]:
    """Of each valid member; all alike where the method takes none, or none of them has one."""
    weighted = node.method in {"weighted-vote", "weighted-mean"}
    found = {place: node.weights[place] if weighted else 1.0 for place in valid(row)}
    return found if any(found.values()) else dict.fromkeys(found, 1.0)


def check_error(node: Ensemble, row: Sequence[Any], found: Mapping[str, Any]) -> bool:
    """Whether the row has too few valid answers, having checked what is said of it."""
    if all(said is None for said in row):
        assert found["model"] is None
        return True
    if len(valid(row)) < node.quorum:
        assert found["error"]["code"] == "quorum_not_met"
        assert found["error"]["message"].startswith(
            f"{len(valid(row))} of {len(row)} members answered, {node.quorum} needed"
        )
        return True
    assert found["error"] is None
    return False


def votes_of(node: Ensemble, row: Sequence[Any]) -> dict[str, tuple[float, float]]:
    """Votes of each label and how sure they are together, in the order of the members."""
    votes: dict[str, tuple[float, float]] = {}
    for place, one in weight_of(node, row).items():
        if one > 0:
            label, score = row[place]["label"], row[place]["score"] or 0.0
            vote, confidence = votes.get(label, (0.0, 0.0))
            votes[label] = (vote + one, confidence + one * score)
    return votes


@pytest.mark.parametrize("method", ["majority-vote", "weighted-vote"])
@given(rows_of(labelled), weights, st.integers(1, 4))
def test_vote(method: str, rows: list[list[Any]], weight: list[float], quorum: int) -> None:
    node = node_of(method, rows, weight, quorum)
    for row, found in zip(rows, combined(node, rows), strict=True):
        if check_error(node, row, found):
            continue
        counts = weight_of(node, row)
        votes = votes_of(node, row)
        winner = max(votes, key=lambda label: votes[label])  # of equal ones the first
        assert found["label"] == winner
        assert math.isclose(found["score"], votes[winner][0] / sum(counts.values()), abs_tol=TOLERANCE)
        agree = sum(row[place]["label"] == winner and one > 0 for place, one in counts.items())
        assert found["reason"] == f"{agree} of {len(row)} agree"


@pytest.mark.parametrize("method", ["mean", "weighted-mean"])
@given(rows_of(labelled), weights, st.integers(1, 4))
def test_mean_of_scores(method: str, rows: list[list[Any]], weight: list[float], quorum: int) -> None:
    node = node_of(method, rows, weight, quorum)
    for row, found in zip(rows, combined(node, rows), strict=True):
        if check_error(node, row, found):
            continue
        counts = {place: one for place, one in weight_of(node, row).items() if one > 0}
        means: dict[str, float] = {}
        for place, one in counts.items():
            said = row[place].get("scores") or [{"label": row[place]["label"], "p": row[place]["score"] or 0.0}]
            for entry in said:
                means[entry["label"]] = means.get(entry["label"], 0.0) + one * entry["p"] / sum(counts.values())
        assert {entry["label"] for entry in found["scores"]} == means.keys()
        for entry in found["scores"]:
            assert math.isclose(entry["p"], means[entry["label"]], abs_tol=TOLERANCE)
        assert [entry["p"] for entry in found["scores"]] == sorted(
            (entry["p"] for entry in found["scores"]), reverse=True
        )
        assert (found["label"], found["score"]) == (found["scores"][0]["label"], found["scores"][0]["p"])
        highest = max(means.values())
        near = [label for label, p in means.items() if math.isclose(p, highest, abs_tol=TOLERANCE)]
        assert found["label"] in near


@pytest.mark.parametrize("method", ["mean", "weighted-mean", "median"])
@given(rows_of(numbers), weights, st.integers(1, 4))
def test_numbers(method: str, rows: list[list[Any]], weight: list[float], quorum: int) -> None:
    node = node_of(method, rows, weight, quorum)
    for row, found in zip(rows, combined(node, rows), strict=True):
        if check_error(node, row, found):
            continue
        counts = weight_of(node, row)
        values = [row[place] for place in counts]
        expected = statistics.median(values) if method == "median" else statistics.fmean(values, list(counts.values()))
        assert math.isclose(found["value"], expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        assert (found["label"], found["score"], found["score_kind"]) == (None, None, None)


@given(rows_of(labelled), weights, st.integers(1, 4))
def test_best_score(rows: list[list[Any]], weight: list[float], quorum: int) -> None:
    node = node_of("best-score", rows, weight, quorum)
    for row, found in zip(rows, combined(node, rows), strict=True):
        if check_error(node, row, found):
            continue
        best = max(valid(row), key=lambda place: (-1.0 if row[place]["score"] is None else row[place]["score"], -place))
        assert found["model"] == node.names[best]
        assert (found["label"], found["score"]) == (row[best]["label"], row[best]["score"])


@pytest.mark.parametrize("method", ["majority-vote", "mean", "best-score", "merge"])
@given(rows_of(labelled), st.integers(1, 4))
def test_a_row_does_not_depend_on_the_others(method: str, rows: list[list[Any]], quorum: int) -> None:
    node = node_of(method, rows, [1.0] * 4, quorum)
    whole = combined(node, rows)
    for row, found in zip(rows, whole, strict=True):
        alone = combined(node, [row])[0]
        assert {**alone, "row": None, "record_id": None} == {**found, "row": None, "record_id": None}


def ties(rows: Sequence[Any]) -> bool:
    """Whether two members say the same of how sure they are: then their order decides."""
    sure = [row["score"] for row in rows if isinstance(row, dict) and "error" not in row]
    return len(set(sure)) < len(sure)


@pytest.mark.parametrize("method", ["majority-vote", "weighted-vote", "mean", "weighted-mean", "best-score", "merge"])
@given(rows_of(labelled), weights, st.integers(1, 4), st.data())
def test_the_order_of_members_changes_nothing_but_ties(
    method: str, rows: list[list[Any]], weight: list[float], quorum: int, data: st.DataObject
) -> None:
    node = node_of(method, rows, weight, quorum)
    order = data.draw(st.permutations(range(len(node.names))), "order")
    members = {name: tuple(getattr(node, name)[place] for place in order) for name in ("members", "names", "weights")}
    columns = {name: [row[place] for row in rows] for place, name in enumerate(node.names)}
    combiner = Combiner(shard(columns))
    slot = combiner.slot(node.model_copy(update=members))
    other = combiner.pool.take(slot.index).to_pylist()
    for row, one, two in zip(rows, combined(node, rows), other, strict=True):
        codes = [one["error"] and one["error"]["code"], two["error"] and two["error"]["code"]]
        assert codes[0] == codes[1]
        assert one["output"] == two["output"]
        if method in {"weighted-vote", "majority-vote"}:  # of equal votes the surer label wins, with another share
            votes = votes_of(node, row)
            first = {label for label, said in votes.items() if said == max(votes.values())}
            assert codes[0] or {one["label"], two["label"]} <= (first or {None})
            continue
        assert (one["score"] is None) == (two["score"] is None)
        assert one["score"] is None or math.isclose(one["score"], two["score"], abs_tol=TOLERANCE)
        if method in {"mean", "weighted-mean"} and one["scores"] is not None:
            means = [{entry["label"]: entry["p"] for entry in made["scores"]} for made in (one, two)]
            assert means[0].keys() == means[1].keys()
            assert all(math.isclose(p, means[1][label], abs_tol=TOLERANCE) for label, p in means[0].items())
        elif not ties(row):
            assert one["label"] == two["label"]


@pytest.mark.parametrize("method", ["majority-vote", "weighted-vote", "mean", "weighted-mean", "best-score", "merge"])
@given(rows_of(labelled), weights, st.integers(1, 3))
def test_a_higher_quorum_only_takes_answers_away(
    method: str, rows: list[list[Any]], weight: list[float], quorum: int
) -> None:
    lower, higher = (combined(node_of(method, rows, weight, asked), rows) for asked in (quorum, quorum + 1))
    for less, more in zip(lower, higher, strict=True):
        if less["error"] is not None:
            assert more["error"]["code"] == less["error"]["code"] == "quorum_not_met"
        elif more["error"] is not None:
            assert more["error"]["code"] == "quorum_not_met"
        else:
            assert more == less


@pytest.mark.parametrize("method", ["majority-vote", "weighted-vote", "mean", "weighted-mean", "best-score"])
@given(rows_of(labelled), weights, st.integers(1, 4))
def test_scores_stay_within_those_of_the_members(
    method: str, rows: list[list[Any]], weight: list[float], quorum: int
) -> None:
    for row, found in zip(rows, combined(node_of(method, rows, weight, quorum), rows), strict=True):
        said = [row[place] for place in valid(row)]
        if found["score"] is None or found["error"] is not None:
            continue
        assert 0 <= found["score"] <= 1 + TOLERANCE
        if method == "best-score":
            assert found["score"] == max(one["score"] or 0.0 for one in said)
        if method in {"mean", "weighted-mean"}:
            given_scores = [entry["p"] for one in said for entry in one.get("scores") or []]
            given_scores += [one["score"] or 0.0 for one in said if not one.get("scores")]
            assert found["score"] <= max(given_scores) + TOLERANCE


@pytest.mark.parametrize("method", ["mean", "weighted-mean", "median"])
@given(rows_of(numbers), weights, st.integers(1, 4))
def test_numbers_stay_between_those_of_the_members(
    method: str, rows: list[list[Any]], weight: list[float], quorum: int
) -> None:
    for row, found in zip(rows, combined(node_of(method, rows, weight, quorum), rows), strict=True):
        if found["error"] is None and found["value"] is not None:
            values = [row[place] for place in valid(row)]
            slack = TOLERANCE * max(1.0, *(abs(value) for value in values))
            assert min(values) - slack <= found["value"] <= max(values) + slack
