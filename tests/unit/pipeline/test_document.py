"""The JSON form of an answer."""

from __future__ import annotations

from typing import Any

from airflow_agentic import tables
from airflow_agentic.pipeline.document import answer_document


def answer(**values: Any) -> dict[str, Any]:
    given = {"record_id": "r", "task": "t", "degraded": False, "cost": 0.0, "calls": 1, "predictions": [], **values}
    (row,) = tables.table([given], tables.ANSWER).to_pylist()
    return dict(row)


def test_it_leaves_out_what_an_answer_has_not() -> None:
    document = answer_document(answer(error=tables.error("lost", "gone"), model=None))
    assert document == {
        "record_id": "r",
        "task": "t",
        "error": {"code": "lost", "message": "gone", "retryable": False},
        "model": None,
        "degraded": False,
        "cost": 0.0,
        "calls": 1,
        "latency_ms": None,
        "route": {"predictions": []},
    }


def test_what_it_has_is_said_in_json() -> None:
    members = [{"model": "a", "label": "good", "score": 0.5, "used": True}, {"model": "b", "error": "lost"}]
    made = answer(
        output='{"a": 1}',
        label="good",
        score=0.5,
        value=0.0,
        cost=0.1 + 0.2,
        latency_ms=1.23456,
        route={"rule": "routes[0]", "reason": "always"},
        predictions=members,
    )
    assert answer_document(made) == {
        "record_id": "r",
        "task": "t",
        "label": "good",
        "score": 0.5,
        "value": 0.0,
        "output": {"a": 1},
        "model": None,
        "degraded": False,
        "cost": 0.3,
        "calls": 1,
        "latency_ms": 1.235,
        "route": {
            "rule": "routes[0]",
            "reason": "always",
            "predictions": [{"model": "a", "label": "good", "score": 0.5}, {"model": "b", "error": "lost"}],
        },
    }
