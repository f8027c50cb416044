"""Which candidates may answer a record, one by one and for many at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from builders import card

from airflow_agentic import tables
from airflow_agentic.registry import ModelInfo
from airflow_agentic.routing.eligibility import FEW, UNHEALTHY, Asked, parts, reasons, why_not
from airflow_agentic.spec.pattern import Requirements

INFO = ModelInfo.of(
    card(
        "m",
        cost=2.0,
        latency_ms=20.0,
        quality=0.8,
        capabilities={"languages": ["en", "de"], "tier": "gold", "eu": True},
    )
)
PLAIN = ModelInfo.of(card("plain"))


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({}, None),
        ({"task": "text-analysis"}, None),
        ({"task": "pricing"}, "does text-analysis"),
        ({"language": "de"}, None),
        ({"language": "fr"}, "does not speak fr"),
        ({"max_cost": 0.002}, None),
        ({"max_cost": 0.0019}, "costs 0.002, over max_cost"),
        ({"max_latency_ms": 20.0}, None),
        ({"max_latency_ms": 19.0}, "over max_latency_ms"),
        ({"min_quality": 0.8}, None),
        ({"min_quality": 0.81}, "under min_quality"),
        ({"language": "fr", "max_cost": 0.0, "task": "pricing"}, "does text-analysis"),
    ],
)
def test_what_a_record_asks(asked: dict[str, Any], reason: str | None) -> None:
    assert why_not(INFO, Asked(**asked), None) == reason


def test_what_is_not_declared_satisfies_no_limit_but_speaks_every_language() -> None:
    assert why_not(PLAIN, Asked(max_latency_ms=1e9), None) == "declares no latency"
    assert why_not(PLAIN, Asked(min_quality=0.0), None) == "declares no quality"
    assert why_not(PLAIN, Asked(max_cost=0.0, language="sw"), None) is None


@pytest.mark.parametrize(
    ("require", "reason"),
    [
        ({"max_cost": 0.001}, "costs 0.002, over max_cost"),
        ({"max_latency_ms": 5}, "over max_latency_ms"),
        ({"min_quality": 0.9}, "under min_quality"),
        ({"capabilities": {"tier": "gold", "eu": True, "languages": "en"}}, None),
        ({"capabilities": {"tier": "silver"}}, "has no tier 'silver'"),
        ({"capabilities": {"gpu": True}}, "has no gpu True"),
    ],
)
def test_what_the_pattern_requires(require: dict[str, Any], reason: str | None) -> None:
    assert why_not(INFO, Asked(), Requirements(**require)) == reason


def test_health_counts_only_where_nothing_else_is_in_the_way() -> None:
    ill = INFO.model_copy(update={"healthy": False})
    assert why_not(ill, Asked(), None) == UNHEALTHY
    assert why_not(ill, Asked(max_cost=0.0), None) == "costs 0.002, over max_cost"


def table(**columns: list[Any]) -> pa.Table:
    count = len(next(iter(columns.values())))
    rows = [
        {"record_id": f"r{row}", "position": row, **{name: columns[name][row] for name in columns}}
        for row in range(count)
    ]
    return tables.table(rows, tables.RECORD)


def naive(
    records: pa.Table, infos: list[ModelInfo], require: Requirements | None, *, by_task: bool
) -> list[list[str | None]]:
    found = []
    for row in records.select(list(tables.REQUIREMENTS)).to_pylist():
        asked = Asked(**row) if by_task else Asked(**{**row, "task": None})
        found.append([why_not(info, asked, require) for info in infos])
    return found


def test_for_many_rows_it_is_the_same_as_one_by_one() -> None:
    records = table(
        task=["text-analysis", "pricing", None, None, "pricing", None],
        language=["en", "fr", None, "sw", None, "en"],
        max_cost=[0.002, None, 0.0, float("nan"), 1.0, None],
        min_quality=[None, 0.8, 0.8000001, float("nan"), None, 0.0],
        max_latency_ms=[None, None, 20.0, float("inf"), 19.99, float("nan")],
    )
    infos = [INFO, PLAIN, INFO.model_copy(update={"name": "ill", "healthy": False, "cost": 0.0})]
    for by_task in (True, False):
        for require in (None, Requirements(capabilities={"tier": "gold"})):
            kind, kinds = reasons(records, np.arange(6), infos, require, by_task=by_task)
            assert [kinds[one] for one in kind] == naive(records, infos, require, by_task=by_task)


def test_only_the_given_rows_are_looked_at() -> None:
    records = table(language=["en", "fr", "de", None])
    kind, kinds = reasons(records, np.array([1, 3]), [INFO], None, by_task=False)
    assert [kinds[one] for one in kind] == [["does not speak fr"], [None]]


def test_records_that_ask_nothing_are_one_kind() -> None:
    kind, kinds = reasons(table(task=["a", "b"]), np.arange(2), [INFO, PLAIN], None, by_task=False)
    assert kind.tolist() == [0, 0]
    assert kinds == [[None, None]]


def test_no_candidates_and_no_rows() -> None:
    records = table(language=["en", "fr"])
    assert reasons(records, np.arange(2), [], None, by_task=False)[1] == [[]]
    assert len(reasons(records, np.arange(0), [INFO], None, by_task=False)[0]) == 0


@pytest.mark.parametrize("count", [1, 3, FEW, FEW + 1, 300])
def test_parts_are_the_places_of_each_code(count: int) -> None:
    codes = np.random.default_rng(1).integers(0, count, 500)
    found = list(parts(codes, count))
    assert [code for _, code in found] == list(range(count))
    for places, code in found:
        assert places.tolist() == [place for place, one in enumerate(codes) if one == code]
