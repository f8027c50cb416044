"""An answer as the JSON object that users see, whoever asks: the command line, the gateway, a message's reply."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

_RESULT: Final = ("label", "score", "value")
_MEMBER: Final = ("model", "model_version", "label", "score", "value", "error")
_MEMBER_NAMES: Final = {"model_version": "version"}


def answer_document(answer: Mapping[str, Any]) -> dict[str, Any]:
    """A row of ``tables.ANSWER`` as its document; what an answer has not is left out.

    ``version`` is that of the one model that answered; an ensemble's members each have their own.
    """
    members: Sequence[Mapping[str, Any]] = answer["predictions"] or ()
    document = {"record_id": answer["record_id"], "task": answer["task"]}
    document |= {name: answer[name] for name in _RESULT if answer[name] is not None}
    if answer["output"] is not None:
        document["output"] = json.loads(answer["output"])
    if answer["error"] is not None:
        document["error"] = answer["error"]
    document["model"] = answer["model"]
    version = next((one["model_version"] for one in members if one["used"] and one["model"] == answer["model"]), None)
    if version is not None:
        document["version"] = version
    predictions = [
        {_MEMBER_NAMES.get(name, name): one[name] for name in _MEMBER if one[name] is not None} for one in members
    ]
    return {
        **document,
        "degraded": answer["degraded"],
        "cost": round(answer["cost"], 9),
        "calls": answer["calls"],
        "latency_ms": None if answer["latency_ms"] is None else round(answer["latency_ms"], 3),
        "route": {**(answer["route"] or {}), "predictions": predictions},
    }
