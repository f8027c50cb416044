"""A shard as a gateway's request, and its answers back as a table: nothing of either is lost on the way."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from airflow_agentic import tables
from airflow_agentic.exceptions import ServiceRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

_ASKED: Final = ("record_id", "position", *tables.REQUIREMENTS)


def shard_request(workflow: str, records: pa.Table) -> bytes:
    """The body of ``POST /predict`` for records of a shard; equal records give equal bytes.

    :param records: preprocessed, without an error.
    """
    features = [name for name in records.column_names if name not in tables.RECORD.names]
    document = {
        "workflow": workflow,
        "mode": "async",
        "prepared": True,
        "records": [_document(row, features) for row in records.to_pylist()],
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _document(row: Mapping[str, Any], features: list[str]) -> dict[str, Any]:
    document = {name: row[name] for name in _ASKED if row[name] is not None} | _input(row["input"])
    own = {name: row[name] for name in features if row[name] is not None}
    return {**document, "features": own} if own else document


def _input(given: Mapping[str, Any]) -> dict[str, Any]:
    kind = given["kind"]
    if kind == "bytes":
        return {"bytes": base64.b64encode(given["data"]).decode()}
    if kind in ("struct", "tensor"):
        return {"input": json.loads(given["text"])}
    return {kind: given[kind]}


def answers_of(result: Any, records: pa.Table, job: str) -> pa.Table:
    """The answers of a job, as ``tables.ANSWER``.

    :param records: that it was asked.
    :param job: what messages call it.
    :raises ServiceRefusedError: they are not those of the records.
    """
    try:
        answers = pa.Table.from_pylist(result["answers"], schema=tables.ANSWER)
        answers.validate(full=True)
        answers = answers.cast(tables.ANSWER)
    except (TypeError, KeyError, AttributeError, pa.ArrowException) as error:
        raise ServiceRefusedError(
            f"{job} has no answers of this provider ({error}); run the gateway with the same airflow-agentic"
        ) from error
    asked, told = records.column("record_id").to_pylist(), answers.column("record_id").to_pylist()
    if asked != told:
        raise ServiceRefusedError(
            f"{job} answered {len(told):,} records, others or in another order than the {len(asked):,} of the shard; "
            "run the gateway with the same airflow-agentic"
        )
    return answers
