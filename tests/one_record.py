"""What a shard's tables say of each row, the twins for one record say too: checked beside tests of the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_agentic import tables
from airflow_agentic.pipeline.answers_one import OneAnswerer
from airflow_agentic.pipeline.combination import Combination
from airflow_agentic.pipeline.combine import Combiner
from airflow_agentic.pipeline.combine_one import OneCombiner
from airflow_agentic.pipeline.pool import ShardPredictions
from airflow_agentic.routing.decide import Decider, Shard
from airflow_agentic.routing.decide_one import OneDecider, record_values
from airflow_agentic.routing.decision import Decision
from airflow_agentic.tables import Selected

MOST = 20
"""Records of a shard that are looked at."""


def check_selection(
    selection: pa.Table, decider: Decider, decision: Decision, shard: Shard, *, rows: Any = None, **options: Any
) -> None:
    """Each record alone has the entries of its row in ``selection``."""
    one = OneDecider(decider, shard.columns)
    entries = selection.slice(0, 2 * MOST).to_pylist()
    for row in (np.arange(len(shard)) if rows is None else rows)[:MOST].tolist():
        (record,) = shard.records.slice(row, 1).to_pylist()
        found = one.select(decision, record, record_values(record, shard.columns), **options)
        expected = [entry for entry in entries if entry["row"] == row]
        assert [{"row": row, **entry._asdict()} for entry in found] == expected


def combiners(shard: ShardPredictions, allowed_handlers: Sequence[str] = ()) -> list[OneCombiner]:
    """What combines the predictions of each record; nothing where a unit was lost, whose rows nobody has."""
    if any(len(rows) and node not in shard.predictions for node, rows in shard.assigned.items()):
        return []
    made = []
    for row, record in enumerate(shard.records.column("record_id").to_pylist()):
        predictions = {
            node: entry
            for node, table in shard.predictions.items()
            for entry in table.to_pylist()
            if entry["row"] == row
        }
        selections: dict[str, list[Selected]] = {
            f"control-{place}": [
                Selected(*(entry[name] for name in Selected._fields))
                for entry in selection.to_pylist()
                if entry["row"] == row
            ]
            for place, selection in enumerate(shard.selections)
        }
        for gate, verdict in shard.accepted.items():
            selections[gate] = [Selected(None, "accepted" if verdict[row] else "rejected", None, None)]
        made.append(OneCombiner(record, predictions, selections, allowed_handlers=allowed_handlers))
    return made


def check_combination(combination: Combination, shard: ShardPredictions, allowed_handlers: Sequence[str] = ()) -> None:
    """Each record alone has the prediction of its row."""
    combiner = Combiner(shard, allowed_handlers=allowed_handlers)
    slot = combiner.slot(combination)
    expected = combiner.pool.take(slot.index).to_pylist()
    for row, one in enumerate(combiners(shard, allowed_handlers)):
        found = one.of(combination)
        values = dict(found.values) if found.values is not None else dict.fromkeys(tables.PREDICTION.names)
        for side in (values, expected[row]):
            side.pop("row")  # each record is a shard of its own
        assert repr(values) == repr(expected[row])  # NaN too
        assert found.present == slot.present[row]
        assert found.valid == combiner.pool.valid(slot.index)[row]
        assert found.degraded == slot.degraded[row]
        assert found.used == {node for node, mask in slot.used.items() if mask[row]}


def check_answers(
    answers: pa.Table,
    combination: Combination,
    shard: ShardPredictions,
    tasks: Mapping[str, str],
    allowed_handlers: Sequence[str] = (),
) -> None:
    """Each record alone has its answer."""
    answerer = OneAnswerer(combination, tasks)
    records, expected = shard.records.to_pylist(), answers.to_pylist()
    for row, one in enumerate(combiners(shard, allowed_handlers)):
        assert answerer.answer(one, records[row]) == expected[row]
