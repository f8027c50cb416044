"""Hand-made predictions of a shard, for tests of what combines them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_agentic import tables
from airflow_agentic.pipeline.combination import Ensemble, Leaf
from airflow_agentic.pipeline.inputs import inline_records
from airflow_agentic.pipeline.pool import ShardPredictions

Said = Mapping[str, Any] | str | float | None
"""What a model says of a record: a prediction's fields, a label, a value, or nothing (it was not asked)."""


def leaf(name: str) -> Leaf:
    return Leaf(node=f"main.{name}", model=name)


def ensemble(method: str, *names: str, **options: Any) -> Ensemble:
    weights = options.pop("weights", [1.0] * len(names))
    members = tuple(leaf(name) for name in names)
    return Ensemble(method=method, members=members, names=names, weights=tuple(weights), **options)  # type: ignore[arg-type]  # a test's method


def scored(**scores: float) -> dict[str, Any]:
    """A prediction with these class scores."""
    ranked = sorted(scores.items(), key=lambda entry: -entry[1])
    found = [{"label": label, "p": p} for label, p in ranked]
    return {"label": ranked[0][0], "score": ranked[0][1], "scores": found, "score_kind": "probability"}


def failed(code: str = "model_error") -> dict[str, Any]:
    return {"error": tables.error(code, f"{code} it is")}


def prediction(name: str, row: int, said: Mapping[str, Any] | str | float) -> dict[str, Any]:
    fields = {"label": said} if isinstance(said, str) else {"value": said} if isinstance(said, float) else dict(said)
    base = {"row": row, "record_id": f"r{row}", "model": name, "model_version": "1", "latency_ms": 2.0, "cost": 0.5}
    return {**base, **fields}


def shard(
    said: Mapping[str, Sequence[Said]],
    *,
    lost: Sequence[str] = (),
    accepted: Mapping[str, Sequence[int]] | None = None,
    selections: Sequence[pa.Table] = (),
    records: Sequence[Mapping[str, Any]] | None = None,
) -> ShardPredictions:
    """A shard of which every model says something, or was not asked.

    :param lost: models whose predictions are not there although they were asked.
    :param accepted: the rows that each gate accepted.
    """
    count = max((len(column) for column in said.values()), default=1)
    given = records or [{} for _ in range(count)]
    table = inline_records([{"record_id": f"r{row}", "text": "text", **one} for row, one in enumerate(given)])
    asked = {name: [row for row, one in enumerate(column) if one is not None] for name, column in said.items()}
    made = {
        f"main.{name}": tables.table([prediction(name, row, said[name][row]) for row in rows], tables.PREDICTION)  # type: ignore[arg-type]  # these are asked
        for name, rows in asked.items()
        if name not in lost
    }
    verdicts = {gate: np.isin(np.arange(len(table)), rows) for gate, rows in (accepted or {}).items()}
    assigned = {f"main.{name}": np.array(rows, np.int64) for name, rows in asked.items()}
    return ShardPredictions(table, made, assigned, verdicts, selections)


def selection(*rows: tuple[int, str | None, str | None, str | None, str | None]) -> pa.Table:
    """Row, target, outcome, rule, reason."""
    names = tables.SELECTION.names
    return tables.table([dict(zip(names, row, strict=True)) for row in rows], tables.SELECTION)
