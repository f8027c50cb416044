"""Which problem an answer without an answer is: the record's fault, the models', or that of time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from airflow_agentic.serving.gateway.problems import (
    DEADLINE,
    MODEL_FAILED,
    NO_MODEL_FITS,
    RECORD_REFUSED,
    UNAVAILABLE,
    Kind,
    ProblemError,
)

_UNAVAILABLE: Final = frozenset({"all_unhealthy", "model_unavailable"})
_NO_FIT: Final = frozenset({"no_route", "no_candidate"})
_MODEL: Final = frozenset({"bad_output", "model_error", "model_failed"})
RETRY_SECONDS: Final = 1.0


def failed(document: Mapping[str, Any], *, late: bool) -> ProblemError:
    """The problem of a record that has an ``error``.

    :param document: the answer document.
    :param late: whether the request's time is over.
    """
    error = document["error"]
    codes = _codes(document)
    unavailable = not codes.isdisjoint(_UNAVAILABLE)
    kind = _kind(codes, unavailable, late)
    again = RETRY_SECONDS if unavailable and not late and "all_unhealthy" not in codes else None
    detail = f"{error['code']}: {error['message']}"
    if kind is DEADLINE:
        detail = f"there was no answer in the time that the request allows: {error['message']}"
    return ProblemError(kind, detail, retry_after=again, extra={"answer": dict(document)})


def _codes(document: Mapping[str, Any]) -> set[str]:
    """What went wrong; for a quorum that was not met, of its members."""
    code = str(document["error"]["code"])
    members = {one["error"] for one in document["route"]["predictions"] if one.get("error") is not None}
    return members if code == "quorum_not_met" and members else {code}


def _kind(codes: set[str], unavailable: bool, late: bool) -> Kind:
    if unavailable:
        return DEADLINE if late else UNAVAILABLE
    if not codes.isdisjoint(_NO_FIT):
        return NO_MODEL_FITS
    return RECORD_REFUSED if codes.isdisjoint(_MODEL) else MODEL_FAILED
