"""Cards and records for the tests of the runtime, and a predictor that does as it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_agentic.spec.load import model_from
from airflow_agentic.tables import RECORD, table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pyarrow as pa

    from airflow_agentic.spec.model import ModelCard

FIELDS = {"text": "text", "struct": "text", "tensor": "text", "bytes": "data", "uri": "uri"}


def records(*inputs: tuple[str, Any]) -> pa.Table:
    """Records of these (kind, value)."""
    return table(
        [
            {"record_id": f"r{place}", "position": place, "input": {"kind": kind, FIELDS[kind]: value}}
            for place, (kind, value) in enumerate(inputs)
        ],
        RECORD,
    )


def texts(*values: str) -> pa.Table:
    return records(*(("text", value) for value in values))


def card(folder: Path | None = None, *, output: Any = None, runtime: Any = None, **fields: Any) -> ModelCard:
    """A card named ``m`` of text and two classes, changed by the arguments."""
    return model_from(
        {
            "name": "m",
            "version": "1",
            "task": "text-classification",
            "input": "text",
            "output": output or {"classes": ["no", "yes"]},
            "runtime": runtime or {"framework": "python", "handler": "somewhere:thing"},
            **fields,
        },
        folder,
    )


class Scripted:
    """A predictor that calls a function, and remembers the sizes of its batches."""

    def __init__(self, answer: Callable[[pa.Table], Any]) -> None:
        self._answer = answer
        self.batches: list[int] = []

    def load(self) -> None:
        pass

    def predict(self, batch: pa.Table) -> Any:
        self.batches.append(batch.num_rows)
        return self._answer(batch)

    def close(self) -> None:
        pass


def errors(found: pa.Table) -> list[tuple[str, str] | None]:
    """Code and message of each row's error."""
    values = found.column("error").to_pylist()
    return [None if value is None else (value["code"], value["message"]) for value in values]


def inputs(batch: pa.Table) -> list[str]:
    return [value["text"] for value in batch.column("input").to_pylist()]
