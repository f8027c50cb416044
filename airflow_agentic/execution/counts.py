"""What a run counts, small enough to travel: in markers, XCom and asset events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

import pyarrow.compute as pc

if TYPE_CHECKING:
    import pyarrow as pa

MAX_BYTES: Final = 7680
"""Of a node's counts, as JSON: with a URI beside them a summary has 8 KB. It lies in Airflow's database."""
OTHERS: Final = "others"


def count_answers(answers: pa.Table) -> dict[str, int]:
    """``records``, ``errors``, ``degraded``, ``calls``, ``error:CODE`` and ``model:NAME``."""
    codes = pc.struct_field(answers.column("error"), "code")
    counts = {
        "records": len(answers),
        "errors": len(answers) - codes.null_count,
        "degraded": int(pc.sum(answers.column("degraded")).as_py() or 0),
        "calls": int(pc.sum(answers.column("calls")).as_py() or 0),
    }
    good = answers.filter(pc.is_null(codes))
    for prefix, column in (("error", codes), ("model", good.column("model"))):
        for entry in pc.value_counts(column).to_pylist():
            if entry["values"] is not None:
                counts[f"{prefix}:{entry['values']}"] = entry["counts"]
    return counts


def summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts by name over all of them, in the order in which the names appear."""
    totals: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            totals[name] = totals.get(name, 0) + count
    return totals


def bounded(counts: Mapping[str, int]) -> dict[str, int]:
    """``counts`` in at most :data:`MAX_BYTES`: the largest stay, in their order, the rest are summed as ``others``.

    Names come from users: routes and models from a workflow, error codes from a handler, which may make one a record.
    """
    if _size(counts) <= MAX_BYTES:
        return dict(counts)
    room = MAX_BYTES - _size({OTHERS: sum(counts.values())})
    kept = set()
    for name in sorted(counts, key=lambda name: -counts[name]):
        room -= _size({name: counts[name]})
        if room < 0:
            break
        kept.add(name)
    found = {name: count for name, count in counts.items() if name in kept}
    return {**found, OTHERS: sum(count for name, count in counts.items() if name not in kept)}


def _size(counts: Mapping[str, int]) -> int:
    return len(json.dumps(counts))
