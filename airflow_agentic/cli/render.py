"""Answers as a person reads them, and as a machine does."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from airflow_agentic.cli import exits

if TYPE_CHECKING:
    import pyarrow as pa

    from airflow_agentic.plan import Plan

NAME_WIDTH: Final = 48
OUTPUT_WIDTH: Final = 60
MODEL_CODES: Final = frozenset({"all_unhealthy", "model_failed", "model_unavailable"})
"""Errors that say that no model could be used."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_GATE: Final = re.compile(r"\((\d+\.\d\d), not prediction\.score (>=?) (\d*\.?\d+)\)")


class Line(NamedTuple):
    """One answer, as the columns of a line."""

    name: str
    answer: str
    score: str
    model: str
    latency: str
    note: str

    @property
    def failed(self) -> bool:
        """Whether there is no answer."""
        return self.answer == NO_ANSWER


NO_ANSWER: Final = "no answer"
HEADINGS: Final = Line("record", "answer", "score", "model", "time", "why")


class Lines:
    """Answers of one plan as lines.

    ``sample.jpg   tiger cat   0.87   lite2-torch   31 ms   lite0-tf was unsure (…), asked lite2-torch``
    """

    def __init__(self, plan: Plan) -> None:
        from airflow_agentic.plan.ir import Route
        from airflow_agentic.routing.decision import Rules

        decide = plan.of(Route)[0].decide
        self._when = [case.when for case in decide.cases if case.when] if isinstance(decide, Rules) else []

    def of(self, records: pa.Table, answers: pa.Table) -> Iterator[Line]:
        """One line a record."""
        for given, answer in zip(records.column("input").to_pylist(), answers.to_pylist(), strict=True):
            yield self._line(given, answer)

    def _line(self, given: Mapping[str, Any] | None, answer: Mapping[str, Any]) -> Line:
        error = answer["error"]
        score = f"{answer['score']:.2f}" if answer["score"] is not None and error is None else ""
        return Line(
            name=record_name(given, answer["record_id"]),
            answer=NO_ANSWER if error is not None else _clean(_answer(answer), OUTPUT_WIDTH),
            score=score,
            model=answer["model"] or "",
            latency=_duration(answer["latency_ms"]),
            note=_clean(f"{error['code']}: {error['message']}") if error is not None else self._note(answer),
        )

    def _note(self, answer: Mapping[str, Any]) -> str:
        """What the score does not tell: who passed the record on, who voted, whether something was lost."""
        reason = (answer["route"] or {}).get("reason") or ""
        known = next((when for when in (*self._when, "always") if reason == when or reason.startswith(f"{when}; ")), "")
        said = [reason.removeprefix(known).removeprefix("; ")]
        predictions = answer["predictions"] or []
        if answer["model"] not in {one["model"] for one in predictions}:
            said.append(", ".join(map(_member, predictions)))
        said.append("degraded" if answer["degraded"] else "")
        return _clean(_GATE.sub(_compared, "; ".join(part for part in said if part)))


def _compared(found: re.Match[str]) -> str:
    """``(0.42, not prediction.score >= 0.7)`` as ``(0.42 < 0.70)``; as it is where two digits would not show it."""
    score, operator, limit = float(found[1]), found[2], float(found[3])
    holds = score < limit if operator == ">=" else score <= limit
    plain = len(found[3].partition(".")[2]) <= 2
    return f"({score:.2f} {'<' if operator == '>=' else '≤'} {limit:.2f})" if holds and plain else found[0]


def record_name(given: Mapping[str, Any] | None, record_id: str) -> str:
    """What a person recognises a record by: its file's name, its text, else its id."""
    if given is not None and given["kind"] == "uri":
        return _clean(PurePosixPath(given["uri"]).name, NAME_WIDTH)
    if given is not None and given["kind"] in {"text", "struct"}:
        return _clean(given["text"], NAME_WIDTH)
    return _clean(record_id, NAME_WIDTH)


def _answer(answer: Mapping[str, Any]) -> str:
    if answer["label"] is not None:
        return str(answer["label"])
    if answer["value"] is not None:
        return f"{answer['value']:.6g}"
    output = json.loads(answer["output"]) if answer["output"] is not None else None
    if isinstance(output, list) and len(output) > 8:
        return f"[{len(output)} numbers]"
    return json.dumps(output, ensure_ascii=False)


def _member(prediction: Mapping[str, Any]) -> str:
    if prediction["error"] is not None:
        return f"{prediction['model']} failed ({prediction['error']})"
    said = prediction["label"] if prediction["label"] is not None else prediction["value"]
    score = "" if prediction["score"] is None else f" {prediction['score']:.2f}"
    return f"{prediction['model']} {'' if said is None else said}{score}".rstrip()


def _duration(milliseconds: float | None) -> str:
    if milliseconds is None:
        return ""
    if milliseconds >= 10_000:
        return f"{milliseconds / 1000:.1f} s"
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"


def _clean(text: str, width: int | None = None) -> str:
    """One line of printable text: what data contains must not move the cursor."""
    line = _CONTROL.sub(" ", text).strip()
    return line if width is None or len(line) <= width else f"{line[: width - 1]}…"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with aligned columns, three spaces between them; empty columns are left out."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column), default=0) for column in zip(*rows, strict=True)]
    return [
        "   ".join(
            cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True) if width
        ).rstrip()
        for row in rows
    ]


@dataclass
class Summary:
    """What became of all records of a run."""

    records: int = 0
    calls: int = 0
    cost: float = 0.0
    degraded: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    """By code."""
    models: Counter[str] = field(default_factory=Counter)
    """Who answered."""

    def add(self, answers: pa.Table) -> None:
        """Count a batch."""
        import pyarrow.compute as pc

        self.records += len(answers)
        self.calls += pc.sum(answers.column("calls")).as_py() or 0
        self.cost += pc.sum(answers.column("cost")).as_py() or 0.0
        self.degraded += pc.sum(answers.column("degraded")).as_py() or 0
        errors = answers.column("error").to_pylist()
        self.errors.update(error["code"] for error in errors if error is not None)
        models = answers.column("model").to_pylist()
        self.models.update(
            model for model, error in zip(models, errors, strict=True) if error is None and model is not None
        )

    @property
    def failed(self) -> int:
        """Records without an answer."""
        return self.errors.total()

    @property
    def exit_code(self) -> int:
        """What the command ends with."""
        if not self.failed:
            return exits.OK
        return exits.MODEL if self.failed == self.records and self.errors.keys() <= MODEL_CODES else exits.NO_ANSWER

    def text(self, seconds: float) -> str:
        """``3 records in 4.2 s: 1 without an answer (no_route), 5 calls, cost 0.173``."""
        parts = []
        if self.failed:
            codes = ", ".join(
                f"{code} {count}" if len(self.errors) > 1 else code for code, count in self.errors.items()
            )
            parts.append(f"{self.failed:,} without an answer ({codes})")
        if self.degraded:
            parts.append(f"{self.degraded:,} degraded")
        parts += [counted(self.calls, "call"), f"cost {self.cost:.6g}"]
        return f"{counted(self.records, 'record')} in {_duration(seconds * 1000.0)}: {', '.join(parts)}"


def counted(count: int, noun: str) -> str:
    """``1 record``, ``2,000 records``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
