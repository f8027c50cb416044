"""An answer as the JSON object that users see, whoever sends or prints it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_MEMBER_FIELDS: Final = ("model", "label", "score", "value", "error")


def answer_document(answer: Mapping[str, Any]) -> dict[str, Any]:
    """A row of ``tables.ANSWER`` as the JSON object that users see; what an answer has not is left out.

    A Parquet file of answers holds every column.
    """
    document = {"record_id": answer["record_id"], "task": answer["task"]}
    document |= {name: answer[name] for name in ("label", "score", "value") if answer[name] is not None}
    if answer["output"] is not None:
        document["output"] = json.loads(answer["output"])
    if answer["error"] is not None:
        document["error"] = answer["error"]
    predictions = [
        {name: one[name] for name in _MEMBER_FIELDS if one[name] is not None} for one in answer["predictions"] or []
    ]
    return {
        **document,
        "model": answer["model"],
        "degraded": answer["degraded"],
        "cost": round(answer["cost"], 9),
        "calls": answer["calls"],
        "latency_ms": None if answer["latency_ms"] is None else round(answer["latency_ms"], 3),
        "route": {**(answer["route"] or {}), "predictions": predictions},
    }
